/**
 * What a VM is: the only thing from which a QEMU is started for it. It has what the guest can see and nothing of
 * the host that it is on: no path, socket, port, bridge or program. It crosses the wire and lies in vm.json as it
 * stands (JSON); schema.ts says what each field may hold. Types alone; definition.ts makes it of a command line,
 * command-line.ts makes a command line of it. Pure.
 */

/** A file of the VM that travels with it. */
export interface ModelFile {
  /**
   * "disk": the guest writes to it. "boot": kernel, initrd, firmware and every drive that is read-only;
   * it travels as plain bytes and is never written.
   */
  kind: "disk" | "boot";
  /** Its name in the VM's folder: passes checkFileName, is unique within the VM. */
  name: string;
  format: "raw" | "qcow2";
  /** Name of its block node, for export and mirror; null for boot files. */
  node: string | null;
}

/** A file as the source has it. */
export interface DefinitionFile extends ModelFile {
  /** As in argv, maybe relative. For the source alone, which opens it; nobody else may. */
  path: string;
  /**
   * Argv names no format, QEMU looked into the file, and `format` follows from the file's ending: the
   * source must ask QEMU (query-named-block-nodes) and refuse the VM if that is something else.
   */
  formatIsGuess: boolean;
  /** What the source's argv calls it: -drive id=, or -blockdev node-name=. */
  drive: string | null;
}

/** A value of an option's key. JSON forms have all four, dotted forms text alone. */
export type Scalar = string | number | boolean | null;

/** One key of an option with its value, in the order of the command line. */
export interface Pair {
  readonly key: string;
  readonly value: Scalar;
}

/** One key of an option in dotted form. */
export interface TextPair extends Pair {
  readonly value: string;
}

/** An option of keys and values that mean the same on every host (plain-rules.ts). */
export interface PlainPart {
  kind: "plain";
  option: string;
  pairs: readonly TextPair[];
}

/** An option whose whole value is the path of a file. */
export interface FilePart {
  kind: "file";
  option: "-kernel" | "-initrd" | "-bios";
  /** Which of the model's files. */
  file: number;
}

/** -drive, -hda to -hdd, -cdrom. */
export interface DrivePart {
  kind: "drive";
  /** Which of the model's files; null for a drive without a medium. */
  file: number | null;
  /** All but file, format, node-name and backing. */
  pairs: readonly TextPair[];
}

/** -blockdev: a format node and its protocol node in one. */
export interface BlockdevPart {
  kind: "blockdev";
  file: number;
  node: string;
  /** Of the format node, the keys dotted. */
  pairs: readonly Pair[];
  /** Of the node below, without filename. */
  below: readonly Pair[];
}

export interface DevicePart {
  kind: "device";
  driver: string;
  /** QEMU makes the devices that are given as JSON after all others: the form is part of the order. */
  json: boolean;
  pairs: readonly Pair[];
}

export interface ChardevPart {
  kind: "chardev";
  /** Empty until the whole command line is read if argv names none. */
  id: string;
  backend: "socket" | "null" | "ringbuf" | "tpm";
  pairs: readonly TextPair[];
  /** The source keeps a log of what passes. */
  log: boolean;
}

/** -serial on a character device. */
export interface SerialPart {
  kind: "serial";
  /** Id of the character device. */
  chardev: string;
}

/**
 * What is behind a network card at the source. "user": QEMU's own network (slirp), whose state is in the migration
 * stream, so that nothing else can take its place. "bridge": a device of the host. "other": a link of QEMU's own to
 * another program. "none": nothing.
 */
export type NetSource = "user" | "bridge" | "other" | "none";

export interface NetworkPart {
  kind: "network";
  option: "-netdev" | "-nic";
  id: string | null;
  source: NetSource;
  /** Packets have a header (tap's vnet_hdr), which a virtio card cannot lose on the way. */
  header: boolean;
  /** The guest reaches nothing through its user network (restrict=on). */
  restricted: boolean;
  /** Cards on the same network of the source have the same number; which one it is stays there. */
  network: number;
  /** The NIC's own keys (-nic) and, with "user", the addresses that the guest has been given. */
  pairs: readonly TextPair[];
}

export type Part =
  | PlainPart
  | FilePart
  | DrivePart
  | BlockdevPart
  | DevicePart
  | ChardevPart
  | SerialPart
  | NetworkPart;

export interface CpuModel {
  /** Such as "host", "qemu64", "Skylake-Server-v4". */
  model: string;
  /** Such as "+avx2", "pmu=off", in their order. */
  features: readonly string[];
}

export interface VmModel {
  uuid: string | null;
  /** The processor that is emulated: qemu-system-SYSTEM. */
  system: "x86_64" | "aarch64";
  accel: "kvm" | "tcg";
  accelPairs: readonly TextPair[];
  /** Machine type, such as "pc-q35-7.2"; as given ("pc") until its QEMU was asked what that stands for. */
  machine: string;
  machinePairs: readonly TextPair[];
  /** Null for the machine's own. */
  cpu: CpuModel | null;
  /** In the order of the parts that name them. */
  files: readonly ModelFile[];
  /** -nodefaults was given: QEMU adds no devices of its own. */
  noDefaults: boolean;
  /** Everything else, in the order of argv: PCI addresses and the migration stream depend on it. */
  parts: readonly Part[];
}

/** A model together with what its command line said of the source alone. */
export interface QemuDefinition extends VmModel {
  files: readonly DefinitionFile[];
  /** -name guest=; null if there is none. */
  name: string | null;
  /** See `ramOf`. */
  ramBytes: number;
  hasTpm: boolean;
  /** Path of swtpm's control socket as argv has it. For the source alone. */
  tpmSocket: string | null;
  /** Sentences on what is left out or replaced. */
  notes: readonly string[];
  /** Options by which its screen was shown; what becomes of that is the destination's own decision. */
  shownBy: readonly string[];
}

/** What of a definition may leave its host. */
export function modelOf(definition: VmModel): VmModel {
  const { uuid, system, accel, accelPairs, machine, machinePairs, cpu, noDefaults, parts } = definition;
  const files = definition.files.map(({ kind, name, format, node }) => ({ kind, name, format, node }));
  return { uuid, system, accel, accelPairs, machine, machinePairs, cpu, files, noDefaults, parts };
}

/** Whether the VM has a virtual TPM. */
export function hasTpm({ parts }: Pick<VmModel, "parts">): boolean {
  return parts.some((part) => part.kind === "chardev" && part.backend === "tpm");
}

/** Ids of the character devices on whose channel a guest agent would be: virtserialport,name=org.qemu.guest_agent.0. */
export function agentChannels({ parts }: Pick<VmModel, "parts">): string[] {
  return parts.flatMap((part) => {
    if (part.kind !== "device" || part.driver !== "virtserialport") return [];
    const value = (key: string) => part.pairs.find((pair) => pair.key === key)?.value;
    const chardev = value("chardev");
    return value("name") === "org.qemu.guest_agent.0" && typeof chardev === "string" ? [chardev] : [];
  });
}

/** Whether nothing in the model is about the network, so that QEMU adds a card with its user network. */
export function hasDefaultNic({ noDefaults, parts }: Pick<VmModel, "noDefaults" | "parts">): boolean {
  return !noDefaults && !parts.some((part) => part.kind === "network" || isNicNone(part));
}

const isNicNone = (part: Part) => part.kind === "plain" && part.option === "-nic";
