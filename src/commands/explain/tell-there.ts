/** What a destination says of a VM, and what its move costs, as a person reads it. Pure. */
import type { DryRun } from "../../migration/source/dry-run.ts";
import { formatBytes } from "../../terminal/format.ts";

type There = NonNullable<DryRun["there"]>;

const cardTexts = { none: "nothing behind it", user: "QEMU's user network", bridge: "a bridge" } as const;
const firmwareTexts = { qemu: "QEMU's own", vm: "comes with the VM", host: "that host's" } as const;

/** Lines: what is at the destination, `where`, and then what would be sent. */
export function thereText({ name, there, cost }: DryRun, where: string): string[] {
  if (there === null) return ["", `To send: ${costText(cost)}`];
  return [
    "",
    `At ${where} (${there.software}):`,
    ...rows([...factsOf(name, there), ["to send", costText(cost)], ["there already", presentText(there)]]),
  ];
}

function factsOf(name: string, { answer, refusals }: There): [string, string][] {
  const { room, memory, processors, machine, accelerator, qemu, cpu, firmware, tpm, cards } = answer;
  const facts: [string, string | undefined][] = [
    ["name", `${name} is ${refusals.some(({ code }) => code === "name-taken") ? "taken" : "free"}`],
    ["store", roomText(room)],
    ["memory", memory && `${formatBytes(memory.neededBytes)} needed, ${formatBytes(memory.freeBytes)} free`],
    ["processors", processors && `${processors.needed} needed, ${processors.there} there`],
    ["machine", machine],
    [
      "runs with",
      accelerator && `${accelerator === "kvm" ? "KVM" : "QEMU's emulation (TCG)"}${qemuText(qemu)}`,
    ],
    ["processor", cpu],
    ["firmware", firmware && firmwareTexts[firmware]],
    ["TPM", tpm === undefined ? undefined : tpm ? "swtpm is there" : "there is no swtpm"],
    ...(cards ?? []).map((card, i): [string, string] => [`card ${i}`, cardTexts[card]]),
  ];
  return facts.flatMap(([what, text]): [string, string][] => (text === undefined ? [] : [[what, text]]));
}

function roomText({ neededBytes, freeBytes, promisedBytes }: There["answer"]["room"]): string {
  const promised =
    promisedBytes === 0 ? "" : `, of which ${formatBytes(promisedBytes)} are promised to others`;
  return `${formatBytes(neededBytes)} needed, ${formatBytes(freeBytes)} free${promised}`;
}

function qemuText(qemu: There["answer"]["qemu"]): string {
  return qemu === undefined ? "" : `, QEMU ${qemu.major}.${qemu.minor}`;
}

function costText({ filesBytes, disksBytes, ramBytes }: DryRun["cost"]): string {
  const parts = [
    ...(filesBytes > 0 ? [`${formatBytes(filesBytes)} of files`] : []),
    ...(disksBytes > 0 ? [`${formatBytes(disksBytes)} of disks`] : []),
    ...(ramBytes > 0
      ? [`at most ${formatBytes(ramBytes)} of RAM, and again what the guest writes meanwhile`]
      : []),
  ];
  return parts.length === 0 ? "next to nothing" : parts.join(", ");
}

/** What is not sent since it is there is known only once it is compared: what is said of it before is an estimate. */
function presentText({ answer: { heldBytes = 0, baseBytes, index } }: There): string {
  if (heldBytes > 0) return `${formatBytes(heldBytes)} of this move, which was begun before`;
  if (baseBytes !== undefined)
    return `at most ${formatBytes(baseBytes)}, in an earlier VM or the base that it is compared with (an estimate)`;
  return index === true
    ? "not known before it is sent: the store is searched meanwhile"
    : "nothing that is known of";
}

function rows(list: readonly (readonly [string, string])[]): string[] {
  const width = Math.max(...list.map(([what]) => what.length));
  return list.map(([what, text]) => `  ${what.padEnd(width)}  ${text}`);
}
