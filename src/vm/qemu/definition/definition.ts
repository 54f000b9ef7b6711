/**
 * From the argv with which a QEMU was started to the VM's definition. An argv may come from another
 * host and hold anything: an option or a key is taken over only if it is on a list, everything else
 * is refused with its name, and no file is looked at. Pure.
 */
import { MigrateError } from "../../../protocol/errors.ts";
import { bindTpm, chardevOptions, nameSerialSockets, noteSockets, serialSocket } from "./chardevs.ts";
import { deviceOptions, silenceSound } from "./devices.ts";
import { addBareNodes, diskOptions } from "./disks.ts";
import { Draft, type OptionReader } from "./draft.ts";
import { machineOf, machineOptions, machineSwitches, ramOf } from "./machine.ts";
import { requireUnmanaged } from "./managed.ts";
import { type DefinitionFile, hasTpm, type Part, type QemuDefinition } from "./model.ts";
import { networkOptions } from "./network.ts";
import { refused, shown } from "./option-syntax.ts";
import { leftOutOptions, leftOutSwitches, refusedOptions, refusedSwitches } from "./other-options.ts";
import { plainOptions, plainSwitches } from "./plain-options.ts";

export type { DefinitionFile, QemuDefinition, VmModel } from "./model.ts";
export { modelOf } from "./model.ts";

/** What a command line may have at most. Longer ones are refused unread. */
const argvLimits = { arguments: 1024, argumentBytes: 16 * 1024, bytes: 192 * 1024 } as const;

/** Readers of options with a value, and of options without one. */
const withValue: ReadonlyMap<string, OptionReader> = new Map(
  Object.entries({
    ...machineOptions,
    ...diskOptions,
    ...deviceOptions,
    ...chardevOptions,
    ...networkOptions,
    ...plainOptions,
    ...leftOutOptions,
    ...refusedOptions,
  }),
);
const withoutValue: ReadonlyMap<string, OptionReader> = new Map(
  Object.entries({ ...machineSwitches, ...plainSwitches, ...leftOutSwitches, ...refusedSwitches }),
);

/**
 * The definition of the VM whose QEMU was started with this argv (the program first).
 * @throws MigrateError "limit" if its arguments are too many or too long, "policy" for the first option that
 *   cannot be taken over; the sentence names it and holds no value of it.
 */
export function parseDefinition(argv: readonly string[]): QemuDefinition {
  const { definition, refusals } = readDefinition(argv);
  if (definition === null) throw refusals[0]!;
  return definition;
}

export interface Explanation {
  /** Null if anything is refused. */
  definition: QemuDefinition | null;
  /** A sentence for each thing that is refused, in the order of the command line. */
  refused: string[];
  /** Sentences on what is left out or replaced. */
  notes: string[];
}

/**
 * As parseDefinition, for a person: with all that is refused at once. Never throws for what argv holds.
 */
export function explainDefinition(argv: readonly string[]): Explanation {
  const { definition, refusals, notes } = readDefinition(argv);
  return {
    definition,
    // Five disks of a kind are refused for one reason.
    refused: [...new Set(refusals.map(sentenceOf))],
    notes: [...notes],
  };
}

function sentenceOf({ message, hint }: MigrateError): string {
  return hint === undefined ? message : `${message}. ${hint}`;
}

/**
 * As parseDefinition, but reads on after the first refusal: at least one of the two is there. Never
 * throws for what argv holds.
 */
export function readDefinition(argv: readonly string[]): {
  definition: QemuDefinition | null;
  refusals: MigrateError[];
  notes: readonly string[];
} {
  const draft = new Draft();
  const refusals: MigrateError[] = [];
  const attempt = <Value>(read: () => Value): Value | undefined => {
    try {
      return read();
    } catch (thrown) {
      if (!(thrown instanceof MigrateError)) throw thrown;
      refusals.push(thrown);
      return undefined;
    }
  };
  attempt(() => checkLimits(argv));
  if (refusals.length === 0) attempt(() => requireUnmanaged(argv));
  const program = refusals.length > 0 ? undefined : attempt(() => programOf(argv[0] ?? ""));
  if (program === undefined) return { definition: null, refusals, notes: [] };
  for (const [option, value, read] of optionsOf(argv)) attempt(() => read(draft, value, option));
  // An option that is missing because it was refused is not refused a second time.
  const definition = refusals.length > 0 ? undefined : attempt(() => finish(draft, program));
  return { definition: refusals.length > 0 ? null : (definition ?? null), refusals, notes: draft.notes };
}

