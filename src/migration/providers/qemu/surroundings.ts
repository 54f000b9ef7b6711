/** How an offered VM would run under this host's QEMU, as whoever asks is told it. */
import { kvmUsable, which } from "../../../platform/host.ts";
import { cpuTextBytes, type Surroundings } from "../../../protocol/asking.ts";
import type { Offer } from "../../../protocol/offer.ts";
import { acceleratorFor, cardOutcomes } from "../../../vm/qemu/definition/command-line.ts";
import { vncOf } from "../../../vm/qemu/definition/consoles/display.ts";
import { type CpuModel, hasTpm, type VmModel } from "../../../vm/qemu/definition/model.ts";
import { readModel } from "../../../vm/qemu/definition/schema.ts";
import { memoryOf, processorsOf } from "../../../vm/qemu/definition/size.ts";
import { hostRoom } from "../../../vm/qemu/host-room.ts";
import type { FittingAsker, LandingPolicy } from "../provider.ts";
import { fittedProcessor } from "./processors/fitted-model.ts";

/** Of an offer that may be refused: what can be told all the same. Throws MigrateError if its definition cannot be read. */
export async function surroundingsOf(
  offer: Offer,
  { qemu: policy }: LandingPolicy,
  asker: FittingAsker,
): Promise<Surroundings> {
  if (policy === null) return {};
  const machine = offer.machine!;
  const model = readModel(machine.definition);
  const room = hostRoom();
  const fitted = await fittedProcessor(model, machine, policy, asker).catch(() => null);
  const cpu = fitted === null ? null : (fitted.cpu ?? model.cpu);
  return {
    memory: { neededBytes: memoryOf(model), freeBytes: room.memoryBytes },
    processors: { needed: processorsOf(model), there: room.processors },
    machine: model.machine.slice(0, 64),
    ...acceleration(model, policy.allowTcg),
    ...(fitted?.qemu ? { qemu: fitted.qemu } : {}),
    ...(cpu === null ? {} : { cpu: cpuText(cpu) }),
    firmware: hasOwnFirmware(model) ? "vm" : "qemu",
    ...(hasTpm(model) ? { tpm: which("swtpm") !== null } : {}),
    cards: cardOutcomes(model, policy.net),
    vnc: vncOf(model, policy.vnc),
    processor: machine.processor !== undefined,
  };
}

function acceleration(model: VmModel, allowTcg: boolean): Pick<Surroundings, "accelerator"> {
  try {
    return { accelerator: acceleratorFor(model, { allowTcg, kvmUsable: kvmUsable().usable }) };
  } catch {
    // It is refused for that.
    return {};
  }
}

/** -bios, or a drive of flash memory: what the VM boots with comes along. */
function hasOwnFirmware({ parts }: VmModel): boolean {
  return parts.some(
    (part) =>
      (part.kind === "file" && part.option === "-bios") ||
      (part.kind === "drive" && part.pairs.some(({ key, value }) => key === "if" && value === "pflash")),
  );
}

/** As in -cpu, as far as an answer has room for it. */
function cpuText({ model, features }: CpuModel): string {
  let text = model;
  for (const [i, feature] of features.entries()) {
    const more = `${text},${feature}`;
    if (Buffer.byteLength(more) > cpuTextBytes - 32) return `${text} and ${features.length - i} more`;
    text = more;
  }
  return text;
}
