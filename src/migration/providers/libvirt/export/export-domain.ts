/**
 * From a VM's definition, as it lies in vm.json, to the XML of a libvirt domain that is the same machine: board, processor,
 * memory, and every device at its place. What libvirt cannot say is refused if the guest would notice, and named if not.
 */

import { MigrateError } from "../../../../protocol/errors.ts";
import { readCpuMap } from "../../../../vm/libvirt/cpu-map.ts";
import { writeXml } from "../../../../vm/libvirt/xml/write-xml.ts";
import { element, type XmlElement } from "../../../../vm/libvirt/xml/xml-element.ts";
import { hasDefaultNic, type PlainPart, type VmModel } from "../../../../vm/qemu/definition/model.ts";
import { plainArgv } from "../../../../vm/qemu/definition/plain-rules.ts";
import { Board } from "./board.ts";
import { Cards } from "./cards.ts";
import { Devices } from "./devices.ts";
import { addDisk, type DiskFront, onBoard } from "./disks.ts";
import { ExportDraft, type ExportPlace } from "./draft.ts";

export interface ExportedDomain {
  xml: string;
  /** Sentences on what is different, or to be looked at. */
  notes: readonly string[];
}

/** Plain options that Board and Devices have read, or that mean nothing to the guest. */
const readElsewhere = new Set(
  [
    "-m",
    "-smp",
    "-boot",
    "-rtc",
    "-append",
    "-vga",
    "-serial",
    "-usb",
    "-usbdevice",
    "-nic",
    "-mon",
    "-audiodev",
  ].concat(["-tpmdev", "-action", "-parallel", "-no-reboot", "-no-shutdown", "-watchdog-action"]),
);
/** Plain options that QEMU is given as they are: they have no place in libvirt's XML, and need none. */
const handedOn = new Set(["-global", "-smbios", "-overcommit"]);

/** As `exportDomain`, in the words that this host's libvirt has. */
export function exportDomainHere(model: VmModel, place: Omit<ExportPlace, "cpuMap">): ExportedDomain {
  return exportDomain(model, { ...place, cpuMap: readCpuMap() });
}

/** Throws MigrateError "policy", with the first of what keeps it from being exported; the hint has all. */
export function exportDomain(model: VmModel, place: ExportPlace): ExportedDomain {
  const draft = drafted(model, place);
  const [first, ...others] = draft.refusals;
  if (first !== undefined) {
    const rest = others.length === 0 ? "" : ` (and ${others.length} more)`;
    throw new MigrateError("policy", first.message + rest, {
      hint: [...others.map(({ message }) => message), first.hint].join("\n"),
    });
  }
  return { xml: withNotes(writeXml(domainOf(draft)), draft.notes), notes: draft.notes };
}

function drafted(model: VmModel, place: ExportPlace): ExportDraft {
  const board = /^(?:pc-)?(q35|i440fx|pc)(?:-|$)/.exec(model.machine)?.[1];
  const isKnown = model.system === "x86_64" && board !== undefined;
  const draft = new ExportDraft(model, place, board === "q35" ? "q35" : "pc");
  if (!isKnown) draft.refuse(`the machine ${model.machine}`, "only PCs (pc, q35) can be");
  if (model.accelPairs.length > 0) draft.note("How the accelerator was tuned (-accel) is left out.");
  const cards = new Cards(draft);
  const devices = new Devices(draft, cards);
  const { parts } = model;
  // Places that are asked for are nobody else's.
  for (const part of parts) {
    if (part.kind !== "device" && part.kind !== "network") continue;
    const of = (key: string) => part.pairs.find((pair) => pair.key === key)?.value;
    if (typeof of("addr") === "string")
      draft.pci.reserve(String(of("addr")), of("bus") === undefined ? undefined : String(of("bus")));
  }
  // In the order in which QEMU makes them: the board's own, then -device, then those that were given as JSON.
  const boardParts = new Board(draft);
  devices.screen(plainWord(parts, "-vga") ?? (model.noDefaults ? "none" : "std"));
  for (const part of parts) if (part.kind === "network" && part.option === "-nic") cards.nic(part);
  if (hasDefaultNic(model)) cards.usual();
  if (boardParts.hasUsb) devices.boardUsb();
  boardDrives(draft);
  serialPorts(draft, devices);
  for (const part of parts)
    if (part.kind === "plain" && part.option === "-usbdevice") devices.usbDevice(part.pairs[0]!.value);
  for (const json of [false, true]) {
    for (const part of parts) if (part.kind === "device" && part.json === json) devices.add(part);
    if (!json) virtioDrives(draft);
  }
  for (const part of parts) if (part.kind === "plain") plain(draft, part);
  devices.withoutMore();
  if (!model.noDefaults)
    draft.note(
      "What QEMU adds by itself is left out: the floppy drive, the parallel port, an empty CD drive.",
    );
  draft.head = boardParts.elements();
  return draft;
}

