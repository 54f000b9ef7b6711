/** `migrate explain`: what a destination would start for a VM that runs here, and what it would refuse. */
import { resolve } from "node:path";
import type { VmSpec } from "../migration/providers/candidates.ts";
import {
  type Leave,
  type LeavingLook,
  lookAtLeaving,
} from "../migration/providers/qemu/leaving/leaving-look.ts";
import { MigrateError } from "../protocol/errors.ts";
import { printable } from "../protocol/printable.ts";
import { wrapped } from "../terminal/line.ts";
import type { Reporter } from "../terminal/reporter.ts";
import { readNetMap } from "../vm/libvirt/definition/net-map.ts";
import { systemUri } from "../vm/libvirt/virsh.ts";
import { argumentsBehind, callVm } from "../vm/qemu/call-vm.ts";
import {
  cardOutcomes,
  commandLine,
  type NamedModel,
  type NetPolicy,
  networkNotes,
} from "../vm/qemu/definition/command-line.ts";
import { readDefinition } from "../vm/qemu/definition/definition.ts";
import { droppable, isDroppable } from "../vm/qemu/images/left-behind.ts";
import { explainProcessor } from "../vm/qemu/processor/explain-processor.ts";
import { lookFailure } from "../vm/qemu/refusals.ts";
import { usageErrors } from "./cli/arguments.ts";
import { homeOf } from "./cli/context.ts";
import { defineCommand } from "./cli/define-command.ts";
import { dropped } from "./cli/dropped.ts";
import { netPolicyAbout, netPolicyForm, parseNetPolicy } from "./cli/net-policy.ts";
import { oneOf, optional, repeated, toggle, withDefault } from "./cli/option.ts";
import { otherHost, otherHostOptions, whileOpen } from "./cli/other-host.ts";
import { ticketFrom, ticketOptions } from "./cli/ticket-input.ts";
import { askThere } from "./explain/ask-there.ts";
import { type DomainExplanation, explainDomain } from "./explain/explain-domain.ts";

const name = "migrate explain";
const scheme = "qmp:";
const libvirtScheme = "libvirt:";

export default defineCommand({
  name,
  summary: "show what a destination would start for a running VM, and what it would refuse",
  about:
    "Nothing is started, and only the VM's QEMU, or its libvirt, is asked; with HOST:PORT the destination as well, which is offered the VM and told at once that it will not come. A destination is told what of the VM's command line is on a list, and makes one of its own of it; files are its own (STORE), and so are sockets (RUN) and networks.",
  positionals: {
    names: ["VM", "HOST:PORT"],
    least: 1,
    about: [
      "qmp:PATH, the QMP socket of the VM's QEMU, or libvirt:NAME, as migrate ls shows them",
      "A destination that is asked as well; nothing of the VM is sent",
    ],
  },
  options: {
    ...otherHostOptions,
    ...ticketOptions,
    allowTcg: toggle("As at a destination that has no KVM and serves with --allow-tcg"),
    name: optional("NAME", "Another name for the VM, as send takes it"),
    mode: withDefault("live|stop", "As it would be sent", "live", oneOf(["live", "stop"])),
    drop: repeated(`${droppable.join("|")}|ELEMENT`, "What of it may stay behind, as send takes it", dropped),
    connect: optional("URI", `Of a VM of libvirt: where that is reached (default: ${systemUri})`),
    netMap: withDefault("MAP", "Of a VM of libvirt: as the destination serves", "none", readNetMap),
    after: withDefault(
      "WHAT",
      "What becomes of its files: keep, rename or delete",
      "rename",
      oneOf(["keep", "rename", "delete"]),
    ),
    net: withDefault(
      netPolicyForm,
      `What the destination puts behind network cards, ${netPolicyAbout}`,
      "none",
      parseNetPolicy,
    ),
  },
  examples: [
    [`${name} qmp:/run/web1.qmp`, "can this VM be moved, and as what?"],
    [`${name} libvirt:web1 192.0.2.7`, "and does that host take it?"],
    [`${name} qmp:/run/web1.qmp --net bridge:br0`, "and to a host that serves with --net bridge:br0?"],
  ],
  async run({ options, positionals, world, reporter }) {
    const [where = ""] = positionals;
    const there = otherHost(name, positionals.slice(1), options, { world, reporter });
    const { mode, after, name: asked, downtimeLimitMs, autoConverge } = { ...options, ...asSent };
    const live = mode === "live";
    const ask = async (vm: VmSpec, refusals: readonly MigrateError[]) =>
      there === null || refusals.length > 0
        ? null
        : whileOpen(there, { home: homeOf(world), needs: needsOf(vm) }, { world, reporter }, async (host) =>
            askThere(world, vm, { ...there, ...host, ticket: await ticketFrom(world, options) }),
          );
    if (where.startsWith(libvirtScheme)) {
      const { connect = systemUri, netMap, drop } = options;
      const domain = where.slice(libvirtScheme.length);
      const told = await explainDomain(domain, { connect, live, drop, netMap });
      const spec = { libvirt: domain, connect, live, drop, downtimeLimitMs, autoConverge, workers: 1 };
      return tellDomain(withAnswer(told, await ask(spec, told.refusals)), reporter);
    }
    const drop = options.drop.filter(isDroppable);
    const look = await lookAt(where, { name: asked, live, drop, after });
    const refusals = [...look.refusals];
    const notes = [...look.notes];
    const called = asked ?? look.definition?.name ?? null;
    const command =
      look.model === null ? [] : started({ ...look.model, name: called }, options, { refusals, notes });
    const answer = await ask(
      {
        ...{ qmp: where.slice(scheme.length), name: asked, live, drop, after, downtimeLimitMs, autoConverge },
        ...{ channels: 0, workers: 1, cpuCheck: true },
      },
      refusals,
    );
    notes.push(...(answer?.notes ?? []));
    if (answer?.refusal) refusals.push(answer.refusal);
    const refused = refusals.map(sentenceOf);
    reporter.result(
      { event: "explanation", name: called, command, notes, refused },
      [
        ...startText(called ?? "the VM", command),
        ...listText("What is different there", notes, reporter.columns()),
        ...listText("Refused", refused, reporter.columns()),
      ].join("\n"),
    );
    // As `send` ends, with the first of them.
    return refusals[0]?.exitCode;
  },
});

