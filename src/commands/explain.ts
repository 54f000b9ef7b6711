/** `migrate explain`: what would become of a VM's move, before anything of it is sent: what is refused, and what changes. */
import type { MigrateError } from "../protocol/errors.ts";
import { printable } from "../protocol/printable.ts";
import { formatBytes } from "../terminal/format.ts";
import { wrapped } from "../terminal/line.ts";
import type { Reporter } from "../terminal/reporter.ts";
import { type NetMap, readNetMap } from "../vm/libvirt/definition/net-map.ts";
import { usageErrors } from "./cli/arguments.ts";
import { defineCommand } from "./cli/define-command.ts";
import { netPolicyAbout, netPolicyForm, parseNetPolicy } from "./cli/net-policy.ts";
import { optional, toggle, withDefault } from "./cli/option.ts";
import { otherHost, otherHostOptions } from "./cli/other-host.ts";
import { ticketFrom, ticketOptions } from "./cli/ticket-input.ts";
import { explainDomain } from "./explain/explain-domain.ts";
import { explainRunning, type Policy } from "./explain/explain-running.ts";
import { type Rehearsal, rehearse } from "./explain/rehearse.ts";
import { thereText } from "./explain/tell-there.ts";
import { leaveOptions, vmName, vmOptions, type WhichVm, whichVm } from "./send/which-vm.ts";

const name = "migrate explain";

export default defineCommand({
  name,
  summary: "show what would become of a VM's move, and what would be refused",
  about:
    "Takes the VM as send takes it, and goes as far as that would before it writes: nothing is started, sent or noted, here or there. With HOST:PORT the destination is asked as well: what it refuses, what would be different there, and what the move costs. A destination is told what of a running VM's command line is on a list, and makes one of its own of it; files are its own (STORE), and so are sockets (RUN) and networks.",
  usage: [
    `${name} VM [HOST:PORT] [FLAGS]`,
    `${name} --name NAME [--ram FILE] [--disk FILE]... [HOST:PORT] [FLAGS]`,
  ],
  positionals: {
    names: ["VM", "HOST:PORT"],
    least: 0,
    about: [
      "qmp:PATH of a VM that runs, libvirt:NAME, or the folder of one that does not run",
      "A destination that is asked as well; nothing of the VM is sent",
    ],
  },
  options: {
    ...otherHostOptions,
    ...ticketOptions,
    ...vmOptions,
    ...leaveOptions,
    base: optional("NAME", "A VM at the destination that this one has much in common with", vmName),
    attest: toggle("Ask the destination only if it proves what it runs, as migrate send --attest does"),
    prove: toggle("Prove what this host runs to a destination that demands it, as migrate send --prove does"),
    allowTcg: toggle("As at a destination that has no KVM and serves with --allow-tcg"),
    netMap: withDefault("MAP", "Of a VM of libvirt: as the destination serves", "none", readNetMap),
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
    [`${name} /srv/vms/web1 192.0.2.7`, "a VM that does not run: has it room there?"],
    [`${name} qmp:/run/web1.qmp --net bridge:br0`, "and to a host that serves with --net bridge:br0?"],
  ],
  async run({ options, positionals, world, reporter }) {
    const which = whichVm(positionals, options, {
      ...{ command: name, refuse: usageErrors(name), needsHost: false },
    });
    const given = which.host === undefined ? [] : [which.host];
    const there = otherHost(name, given, options, { world, reporter });
    const ticket = there === null ? undefined : await ticketFrom(world, options);
    const { copy, base, attest, prove, vmPolicy } = options;
    const sealsTpm = options.sealTpm !== undefined;
    const rehearsal = await rehearse({ world, reporter }, which, {
      there,
      ticket,
      copy,
      base,
      attest,
      prove,
      sealsTpm,
      vmPolicy,
    });
    const told = rehearsal.unfinished
      ? toldOf(rehearsal.unfinished)
      : await tellOf(which, rehearsal, options);
    // As `send` ends, with the first of them.
    const refusals = [...rehearsal.refusals];
    for (const other of told.refusals)
      if (!refusals.some(({ message }) => message === other.message)) refusals.push(other);
    const { run } = rehearsal;
    const isTaken = run?.there != null && refusals.length === 0;
    const notes = [...new Set([...told.notes, ...rehearsal.notes])];
    if (isTaken && there !== null) notes.push(`${there.where} takes the VM as it is now`);
    const refused = refusals.map(sentenceOf);
    const shown = refusals.length === 0 ? told.shown : [told.notShown];
    reporter.result(
      {
        event: "explanation",
        name: told.name,
        ...(refusals.length === 0 ? told.event : told.refusedEvent),
        notes,
        refused,
        ...(run === null || there === null ? {} : { cost: run.cost, there: thereEvent(run.there) }),
      },
      [
        ...shown.map((line) => printable(line)),
        ...(run === null ? [] : thereText(run, there?.where ?? "").map((line) => printable(line))),
        ...listText("What is different there", notes, reporter),
        ...listText("Refused", refused, reporter),
      ].join("\n"),
    );
    return refusals[0]?.exitCode;
  },
});

