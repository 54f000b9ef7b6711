/**
 * What a VM is, by its QEMU command line, once every argument of it has been read and found harmless: the only thing from which a destination starts QEMU. Types alone; definition.ts makes it,
 * command-line.ts makes an argv of it again. Pure.
 */

/** A file of the VM that travels with it. */
export interface DefinitionFile {
  /**
   * "disk": the guest writes to it. "boot": kernel, initrd, firmware and every drive that is read-only;
   * it travels as plain bytes and is never written.
   */
  kind: "disk" | "boot";
  /** Its name at the destination: passes checkFileName, is unique within the VM and follows from argv alone. */
  name: string;
  /** As in argv, maybe relative. For the source alone, which opens it; nobody else may. */
  path: string;
  format: "raw" | "qcow2";
  /**
   * Argv names no format, QEMU looked into the file, and `format` follows from the file's ending: the
   * source must ask QEMU (query-named-block-nodes) and refuse the VM if that is something else.
   */
  formatIsGuess: boolean;
  /** Name of its block node at the destination, for export and mirror; null for boot files. */
  node: string | null;
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

/** An option whose whole value was checked, and which goes as it is. */
export interface PlainPart {
  kind: "plain";
  argv: readonly string[];
}

/** An option whose whole value is the path of a file. */
export interface FilePart {
  kind: "file";
  option: "-kernel" | "-initrd" | "-bios";
  file: DefinitionFile;
}

/** -drive, -hda to -hdd, -cdrom. */
export interface DrivePart {
  kind: "drive";
  /** null for a drive without a medium. */
  file: DefinitionFile | null;
  /** All but file, format, node-name and backing. */
  pairs: readonly Pair[];
}

/** -blockdev: a format node and its protocol node in one. */
export interface BlockdevPart {
  kind: "blockdev";
  file: DefinitionFile;
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
  pairs: readonly Pair[];
  /** The source keeps a log of what passes. */
  log: boolean;
}

/** -serial on a character device. */
export interface SerialPart {
  kind: "serial";
  chardev: ChardevPart;
}

/**
 * What is behind a network card at the source, as far as the migration stream depends on it.
 * "user": QEMU's own network (slirp), whose state is in the stream, so that nothing else can take its
 * place. "tap": packets have a header, which a virtio card cannot lose on the way. "plain": neither.
 */
export type NetBackend = "user" | "tap" | "plain";

export interface NetworkPart {
  kind: "network";
  option: "-netdev" | "-nic";
  id: string | null;
  backend: NetBackend;
  /** The NIC's own keys (-nic) and, with "user", the addresses that the guest has been given. */
  pairs: readonly Pair[];
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

export interface QemuDefinition {
  /** -name guest=; null if there is none. */
  name: string | null;
  uuid: string | null;
  /** The processor that is emulated: qemu-system-SYSTEM. */
  system: "x86_64" | "aarch64";
  accel: "kvm" | "tcg";
  accelPairs: readonly Pair[];
  /** Machine type as given, such as "pc" or "pc-q35-7.2". */
  machine: string;
  machinePairs: readonly Pair[];
  cpu: string | null;
  /** -m, or QEMU's default of 128 MiB. */
  ramBytes: number;
  /** In order of appearance. */
  files: readonly DefinitionFile[];
  hasTpm: boolean;
  /** Path of swtpm's control socket as argv has it. For the source alone. */
  tpmSocket: string | null;
  /** -nodefaults was given: QEMU adds no devices of its own. */
  noDefaults: boolean;
  /** Nothing in argv is about the network, so QEMU adds a card with its user network. */
  defaultNic: boolean;
  /** Everything else, in the order of argv: PCI addresses and the migration stream depend on it. */
  parts: readonly Part[];
  /** Sentences on what is left out or replaced. */
  notes: readonly string[];
}