function plainWord(parts: VmModel["parts"], option: string): string | undefined {
  const found = parts.findLast((part) => part.kind === "plain" && part.option === option);
  return found?.kind === "plain" ? found.pairs[0]?.value : undefined;
}

function plain(draft: ExportDraft, part: PlainPart): void {
  const { option, pairs } = part;
  if (handedOn.has(option)) {
    // What makes flash secure is libvirt's to say.
    if (option === "-global" && pairs.some(({ value }) => value === "cfi.pflash01")) return;
    draft.args.push(...plainArgv(part));
    draft.note(
      "Some options are given to QEMU as they were (<qemu:commandline>): libvirt does not look at them.",
    );
    return;
  }
  if (option === "-object") {
    const type = pairs.find(({ key }) => key === "qom-type")?.value ?? "";
    // Memory that is the machine's own, threads, and where random numbers come from.
    if (!/^(?:memory-backend-\w+|iothread|rng-\w+)$/.test(type)) draft.refuse(`-object ${type}`);
    return;
  }
  if (option === "-m" && pairs.some(({ key }) => key === "slots" || key === "maxmem"))
    draft.note("No memory can be plugged in any more (the slots of -m): libvirt wants NUMA nodes for that.");
  if (!readElsewhere.has(option)) draft.refuse(option);
}

/** Drives that the board itself gives a place: IDE and SATA by their number, virtio in the order in which they stand. */
function boardDrives(draft: ExportDraft): void {
  const used = new Set<number>();
  const perBus = draft.board === "pc" ? 2 : 1;
  for (const part of draft.model.parts) {
    if (part.kind !== "drive") continue;
    const of = (key: string) => part.pairs.find((pair) => pair.key === key)?.value;
    const kind = of("if") ?? "ide";
    if (kind === "virtio" || kind === "pflash" || kind === "none") continue;
    const file = part.file === null ? null : draft.model.files[part.file]!;
    if (kind !== "ide") {
      draft.refuse(`-drive if=${kind}`);
      continue;
    }
    const [bus, unit] = [of("bus"), of("unit")];
    let index = of("index") === undefined ? undefined : Number(of("index"));
    if (bus !== undefined || unit !== undefined) index = Number(bus ?? 0) * perBus + Number(unit ?? 0);
    if (index === undefined) for (index = 0; used.has(index); index++);
    used.add(index);
    const at = onBoard(draft, Math.floor(index / perBus), index % perBus);
    addDisk(
      draft,
      { file, pairs: part.pairs },
      { device: of("media") === "cdrom" ? "cdrom" : "disk", ...at },
    );
  }
}

/** QEMU makes these behind all -device. */
function virtioDrives(draft: ExportDraft): void {
  for (const part of draft.model.parts) {
    if (part.kind !== "drive" || !part.pairs.some(({ key, value }) => key === "if" && value === "virtio"))
      continue;
    const file = part.file === null ? null : draft.model.files[part.file]!;
    const front: DiskFront = { device: "disk", bus: "virtio", address: draft.pci.place() };
    addDisk(draft, { file, pairs: part.pairs }, front);
  }
}

/** -serial in its order; without any, QEMU adds one unless it is told to add nothing. */
function serialPorts(draft: ExportDraft, devices: Devices): void {
  const { parts, noDefaults } = draft.model;
  let said = parts.some((part) => part.kind === "device" && part.driver === "isa-serial");
  for (const part of parts) {
    if (part.kind === "serial") devices.port("pty");
    else if (part.kind === "plain" && part.option === "-serial") {
      const word = part.pairs[0]!.value.replace(/^mon:/, "");
      if (word !== "none") devices.port(word === "null" ? "null" : "pty");
    } else continue;
    said = true;
  }
  if (!said && !noDefaults) devices.port("pty");
}

function domainOf(draft: ExportDraft): XmlElement {
  const { model, args, devices, head } = draft;
  const qemu = "http://libvirt.org/schemas/domain/qemu/1.0";
  const commandLine = element(
    "qemu:commandline",
    {},
    args.map((value) => element("qemu:arg", { value })),
  );
  return element(
    "domain",
    { type: model.accel === "kvm" ? "kvm" : "qemu", ...(args.length > 0 ? { "xmlns:qemu": qemu } : {}) },
    [...head, element("devices", {}, devices), ...(args.length > 0 ? [commandLine] : [])],
  );
}

/** The sentences as comments, in front: what is read with the XML is not overlooked. */
function withNotes(xml: string, notes: readonly string[]): string {
  // Two hyphens end a comment (XML 1.0, 2.5).
  const lines = notes.map((note) => `<!-- ${note.replaceAll("--", "- -")} -->\n`);
  return lines.join("") + xml;
}