/** What is told of a VM beside what the hosts say of its move. */
interface Told {
  name: string | null;
  event: object;
  /** In its place if anything is refused. */
  refusedEvent: object;
  shown: string[];
  notShown: string;
  notes: readonly string[];
  refusals: readonly MigrateError[];
}

/** Of a VM that `send` would not look at yet. */
function toldOf({ name: called, says }: NonNullable<Rehearsal["unfinished"]>): Told {
  const event = { unfinished: says };
  return {
    ...{ name: called, event, refusedEvent: event, shown: [says], notShown: says },
    notes: [],
    refusals: [],
  };
}

async function tellOf(
  { vm }: WhichVm,
  { run, refusals: [first] }: Rehearsal,
  { netMap, ...policy }: Policy & { netMap: NetMap },
): Promise<Told> {
  try {
    if ("libvirt" in vm) {
      const told = await explainDomain(vm.libvirt, { ...vm, netMap, isTold: run?.there != null });
      const { name: domain, difference, xml, notes, refusals } = told;
      const event = { difference, xml };
      const shown = [
        `${domain} would be defined there, with these differences:`,
        ...difference.map((line) => `  ${line}`),
      ];
      const notShown = "The domain would not be defined.";
      return { ...{ name: domain, event, refusedEvent: event, shown, notShown, notes, refusals } };
    }
    if ("qmp" in vm) {
      const { command, ...told } = await explainRunning(vm, policy, run?.there?.answer);
      return {
        ...told,
        event: { command },
        refusedEvent: { command: [] },
        shown: startText(told.name ?? "the VM", command),
        notShown: "The VM would not be started.",
      };
    }
  } catch (thrown) {
    // `send` finds this first, or something else: it may know where the VM is now.
    throw first ?? thrown;
  }
  const called = run?.name ?? ("name" in vm ? vm.name : null);
  return {
    name: called,
    ...{ event: {}, refusedEvent: {}, notes: [], refusals: [], notShown: "The VM would not be sent." },
    shown: run === null ? [] : [`${run.name} would be sent as it lies: ${formatBytes(run.bytes)}.`],
  };
}

function thereEvent(there: NonNullable<Rehearsal["run"]>["there"]) {
  if (there === null) return null;
  const { refused: _, ...answer } = there.answer;
  return { peer: there.peer, software: there.software, ...answer };
}

function sentenceOf({ message, hint }: MigrateError): string {
  return hint === undefined ? message : `${message}. ${hint}`;
}

function startText(vm: string, command: readonly string[]): string[] {
  const lines = [""];
  for (const argument of command) {
    if (argument.startsWith("-")) lines.push(argument);
    else lines[lines.length - 1] += lines.at(-1) === "" ? argument : ` ${argument}`;
  }
  return [`${vm} would be started as:`, ...lines.map((line) => `  ${line}`)];
}

function listText(title: string, sentences: readonly string[], reporter: Reporter): string[] {
  if (sentences.length === 0) return [];
  const lines = sentences.flatMap((sentence) =>
    wrapped(printable(sentence), reporter.columns() - 4).map(
      (line, at) => `${at === 0 ? "  " : "    "}${line}`,
    ),
  );
  return ["", `${title}:`, ...lines];
}
