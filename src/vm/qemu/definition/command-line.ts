/**
 * From a VM's definition to the argv with which the destination starts its QEMU: with its own files,
 * sockets and network, stopped and waiting for the migration stream. parseDefinition can read that argv
 * again, for a VM that moves on. Pure.
 */
import { MigrateError } from "../../../protocol/errors.ts";
import { type VncPolicy, vncOf, vncWords } from "./consoles/display.ts";
import { qemuSerialName, serialLines, socketName } from "./consoles/serial-lines.ts";
import { deviceValue } from "./devices.ts";
import type {
  BlockdevPart,
  ChardevPart,
  DrivePart,
  ModelFile,
  Pair,
  Part,
  Scalar,
  VmModel,
} from "./model.ts";
import { type CardOutcome, type MakeTap, type NetPolicy, NetworkArguments } from "./network-arguments.ts";
import { escapeCommas, writePairs } from "./option-syntax.ts";
import { plainArgv } from "./plain-rules.ts";

export type { CardOutcome, CardPolicy, NetPolicy } from "./network-arguments.ts";
export { changeNotes, networkNotes } from "./network-arguments.ts";

/** Everything that the destination alone decides. */
export interface QemuPlace {
  /** Absolute path of the destination's own QEMU. */
  binary: string;
  /** The destination's path for a file of the VM: absolute. */
  file: (file: ModelFile) => string;
  /**
   * Run folder: sockets of character devices become <folder>/<id>, their logs <folder>/<id>.log; those of serial lines
   * <folder>/migrate-serial-<number>, behind which their keeper sits (vm/qemu/attendants).
   */
  socketFolder: string;
  /** Control socket of the destination's own swtpm; null if there is none. */
  tpmSocket: string | null;
  /** A VM that ran with KVM may be emulated if there is no KVM. */
  allowTcg: boolean;
  kvmUsable: boolean;
  net: NetPolicy;
  /** Called for each card that is to be on a bridge; absent if QEMU's own helper makes its tap device. */
  tap?: MakeTap;
  /** False if nobody keeps what is said on serial lines: then they have sockets and logs as other devices have. */
  keepsLines?: false;
  /** What shows the VM's screen; nothing if absent. */
  vnc?: VncPolicy | undefined;
  /** The VM waits for no stream: told to run, it boots. */
  boots?: true;
}

/** A VM to be started, and the name that it has here; null for none. */
export type NamedModel = VmModel & { name: string | null };

/** Allows nothing that QEMU does not need once it runs (qemu(1), -sandbox). The helper for bridges is a program. */
export const tightSandbox = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny";
const bridgeSandbox = "on,obsolete=deny,resourcecontrol=deny";

/** What is behind the VM's network cards at this place, card by card. @throws as `commandLine`. */
export function cardOutcomes(model: VmModel, net: NetPolicy): CardOutcome[] {
  return new NetworkArguments(model, net).outcomes;
}

/**
 * The whole argv, the program first. QEMU starts with -S, its monitor at <socketFolder>/qmp; unless it boots, it waits
 * there for migrate-incoming.
 * @throws MigrateError "policy" if this destination cannot be what the VM needs: no KVM, no TPM, a
 *   network that its card's state does not fit, a path that QEMU would take for two.
 */
export function commandLine(model: NamedModel, place: QemuPlace): string[] {
  const accel = acceleratorFor(model, place);
  const network = new NetworkArguments(model, place.net, place.tap);
  const lines = place.keepsLines === false ? [] : serialLines(model);
  const machine = [
    { key: "type", value: model.machine },
    // The accelerator's own switch, which tcg does not have.
    ...model.machinePairs.filter(({ key }) => accel === "kvm" || key !== "kernel-irqchip"),
    // A core dump of QEMU's is no place for a guest's memory.
    { key: "dump-guest-core", value: "off" },
  ];
  return [
    place.binary,
    "-no-user-config",
    ...(model.noDefaults ? ["-nodefaults"] : []),
    ...(model.name === null ? [] : ["-name", writePairs([{ key: "guest", value: model.name }])]),
    ...(model.uuid === null ? [] : ["-uuid", model.uuid]),
    ...["-sandbox", network.usesHelper ? bridgeSandbox : tightSandbox],
    ...vncWords(vncOf(model, place.vnc), place.socketFolder),
    ...["-display", "none", "-S", ...(place.boots ? [] : ["-incoming", "defer"])],
    ...["-qmp", `unix:${escapeCommas(`${place.socketFolder}/qmp`)},server=on,wait=off`],
    ...["-machine", writePairs(machine, "type")],
    ...[
      "-accel",
      writePairs(
        [{ key: "accel", value: accel }, ...(accel === model.accel ? model.accelPairs : [])],
        "accel",
      ),
    ],
    ...(model.cpu === null ? [] : ["-cpu", [model.cpu.model, ...model.cpu.features].join(",")]),
    ...model.parts.flatMap((part) => argvOf(part, { place, network, files: model.files, lines })),
    ...network.defaultNic(),
  ];
}

/**
 * The accelerator that a VM gets at a place. @throws MigrateError "policy" if there is none that it could run with.
 */
