/** What this program knows of a libvirt domain: the facts that a move is decided by, and the allow-listed XML. Pure. */
import { MigrateError } from "../../../protocol/errors.ts";
import { attributeOf, childOf, type XmlElement } from "../xml/xml-element.ts";

export interface Domain {
  name: string;
  uuid: string;
  type: "kvm" | "qemu";
  arch: string;
  machine: string;
  /** All that the guest may have: with NUMA cells libvirt goes by them, whatever <memory> says. */
  memoryBytes: number;
  /** The most that it may have; fewer may be plugged in. */
  vcpus: number;
  disks: readonly DomainDisk[];
  firmware: DomainFirmware;
  kernel: string | null;
  initrd: string | null;
  tpm: { version: "2.0" | "1.2" } | null;
  /** In the order in which they stand in the XML. */
  cards: readonly DomainCard[];
  cpu: XmlElement | null;
  /** The domain in its normal form: nothing but what the tables allow, and no path except its files and firmware. */
  tree: XmlElement;
}

export interface DomainDisk {
  /** Where the guest sees it: vda, sda. No two are the same. */
  target: string;
  device: "disk" | "cdrom";
  /** A plain name where the domain travels; null for a drive with nothing in it. */
  path: string | null;
  format: "raw" | "qcow2";
  readOnly: boolean;
  /** Always false: one that is shared is refused. */
  shareable: boolean;
}

export interface DomainFirmware {
  /** Absolute path, below the folders where packages have firmware; null if libvirt chooses, or it is the BIOS. */
  loader: string | null;
  nvram: string | null;
  nvramTemplate: string | null;
  /** libvirt chooses a firmware. */
  auto: boolean;
}

export interface DomainCard {
  mac: string | null;
  /** "none" is a tap device with nothing behind it; a name is there for networks and bridges alone. */
  source: { kind: "network" | "bridge" | "user" | "none"; name: string | null };
  model: string | null;
}

/** A file of a domain. */
export type Place =
  | { kind: "disk"; target: string }
  | { kind: "nvram" }
  | { kind: "kernel" }
  | { kind: "initrd" };

/** What the allow-listed XML says. @throws MigrateError "policy" for numbers that are none of a machine's. */
export function domainOf(tree: XmlElement): Domain {
  const os = childOf(tree, "os");
  const type = childOf(os, "type");
  const devices = childOf(tree, "devices")?.children ?? [];
  const tpm = devices.find(({ name }) => name === "tpm");
  return {
    name: textOf(tree, "name") ?? "",
    uuid: textOf(tree, "uuid") ?? "",
    type: attributeOf(tree, "type") === "kvm" ? "kvm" : "qemu",
    arch: attributeOf(type, "arch") ?? "",
    machine: attributeOf(type, "machine") ?? "",
    memoryBytes: memoryOf(tree),
    vcpus: vcpusOf(tree),
    disks: devices.filter(({ name }) => name === "disk").map(diskOf),
    firmware: {
      loader: textOf(os, "loader"),
      nvram: textOf(os, "nvram"),
      nvramTemplate: attributeOf(childOf(os, "nvram"), "template") ?? null,
      auto: attributeOf(os, "firmware") !== undefined,
    },
    kernel: textOf(os, "kernel"),
    initrd: textOf(os, "initrd"),
    tpm:
      (tpm && { version: attributeOf(childOf(tpm, "backend"), "version") === "1.2" ? "1.2" : "2.0" }) || null,
    cards: devices.filter(({ name }) => name === "interface").map(cardOf),
    cpu: childOf(tree, "cpu") ?? null,
    tree,
  };
}

/** The text of a child; null if it is not there or empty. */
function textOf(parent: XmlElement | undefined, name: string): string | null {
  return childOf(parent, name)?.text || null;
}

function diskOf(disk: XmlElement): DomainDisk {
  return {
    target: attributeOf(childOf(disk, "target"), "dev") ?? "",
    device: attributeOf(disk, "device") === "cdrom" ? "cdrom" : "disk",
    path: attributeOf(childOf(disk, "source"), "file") ?? null,
    format: attributeOf(childOf(disk, "driver"), "type") === "qcow2" ? "qcow2" : "raw",
    readOnly: childOf(disk, "readonly") !== undefined,
    shareable: childOf(disk, "shareable") !== undefined,
  };
}

function cardOf(card: XmlElement): DomainCard {
  const type = attributeOf(card, "type");
  const kind = type === "network" || type === "bridge" || type === "user" ? type : "none";
  const source = childOf(card, "source");
  return {
    mac: attributeOf(childOf(card, "mac"), "address")?.toLowerCase() ?? null,
    source: { kind, name: attributeOf(source, kind) ?? null },
    model: attributeOf(childOf(card, "model"), "type") ?? null,
  };
}

function vcpusOf(tree: XmlElement): number {
  const vcpus = Number(textOf(tree, "vcpu") ?? 0);
  if (vcpus < 1) throw new MigrateError("policy", "<vcpu> is refused: it is no number of processors");
  return vcpus;
}

/**
 * What libvirt will give the guest (virDomainDefPostParseMemory): the sum of the NUMA cells, if there are any, and of
 * the memory devices; otherwise <memory>, which includes the devices.
 */
function memoryOf(tree: XmlElement): number {
  const said = bytesOf(childOf(tree, "memory"));
  const cells = cellsOf(tree);
  const devices = childOf(tree, "devices")!.children.filter(({ name }) => name === "memory");
  const parts = [...cells, ...devices.map((device) => childOf(childOf(device, "target"), "size"))];
  const total = parts.reduce((sum, part) => sum + bytesOf(part), 0);
  if (!Number.isSafeInteger(total)) throw noSize();
  return Math.max(said, total);
}

function cellsOf(tree: XmlElement): XmlElement[] {
  const numa = childOf(childOf(tree, "cpu"), "numa");
  return (numa?.children ?? [])
    .filter(({ name }) => name === "cell")
    .map((cell) => ({ ...cell, text: attributeOf(cell, "memory") ?? "" }));
}

const powers = "kmgtpe";

/** A size in bytes; without a unit it is in KiB (formatdomain, "Memory Allocation"). */
function bytesOf(size: XmlElement | undefined): number {
  const unit = (attributeOf(size, "unit") ?? "KiB").toLowerCase();
  const power = powers.indexOf(unit[0]!) + 1;
  // "k" and "KiB" count by 1024, "KB" by 1000 (util/virutil.c, virScaleInteger).
  const base = /^[kmgtpe]b$/.test(unit) ? 1000 : 1024;
  const bytes = Number(size?.text) * (unit === "b" || unit === "bytes" ? 1 : base ** power);
  if (!Number.isSafeInteger(bytes) || bytes < 1) throw noSize();
  return bytes;
}

function noSize(): MigrateError {
  return new MigrateError("policy", "<memory> is refused: it is no size of a machine's memory");
}