function checkLimits(argv: readonly string[]): void {
  const tooLong = (what: string) => new MigrateError("limit", `The VM's command line ${what}`);
  if (argv.length > argvLimits.arguments) throw tooLong(`has more than ${argvLimits.arguments} arguments`);
  let bytes = 0;
  for (const argument of argv) {
    // UTF-8 has at least one byte for each UTF-16 unit: a huge argument is not encoded to be measured.
    const argumentBytes =
      argument.length > argvLimits.argumentBytes ? argument.length : Buffer.byteLength(argument);
    if (argumentBytes > argvLimits.argumentBytes)
      throw tooLong(`has an argument of more than ${argvLimits.argumentBytes} bytes`);
    bytes += argumentBytes + 1;
    if (bytes > argvLimits.bytes) throw tooLong(`has more than ${argvLimits.bytes} bytes`);
    if (argument.includes("\0") || !argument.isWellFormed())
      throw refused("An argument", "it is not proper text");
  }
}

interface Program {
  system: QemuDefinition["system"];
  /** The program is called kvm, so that QEMU prefers KVM. */
  byKvm: boolean;
}

function programOf(path: string): Program {
  const name = path.slice(path.lastIndexOf("/") + 1);
  if (name === "kvm" || name === "qemu-kvm") return { system: "x86_64", byKvm: true };
  const system = /^qemu-system-(x86_64|aarch64)$/.exec(name)?.[1];
  if (system === undefined) throw refused(shown(name), "it is not a QEMU whose VMs can be moved");
  return { system: system as Program["system"], byKvm: false };
}

/** The options in order, each with its value and what reads it. QEMU takes "--option" for "-option". */
function* optionsOf(argv: readonly string[]): Generator<[option: string, value: string, OptionReader]> {
  for (let at = 1; at < argv.length; at++) {
    const argument = argv[at]!;
    if (!argument.startsWith("-")) {
      // An argument on its own is the first disk (softmmu/vl.c).
      yield ["-hda", argument, withValue.get("-hda")!];
      continue;
    }
    const option = argument.startsWith("--") ? argument.slice(1) : argument;
    const bare = withoutValue.get(option);
    if (bare !== undefined) {
      yield [option, "", bare];
      continue;
    }
    const next = argv[at + 1];
    const read = withValue.get(option);
    if (read !== undefined && next !== undefined) {
      at += 1;
      yield [option, next, read];
    } else if (read !== undefined) yield [option, "", refuseWith("its value is missing")];
    else {
      // Whether it takes a value is not known: what looks like one is not read as an option.
      if (next !== undefined && !next.startsWith("-")) at += 1;
      yield [option, "", refuseWith("it is not among what a VM may bring along")];
    }
  }
}

function refuseWith(why: string): OptionReader {
  return (_, __, option) => {
    throw refused(shown(option), why);
  };
}

/** What can be said only once all of argv was read. */
function finish(draft: Draft, { system, byKvm }: Program): QemuDefinition {
  addBareNodes(draft);
  if (draft.nographic && !draft.noDefaults && !draft.namesSerial) serialSocket(draft);
  nameSerialSockets(draft);
  const [fault] = draft.faultyReferences();
  if (fault !== undefined) throw fault;
  const tpmSocket = bindTpm(draft);
  noteSockets(draft);
  const machine = machineOf(draft, system, byKvm);
  const { files, parts: found } = inOrder(draft);
  const parts = silenceSound(draft, found);
  return {
    name: draft.name,
    uuid: draft.uuid,
    system,
    ...machine,
    files,
    ramBytes: ramOf({ ...machine, parts }),
    hasTpm: hasTpm({ parts }),
    tpmSocket,
    noDefaults: draft.noDefaults,
    parts,
    notes: draft.notes,
    shownBy: draft.shownBy,
  };
}

/** The files in the order of the parts that name them: a bare node's file was found last, wherever it stands. */
function inOrder(draft: Draft): { files: DefinitionFile[]; parts: Part[] } {
  const files: DefinitionFile[] = [];
  const parts = draft.parts.flatMap((part): Part[] => {
    if (part === null) return [];
    if (!("file" in part) || part.file === null) return [part];
    return [{ ...part, file: files.push(draft.files[part.file]!) - 1 }];
  });
  return { files, parts };
}