export function acceleratorFor(
  model: VmModel,
  place: Pick<QemuPlace, "kvmUsable" | "allowTcg" | "boots">,
): "kvm" | "tcg" {
  const { accel, cpu } = model;
  if (accel === "tcg" || place.kvmUsable) return accel;
  if (place.boots !== true && hasKvmClock(model))
    throw new MigrateError(
      "policy",
      "The VM has KVM's clock (kvmclock), whose state only KVM can load, and the destination has no KVM",
      {
        hint: "Make /dev/kvm usable at the destination, or send the VM switched off: migrate start --allow-tcg emulates it there.",
      },
    );
  if (!place.allowTcg)
    throw new MigrateError("policy", "The VM runs with KVM, and the destination has none to give it", {
      hint: "Make /dev/kvm usable at the destination, or serve with --allow-tcg to emulate the processor.",
    });
  if (cpu?.model === "host")
    throw new MigrateError(
      "policy",
      `The VM has its host's own processor (-cpu host), which only KVM can give`,
      {
        hint: "Make /dev/kvm usable at the destination, or start the VM with a named processor model.",
      },
    );
  return "tcg";
}

/** Newer PCs have the clock whatever the processor is (hw/i386/pc.c, kvmclock_create_always). */
const newestWithoutClock = 5.1;

/** Whether QEMU gives this VM a kvmclock under KVM (hw/i386/kvm/clock.c). */
function hasKvmClock({ system, machine, cpu }: VmModel): boolean {
  if (system !== "x86_64" || machine === "none") return false;
  const isOff = cpu?.features.some((feature) => /^(?:-kvmclock|kvmclock=(?:off|no|false|n))$/.test(feature));
  const version = Number(/^pc-(?:i440fx|q35)-(\d\.\d)/.exec(machine)?.[1] ?? Number.POSITIVE_INFINITY);
  return !(isOff === true && version <= newestWithoutClock);
}

/** What a part becomes an option with. */
interface Around {
  place: QemuPlace;
  network: NetworkArguments;
  files: readonly ModelFile[];
  /** Ids of the character devices that are serial lines. */
  lines: readonly string[];
}

function argvOf(part: Part, { place, network, files, lines }: Around): string[] {
  switch (part.kind) {
    case "plain":
      return plainArgv(part);
    case "file":
      return [part.option, fileValue(part.option, place.file(fileAt(files, part.file)))];
    case "drive":
      return ["-drive", driveValue(part.file === null ? null : fileAt(files, part.file), part, place)];
    case "blockdev":
      return ["-blockdev", blockdevValue(fileAt(files, part.file), part, place)];
    case "device":
      return ["-device", deviceValue(part.driver, part.json, part.pairs)];
    case "chardev":
      return ["-chardev", chardevValue(part, place, lines.indexOf(part.id))];
    case "serial":
      return ["-serial", `chardev:${part.chardev}`];
    case "network":
      return [part.option, network.value(part)];
  }
}

function fileAt(files: readonly ModelFile[], at: number): ModelFile {
  const file = files[at];
  if (file === undefined)
    throw new MigrateError("policy", "the VM's definition names a file that it does not have");
  return file;
}

function fileValue(option: string, path: string): string {
  // With a multiboot kernel QEMU takes a comma for the end of one module's path: the rest would be another file.
  if (option === "-initrd" && path.includes(","))
    throw new MigrateError(
      "policy",
      "-initrd is refused: the VM's path at the destination has a comma in it",
      {
        hint: "Send the VM under a name without a comma (--name).",
      },
    );
  return path;
}

function driveValue(file: ModelFile | null, { pairs }: DrivePart, place: QemuPlace): string {
  if (file === null) return writePairs(pairs);
  return writePairs([
    { key: "file", value: place.file(file) },
    { key: "format", value: file.format },
    ...(file.node === null ? [] : [{ key: "node-name", value: file.node }]),
    // A qcow2 file names the image below it, and QEMU would open whatever a hostile one names.
    ...(file.format === "qcow2" ? [{ key: "backing", value: "" }] : []),
    ...pairs,
  ]);
}

function blockdevValue(file: ModelFile, { node, pairs, below }: BlockdevPart, place: QemuPlace): string {
  return JSON.stringify({
    driver: file.format,
    "node-name": node,
    "read-only": file.kind === "boot",
    // As for -drive.
    ...(file.format === "qcow2" ? { backing: null } : {}),
    ...nested(pairs),
    file: { driver: "file", filename: place.file(file), ...nested(below) },
  });
}

/** {"cache.direct": true} as {cache: {direct: true}}. */
function nested(pairs: readonly Pair[]): Record<string, unknown> {
  const object: Record<string, Scalar | Record<string, Scalar>> = {};
  for (const { key, value } of pairs) {
    const [outer = "", inner] = key.split(".");
    const within = object[outer];
    if (inner === undefined) object[outer] = value;
    else object[outer] = { ...(typeof within === "object" ? within : {}), [inner]: value };
  }
  return object;
}

/** `line` is its number among the serial lines; negative for another one. */
function chardevValue({ id, backend, pairs, log }: ChardevPart, place: QemuPlace, line: number): string {
  const start = (name: string): Pair[] => [
    { key: "backend", value: name },
    { key: "id", value: id },
  ];
  if (backend === "tpm") {
    if (place.tpmSocket === null)
      throw new MigrateError("policy", "The VM has a TPM, and the destination has none to give it", {
        hint: "Install swtpm at the destination.",
      });
    return writePairs([...start("socket"), { key: "path", value: place.tpmSocket }], "backend");
  }
  const path = `${place.socketFolder}/${line < 0 ? socketName({ id }) : qemuSerialName(line)}`;
  const listening = [
    { key: "path", value: path },
    { key: "server", value: "on" },
    { key: "wait", value: "off" },
  ];
  return writePairs(
    [
      ...start(backend),
      ...(backend === "socket" ? listening : []),
      ...pairs,
      // What a serial line says is kept by its keeper.
      ...(log && line < 0 ? [{ key: "logfile", value: `${path}.log` }] : []),
    ],
    "backend",
  );
}
