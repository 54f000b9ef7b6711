/** `migrate explain`: what a destination would start for a VM that runs here, and what it would refuse. */
import { resolve } from "node:path";
import { peerProcess, processListeningAt } from "../platform/peer-process.ts";
import { argumentsOf } from "../platform/process-id.ts";
import { exitCodes, MigrateError } from "../protocol/errors.ts";
import { printable } from "../protocol/printable.ts";
import { wrapped } from "../terminal/line.ts";
import {
  cardOutcomes,
  commandLine,
  type NetPolicy,
  networkNotes,
} from "../vm/qemu/definition/command-line.ts";
import { explainDefinition, modelOf, type QemuDefinition } from "../vm/qemu/definition/definition.ts";
import { readModel } from "../vm/qemu/definition/schema.ts";
import { explainDisks } from "../vm/qemu/explain-disks.ts";
import { droppable } from "../vm/qemu/images/left-behind.ts";
import { Qmp } from "../vm/qemu/qmp/qmp.ts";
import { machineTypeOf } from "../vm/qemu/running-vm.ts";
import { usageErrors } from "./cli/arguments.ts";
import { defineCommand } from "./cli/define-command.ts";
import { netPolicyAbout, netPolicyForm, parseNetPolicy } from "./cli/net-policy.ts";
import { oneOf, repeated, toggle, withDefault } from "./cli/option.ts";

const name = "migrate explain";
const scheme = "qmp:";
const busyMs = 3000;
const busyPollMs = 20;

export default defineCommand({
  name,
  summary: "show what a destination would start for a running VM, and what it would refuse",
  about:
    "Nothing is started, and only the VM's QEMU is asked. A destination is told what of the VM's command line is on a list, and makes one of its own of it; files are its own (STORE), and so are sockets (RUN) and networks.",
  positionals: {
    names: ["qmp:PATH"],
    least: 1,
    about: ["QMP socket of the VM's QEMU, as migrate ls shows it"],
  },
  options: {
    allowTcg: toggle("As at a destination that has no KVM and serves with --allow-tcg"),
    mode: withDefault("live|stop", "As it would be sent", "live", oneOf(["live", "stop"])),
    drop: repeated(droppable.join("|"), "What of its disks may stay behind", oneOf(droppable)),
    net: withDefault(
      netPolicyForm,
      `What the destination puts behind network cards, ${netPolicyAbout}`,
      "none",
      parseNetPolicy,
    ),
  },
  examples: [
    [`${name} qmp:/run/web1.qmp`, "can this VM be moved, and as what?"],
    [`${name} qmp:/run/web1.qmp --net bridge:br0`, "and to a host that serves with --net bridge:br0?"],
  ],
  async run({ options, positionals, reporter }) {
    const [where = ""] = positionals;
    const { argv, pid } = await processOfVm(where);
    const { refused, notes, definition: said } = explainDefinition(argv);
    const definition = said && { ...said, machine: await machineOf(where, said.machine, notes) };
    const command = definition === null ? [] : started(definition, options, { refused, notes });
    if (definition !== null) {
      const disks = await explainDisks(where.slice(scheme.length), definition, {
        pid,
        live: options.mode === "live",
        drop: options.drop,
      });
      refused.push(...disks.refused);
      notes.push(...disks.notes);
    }
    const vm = definition?.name ?? "the VM";
    reporter.result(
      { event: "explanation", name: definition?.name ?? null, command, notes, refused },
      [
        ...startText(vm, command),
        ...listText("What is different there", notes, reporter.columns()),
        ...listText("Refused", refused, reporter.columns()),
      ].join("\n"),
    );
    return refused.length === 0 ? undefined : exitCodes.refused;
  },
});

/** The QEMU behind a QMP socket. @throws MigrateError "usage", "vm-invalid". */
async function processOfVm(where: string): Promise<{ argv: string[]; pid: number }> {
  if (!where.startsWith(scheme) || where.length === scheme.length)
    throw usageErrors(name)(`qmp:PATH is expected, not "${where}"`);
  let argv: string[] | null;
  let pid: number;
  try {
    pid = await pidBehind(where.slice(scheme.length));
    argv = argumentsOf(pid);
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new MigrateError("vm-invalid", `The QEMU behind ${where} cannot be looked at: ${why}`, {
      hint: "See migrate ls for the VMs that run here, and use root or the user that runs QEMU.",
      cause,
    });
  }
  if (argv === null || argv.length === 0)
    throw new MigrateError("vm-invalid", `The QEMU behind ${where} has ended`);
  return { argv, pid };
}

/** What a machine type such as "pc" stands for in the VM's QEMU; as it is, with a note, if that does not say. */
async function machineOf(where: string, machine: string, notes: string[]): Promise<string> {
  try {
    using qmp = await Qmp.connect(where.slice(scheme.length), { timeoutMs: busyMs });
    return await machineTypeOf(qmp, machine);
  } catch {
    notes.push(
      `-machine ${machine}: a destination is told what the VM's QEMU makes of it, which does not answer`,
    );
    return machine;
  }
}

/** QEMU takes one caller at a time and lets few wait: the next ones are turned away for a moment. */
async function pidBehind(socket: string): Promise<number> {
  for (const lateAtMs = performance.now() + busyMs; ; await Bun.sleep(busyPollMs)) {
    try {
      return peerProcess(socket).pid;
    } catch (thrown) {
      if ((thrown as { code?: unknown }).code !== "EAGAIN") throw thrown;
      const listening = processListeningAt(resolve(socket));
      if (listening !== null) return listening.pid;
      if (performance.now() > lateAtMs) throw thrown;
    }
  }
}

/** The command line with names in place of what only the destination knows; adds what that refuses, and what becomes of its cards. */
function started(
  definition: QemuDefinition,
  { allowTcg, net }: { allowTcg: boolean; net: NetPolicy },
  { refused, notes }: { refused: string[]; notes: string[] },
): string[] {
  const folder = `STORE/${definition.name ?? "VM"}`;
  try {
    // A destination is told of nothing else.
    const model = readModel(JSON.parse(JSON.stringify(modelOf(definition))));
    notes.push(...networkNotes(model, cardOutcomes(model, net)));
    const { name } = definition;
    return commandLine(
      { ...model, name },
      {
        binary: `qemu-system-${definition.system}`,
        file: (file) => `${folder}/${file.name}`,
        socketFolder: "RUN",
        tpmSocket: "RUN/swtpm",
        allowTcg,
        kvmUsable: !allowTcg,
        net,
      },
    );
  } catch (thrown) {
    if (!(thrown instanceof MigrateError)) throw thrown;
    refused.push(thrown.hint === undefined ? thrown.message : `${thrown.message}. ${thrown.hint}`);
    return [];
  }
}

function startText(vm: string, command: readonly string[]): string[] {
  if (command.length === 0) return ["The VM would not be started."];
  const lines = [""];
  for (const argument of command) {
    if (argument.startsWith("-")) lines.push(argument);
    else lines[lines.length - 1] += lines.at(-1) === "" ? argument : ` ${argument}`;
  }
  return [`${printable(vm)} would be started as:`, ...lines.map((line) => `  ${printable(line)}`)];
}

function listText(title: string, sentences: readonly string[], columns: number): string[] {
  if (sentences.length === 0) return [];
  const lines = sentences.flatMap((sentence) =>
    wrapped(printable(sentence), columns - 4).map((line, at) => `${at === 0 ? "  " : "    "}${line}`),
  );
  return ["", `${title}:`, ...lines];
}