/** What of a `send` makes no difference to what is explained. */
const asSent = { downtimeLimitMs: 300, autoConverge: true } as const;

/** What a serve that ssh starts there has to take. */
const needsOf = (vm: VmSpec) => ({ qemu: "qmp" in vm, libvirt: "libvirt" in vm });

function withAnswer(
  told: DomainExplanation,
  answer: { notes: string[]; refusal: MigrateError | null } | null,
): DomainExplanation {
  if (answer === null) return told;
  return {
    ...told,
    notes: [...told.notes, ...answer.notes],
    refusals: [...told.refusals, ...(answer.refusal === null ? [] : [answer.refusal])],
  };
}

/** Reports it; returns the exit code, as `send` would end. */
function tellDomain(
  { name: called, difference, xml, notes, refusals }: DomainExplanation,
  reporter: Reporter,
) {
  const refused = refusals.map(sentenceOf);
  const shown =
    xml === null
      ? ["The domain would not be defined."]
      : [
          `${printable(called)} would be defined there, with these differences:`,
          ...difference.map((line) => `  ${printable(line)}`),
        ];
  reporter.result(
    { event: "explanation", name: called, difference, xml, notes, refused },
    [
      ...shown,
      ...listText("What is different there", notes, reporter.columns()),
      ...listText("Refused", refused, reporter.columns()),
    ].join("\n"),
  );
  return refusals[0]?.exitCode;
}

type Look = Pick<LeavingLook, "definition" | "model" | "notes" | "refusals">;

/** The VM behind a QMP socket. @throws MigrateError "usage", "vm-invalid", "qemu-failed". */
async function lookAt(where: string, leave: Leave): Promise<Look> {
  if (!where.startsWith(scheme) || where.length === scheme.length)
    throw usageErrors(name)(`qmp:PATH is expected, not "${where}"`);
  const path = resolve(where.slice(scheme.length));
  try {
    using qmp = await callVm(path);
    const look = await lookAtLeaving(qmp, path, leave);
    const { definition } = look;
    const processor = definition === null ? [] : await explainProcessor(qmp, definition.cpu);
    return { ...look, notes: [...look.notes, ...processor] };
  } catch (thrown) {
    const error = lookFailure(thrown);
    const argv = argumentsBehind(path);
    if (argv === null) throw error;
    // What its command line says shows all the same.
    const { definition, refusals, notes } = readDefinition(argv);
    const others = refusals.filter(({ message }) => message !== error.message);
    return { definition, model: null, notes: [...notes], refusals: [error, ...others] };
  }
}

function sentenceOf({ message, hint }: MigrateError): string {
  return hint === undefined ? message : `${message}. ${hint}`;
}

/** The command line with names in place of what only the destination knows; adds what that refuses, and what becomes of its cards. */
function started(
  model: NamedModel,
  { allowTcg, net }: { allowTcg: boolean; net: NetPolicy },
  { refusals, notes }: { refusals: MigrateError[]; notes: string[] },
): string[] {
  const folder = `STORE/${model.name ?? "VM"}`;
  try {
    notes.push(...networkNotes(model, cardOutcomes(model, net)));
    const command = commandLine(model, {
      binary: `qemu-system-${model.system}`,
      file: (file) => `${folder}/${file.name}`,
      socketFolder: "RUN",
      tpmSocket: "RUN/swtpm",
      allowTcg,
      kvmUsable: !allowTcg,
      net,
    });
    return refusals.length === 0 ? command : [];
  } catch (thrown) {
    if (!(thrown instanceof MigrateError)) throw thrown;
    refusals.push(thrown);
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
