/** The disks of an exported domain: where in the machine each is, which image it has, and how that is opened. */
import { element, type XmlElement } from "../../../../vm/libvirt/xml/xml-element.ts";
import type { DevicePart, ModelFile, Pair, VmModel } from "../../../../vm/qemu/definition/model.ts";
import { type ExportDraft, Keys } from "./draft.ts";

interface Backing {
  /** Null for a drive without a medium. */
  file: ModelFile | null;
  pairs: readonly Pair[];
}

/** What the guest sees the disk as. */
export interface DiskFront {
  device: "disk" | "cdrom";
  bus: "virtio" | "ide" | "sata" | "scsi";
  address: XmlElement | null;
  serial?: string | undefined;
  bootindex?: string | undefined;
  queues?: string | undefined;
}

/** Drives and block nodes by what devices call them: -drive id=, and names of nodes. */
export function backingsOf({ parts, files }: VmModel): Map<string, Backing> {
  const found = new Map<string, Backing>();
  for (const part of parts) {
    if (part.kind === "drive") {
      const backing = { file: part.file === null ? null : files[part.file]!, pairs: part.pairs };
      const id = part.pairs.find(({ key }) => key === "id")?.value;
      if (id !== undefined) found.set(id, backing);
      if (backing.file?.node) found.set(backing.file.node, backing);
    } else if (part.kind === "blockdev") found.set(part.node, { file: files[part.file]!, pairs: part.pairs });
  }
  return found;
}

const letters = (index: number): string =>
  index < 26 ? String.fromCharCode(97 + index) : letters(Math.floor(index / 26) - 1) + letters(index % 26);
const prefixes = { virtio: "vd", ide: "hd", sata: "sd", scsi: "sd" } as const;

/** What libvirt takes for a serial number (qemu_command.c, QEMU_SERIAL_PARAM_ACCEPTED_CHARS). */
const takenSerial = /^[A-Za-z0-9 _.+-]+$/;

/** Adds a <disk>. */
export function addDisk(draft: ExportDraft, { file, pairs }: Backing, front: DiskFront): void {
  const of = (key: string) => pairs.find((pair) => pair.key === key)?.value;
  const what = `-drive of ${file?.name ?? "an empty drive"}`;
  if (pairs.some(({ key }) => /throttl|^(?:bps|iops)/.test(key)))
    draft.note(`The limits of ${file?.name ?? "a drive"} are left out: see <iotune>.`);
  const prefix = prefixes[front.bus];
  const cache = cacheOf(of);
  const driver = {
    name: "qemu",
    type: file?.format ?? "raw",
    ...(cache === undefined ? {} : { cache }),
    ...(/^(?:unmap|on)$/.test(String(of("discard") ?? "")) ? { discard: "unmap" } : {}),
    ...(front.queues === undefined ? {} : { queues: front.queues }),
  };
  if (front.serial !== undefined && !takenSerial.test(front.serial))
    draft.refuse(
      `the serial number of ${file?.name ?? "a drive"}`,
      "libvirt does not take all of its characters",
    );
  if (front.address === null) draft.refuse(what, "its place in the machine is not known");
  draft.devices.push(
    element("disk", { type: "file", device: front.device }, [
      element("driver", driver),
      ...(file === null ? [] : [element("source", { file: draft.place.pathOf(file.name) })]),
      element("target", { dev: prefix + letters(draft.next(prefix)), bus: front.bus }),
      ...(file?.kind === "boot" || front.device === "cdrom" ? [element("readonly")] : []),
      ...(front.serial === undefined ? [] : [element("serial", {}, front.serial)]),
      ...bootOrder(front.bootindex),
      ...(front.address === null ? [] : [front.address]),
    ]),
  );
}

/** libvirt counts from 1, QEMU from 0; what matters is who comes first. */
export function bootOrder(bootindex: string | undefined): XmlElement[] {
  return bootindex === undefined ? [] : [element("boot", { order: String(Number(bootindex) + 1) })];
}

