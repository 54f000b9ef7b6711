/**
 * From a VM's definition to the argv with which the destination starts its QEMU: with its own files,
 * sockets and network, stopped and waiting for the migration stream. parseDefinition can read that argv
 * again, for a VM that moves on. Pure.
 */
import { MigrateError } from "../../../protocol/errors.ts";
import { deviceValue } from "./devices.ts";
import type {
  BlockdevPart,
  ChardevPart,
  DefinitionFile,
  DrivePart,
  Pair,
  Part,
  QemuDefinition,
  Scalar,
} from "./model.ts";
import { type MakeTap, type NetPolicy, NetworkArguments } from "./network-arguments.ts";
import { escapeCommas, writePairs } from "./option-syntax.ts";

export type { NetPolicy } from "./network-arguments.ts";

/** Everything that the destination alone decides. */
export interface QemuPlace {
  /** Absolute path of the destination's own QEMU. */
  binary: string;
  /** The destination's path for a file of the VM: absolute. */
  file: (file: DefinitionFile) => string;
  /** Run folder: sockets of character devices become <folder>/<id>, their logs <folder>/<id>.log. */
  socketFolder: string;
  /** Control socket of the destination's own swtpm; null if there is none. */
  tpmSocket: string | null;
  /** A VM that ran with KVM may be emulated if there is no KVM. */
  allowTcg: boolean;
  kvmUsable: boolean;
  net: NetPolicy;
  /** Called for each card that is to be on a bridge; absent if QEMU's own helper makes its tap device. */
  tap?: MakeTap;
  /** The machine type that the source's QEMU has in truth, as an alias such as "pc" differs between versions. */
  machine?: string;
}

const machineType = /^[a-z0-9.-]{1,64}$/;

/** Names in the run folder that are not for a VM's own sockets. */
const ownNames = new Set(["qmp", "qemu", "swtpm", "tpm", "vm", "processes"]);
/** Ids that are a socket's name as they are: without a dot they are no file of the VM, and ours begin otherwise. */
const socketId = /^(?!migrate|tpm-)[A-Za-z][\w-]{0,31}$/;

/** Allows nothing that QEMU does not need once it runs (qemu(1), -sandbox). The helper for bridges is a program. */
const tightSandbox = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny";
const bridgeSandbox = "on,obsolete=deny,resourcecontrol=deny";

/**
 * The whole argv, the program first. QEMU starts with -S and waits for migrate-incoming on its monitor
 * at <socketFolder>/qmp.
 * @throws MigrateError "policy" if this destination cannot be what the VM needs: no KVM, no TPM, a
 *   network that its card's state does not fit, a path that QEMU would take for two.
 */
export function commandLine(definition: QemuDefinition, place: QemuPlace): string[] {
  const accel = acceleratorFor(definition, place);
  const type = place.machine ?? definition.machine;
  if (!machineType.test(type)) throw new MigrateError("policy", "The VM's machine type is not a proper name");
  const network = new NetworkArguments(definition, place.net, place.tap);
  const machine = [
    { key: "type", value: type },
    // The accelerator's own switch, which tcg does not have.
    ...definition.machinePairs.filter(
      ({ key }) => key !== "dump-guest-core" && (accel === "kvm" || key !== "kernel-irqchip"),
    ),
    // A core dump of QEMU's is no place for a guest's memory.
    { key: "dump-guest-core", value: "off" },
  ];
  return [
    place.binary,
    "-no-user-config",
    ...(definition.noDefaults ? ["-nodefaults"] : []),
    ...(definition.name === null ? [] : ["-name", writePairs([{ key: "guest", value: definition.name }])]),
    ...(definition.uuid === null ? [] : ["-uuid", definition.uuid]),
    ...["-sandbox", network.usesHelper ? bridgeSandbox : tightSandbox],
    ...["-display", "none", "-S", "-incoming", "defer"],
    ...["-qmp", `unix:${escapeCommas(`${place.socketFolder}/qmp`)},server=on,wait=off`],
    ...["-machine", writePairs(machine, "type")],
    ...[
      "-accel",
      writePairs(
        [{ key: "accel", value: accel }, ...(accel === definition.accel ? definition.accelPairs : [])],
        "accel",
      ),
    ],
    ...(definition.cpu === null ? [] : ["-cpu", definition.cpu]),
    ...definition.parts.flatMap((part) => argvOf(part, place, network)),
    ...network.defaultNic(),
  ];
}

function acceleratorFor(definition: QemuDefinition, place: QemuPlace): "kvm" | "tcg" {
  if (definition.accel === "tcg" || place.kvmUsable) return definition.accel;
  if (!place.allowTcg)
    throw new MigrateError("policy", "The VM runs with KVM, and the destination has none to give it", {
      hint: "Make /dev/kvm usable at the destination, or serve with --allow-tcg to emulate the processor.",
    });
  if (definition.cpu !== null && /^host(?:,|$)/.test(definition.cpu))
    throw new MigrateError(
      "policy",
      `The VM has its host's own processor (-cpu host), which only KVM can give`,
      {
        hint: "Make /dev/kvm usable at the destination, or start the VM with a named processor model.",
      },
    );
  return "tcg";
}

function argvOf(part: Part, place: QemuPlace, network: NetworkArguments): string[] {
  switch (part.kind) {
    case "plain":
      return [...part.argv];
    case "file":
      return [part.option, fileValue(part.option, place.file(part.file))];
    case "drive":
      return ["-drive", driveValue(part, place)];
    case "blockdev":
      return ["-blockdev", blockdevValue(part, place)];
    case "device":
      return ["-device", deviceValue(part.driver, part.json, part.pairs)];
    case "chardev":
      return ["-chardev", chardevValue(part, place)];
    case "serial":
      return ["-serial", `chardev:${part.chardev.id}`];
    case "network":
      return [part.option, network.value(part)];
  }
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

function driveValue({ file, pairs }: DrivePart, place: QemuPlace): string {
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

function blockdevValue({ file, node, pairs, below }: BlockdevPart, place: QemuPlace): string {
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

function chardevValue({ id, backend, pairs, log }: ChardevPart, place: QemuPlace): string {
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
  const path = `${place.socketFolder}/${socketId.test(id) && !ownNames.has(id) ? id : `chardev.${id}`}`;
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
      ...(log ? [{ key: "logfile", value: `${path}.log` }] : []),
    ],
    "backend",
  );
}