/** The guest sees whether its disk has a cache for writes; the rest is the host's affair. */
function cacheOf(of: (key: string) => Pair["value"] | undefined): string | undefined {
  const cache = of("cache");
  if (cache !== undefined) return String(cache);
  const [direct, noFlush, writeback] = ["cache.direct", "cache.no-flush", "cache.writeback"].map((key) =>
    of(key),
  );
  const yes = (value: unknown) => value === true || value === "on" || value === "true";
  if (direct === undefined && noFlush === undefined && writeback === undefined) return undefined;
  if (yes(noFlush)) return "unsafe";
  if (writeback !== undefined && !yes(writeback)) return yes(direct) ? "directsync" : "writethrough";
  return yes(direct) ? "none" : "writeback";
}

/** What is alike in the devices of all disks is taken already. */
function keysOf(draft: ExportDraft, { driver, pairs }: Pick<DevicePart, "driver" | "pairs">): Keys {
  const keys = new Keys(draft, `-device ${driver}`, pairs);
  keys.drop("id", "drive");
  keys.allow("write-cache", "on", "auto");
  return keys;
}

/** -device virtio-blk-pci. */
export function virtioDisk(
  draft: ExportDraft,
  backing: Backing | undefined,
  { driver, pairs }: DevicePart,
): void {
  const keys = keysOf(draft, { driver, pairs });
  if (keys.take("iothread") !== undefined)
    draft.note("Threads of their own for disks (iothread) are left out.");
  const front = {
    device: "disk" as const,
    bus: "virtio" as const,
    serial: keys.take("serial"),
    bootindex: keys.take("bootindex"),
    queues: keys.take("num-queues"),
    address: draft.pci.place(keys.take("addr"), keys.take("bus")),
  };
  keys.end();
  if (backing === undefined) draft.refuse(`-device ${driver}`, "its drive is not known");
  else addDisk(draft, backing, front);
}

/** -device ide-hd, ide-cd: on IDE or on SATA, as the board has it. */
export function ideDisk(
  draft: ExportDraft,
  backing: Backing | undefined,
  { driver, pairs }: DevicePart,
): void {
  const keys = keysOf(draft, { driver, pairs });
  const bus = keys.take("bus");
  const unit = Number(keys.take("unit") ?? 0);
  const front = { serial: keys.take("serial"), bootindex: keys.take("bootindex") };
  keys.end();
  const number = /^ide\.(\d)$/.exec(bus ?? "")?.[1];
  if (backing === undefined || number === undefined) {
    draft.refuse(`-device ${driver}`, "it does not say which place of the board's it has (bus=ide.N)");
    return;
  }
  const device = driver === "ide-cd" ? "cdrom" : "disk";
  addDisk(draft, backing, { ...front, device, ...onBoard(draft, Number(number), unit) });
}

/** A place of the board's own: IDE has two buses of two units, SATA six of one. */
export function onBoard(draft: ExportDraft, bus: number, unit: number): Pick<DiskFront, "bus" | "address"> {
  const isSata = draft.board === "q35";
  const isThere = isSata ? bus < 6 && unit === 0 : bus < 2 && unit < 2;
  const [inBus, inUnit] = isSata ? [0, bus] : [bus, unit];
  const at = { type: "drive", controller: "0", bus: String(inBus), target: "0", unit: String(inUnit) };
  return { bus: isSata ? "sata" : "ide", address: isThere ? element("address", at) : null };
}

/** -device scsi-hd, scsi-cd; `controllers` are the SCSI controllers' numbers by the names of their buses. */
export function scsiDisk(
  draft: ExportDraft,
  backing: Backing | undefined,
  { driver, pairs }: DevicePart,
  controllers: ReadonlyMap<string, number>,
): void {
  const keys = keysOf(draft, { driver, pairs });
  const bus = keys.take("bus");
  const controller = bus === undefined ? [...controllers.values()][0] : controllers.get(bus);
  const target = keys.take("scsi-id");
  const front = { serial: keys.take("serial"), bootindex: keys.take("bootindex") };
  keys.allow("channel", "0");
  // Without a number of its own, QEMU gives a disk the first that is free on its bus (hw/scsi/scsi-bus.c).
  const unit = keys.take("lun") ?? "0";
  keys.end();
  if (backing === undefined || controller === undefined) {
    draft.refuse(`-device ${driver}`, "its drive or its controller is not known");
    return;
  }
  const number = target ?? String(draft.next(`scsi-${controller}`));
  const at = { type: "drive", controller: String(controller), bus: "0", target: number, unit };
  const device = driver === "scsi-cd" ? "cdrom" : "disk";
  addDisk(draft, backing, { ...front, device, bus: "scsi", address: element("address", at) });
}
