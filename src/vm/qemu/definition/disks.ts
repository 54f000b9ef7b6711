/** -drive, -blockdev and their short forms: each file becomes one in the destination's store. Pure. */
import { visiblePattern } from "../../../protocol/printable.ts";
import type { Draft, OptionReader, ProtocolNode } from "./draft.ts";
import type { DefinitionFile, Pair } from "./model.ts";
import { asText, refused, shown, valueIn } from "./option-syntax.ts";
import { noFloppy } from "./other-options.ts";
import { type KeyRules, patterns, Settings, type ValueRule } from "./settings.ts";

const { whole, number, flag, id, node, word } = patterns;

/** A path: anything but control characters. Only the source ever opens it. */
const path = visiblePattern(1, 4096);
const formats = /^(?:raw|qcow2)$/;
const aio = /^(?:threads|native|io_uring)$/;
const discard = /^(?:ignore|off|unmap|on)$/;
const detectZeroes = /^(?:off|on|unmap)$/;
const onError = /^(?:ignore|enospc|report|stop|auto)$/;

const driveKeys: KeyRules = {
  if: /^(?:ide|scsi|sd|mtd|pflash|virtio|none)$/,
  id,
  media: /^(?:disk|cdrom)$/,
  index: whole,
  bus: whole,
  unit: whole,
  cache: /^(?:none|writeback|writethrough|directsync|unsafe)$/,
  "cache.direct": flag,
  "cache.no-flush": flag,
  "cache.writeback": flag,
  aio,
  discard,
  "detect-zeroes": detectZeroes,
  werror: onError,
  rerror: onError,
  "copy-on-read": /^off$/,
  snapshot: /^off$/,
};
const throttleKeys =
  /^(?:throttling\.(?:bps|iops)-[a-z-]{2,24}|(?:bps|iops)(?:_(?:rd|wr|total))?(?:_max(?:_length)?)?|iops_size)$/;
const groupKeys = /^(?:throttling\.)?group$/;

/** What the value of a drive's key may be; undefined for a key that is not known. */
export function driveRule(key: string): ValueRule | undefined {
  if (Object.hasOwn(driveKeys, key)) return driveKeys[key];
  return throttleKeys.test(key) ? number : groupKeys.test(key) ? word : undefined;
}

const readDrive: OptionReader = (draft, value, option) => addDrive(draft, Settings.read(option, value));

function addDrive(draft: Draft, settings: Settings): void {
  const { option } = settings;
  const file = settings.take("file", path);
  const format = settings.take("format", formats) ?? settings.take("driver", formats);
  const nodeName = settings.take("node-name", node);
  const readOnly = settings.flag("readonly") ?? settings.flag("read-only");
  settings.take("backing", /^$/);
  dropLocking(draft, settings, "file.locking");
  if (settings.is("if", "floppy")) throw refused(`${option} if=floppy`, noFloppy);
  const pairs = settings.keptBy(driveRule);
  settings.end();
  const drive = valueIn(pairs, "id");
  if (drive !== undefined) draft.define("drive", drive, option);
  const cdrom = valueIn(pairs, "media") === "cdrom";
  const kept = asText(readOnly === undefined ? pairs : [...pairs, { key: "read-only", value: readOnly }]);
  const added =
    file === undefined || file === ""
      ? null
      : draft.addFile(`${option} file`, {
          kind: readOnly === true || (cdrom && readOnly !== false) ? "boot" : "disk",
          path: plainPath(`${option} file`, file),
          format: (format as DefinitionFile["format"] | undefined) ?? guessFormat(file),
          formatIsGuess: format === undefined,
          drive: drive ?? null,
          ...(nodeName === undefined ? {} : { node: nodeName }),
        });
  if (added === null && nodeName !== undefined) throw refused(`${option} node-name`, "it has no file");
  draft.parts.push({ kind: "drive", file: added, pairs: kept });
}

/** A file name that is none but a protocol's ("nbd:…", "json:…"), as block.c tells them: a colon before any slash. */
function plainPath(what: string, text: string): string {
  const name = text.startsWith("file:") ? text.slice("file:".length) : text;
  const protocol = /^([^:/]*):/.exec(name)?.[1];
  if (protocol !== undefined) throw refused(what, `it is no file but ${shown(protocol)}:`);
  if (name.startsWith("/dev/fdset/")) throw refused(what, "it is an open file of the source's process");
  return name;
}

/** What QEMU most likely found in a file for which no format is given. The source looks again. */
function guessFormat(name: string): DefinitionFile["format"] {
  return name.endsWith(".qcow2") ? "qcow2" : "raw";
}

/** -hda to -hdd and -cdrom are short for a -drive with a place (softmmu/vl.c). */
function shortDrive(index: number, media: "disk" | "cdrom"): OptionReader {
  return (draft, value, option) =>
    addDrive(
      draft,
      Settings.of(option, [
        { key: "file", value },
        { key: "index", value: String(index) },
        { key: "media", value: media },
      ]),
    );
}

export const nodeFlags: KeyRules = {
  "auto-read-only": flag,
  "cache.direct": flag,
  "cache.no-flush": flag,
};
export const nodeKeys: KeyRules = { discard, "detect-zeroes": detectZeroes };
export const fileKeys: KeyRules = { aio, ...nodeKeys };
const locking = /^(?:on|off|auto)$/;

/**
 * Takes the switch of QEMU's image locks out: the destination's own always locks if its file system can (QEMU
 * docs/system/qemu-block-drivers, "Disk image file locking"), so that no second program writes to the disk.
 */
function dropLocking(draft: Draft, settings: Settings, key: string): void {
  if (settings.take(key, locking) === "off")
    draft.note(`${settings.option} ${key}=off is left out: the destination locks the images of its VMs`);
}

/** Switches become the booleans that the JSON form asks for. */
function nodePairs(settings: Settings, rules: KeyRules): Pair[] {
  const flags = Object.keys(nodeFlags).flatMap((key) => {
    const value = settings.flag(key);
    return value === undefined ? [] : [{ key, value }];
  });
  return [...flags, ...settings.kept(rules)];
}

const readBlockdev: OptionReader = (draft, value, option) => {
  const settings = Settings.read(option, value, { implied: "driver", json: true });
  const driver = settings.need("driver", word);
  const name = settings.take("node-name", node);
  // What stands on a node that is refused is not refused for that a second time.
  const stands = ["file", "backing"].some((key) =>
    draft.refusedNodes.some((other) => settings.is(key, other)),
  );
  if (name !== undefined && (stands || (driver !== "file" && !formats.test(driver))))
    draft.refusedNodes.push(name);
  if (stands) return;
  if (driver !== "file" && !formats.test(driver))
    throw refused(`${option} ${shown(driver)}`, "only raw and qcow2 in plain files can be moved");
  if (name === undefined) throw refused(option, "it has no node-name");
  if (driver === "file") {
    const protocol = readProtocol(draft, settings);
    draft.define("drive", name, option);
    draft.protocols.set(name, protocol);
    // Keeps its place in the order, in case no format node refers to it.
    draft.parts.push(null);
    return;
  }
  const readOnly = settings.flag("read-only") ?? false;
  settings.take("backing", /^$/);
  const below = protocolOf(draft, settings);
  const pairs = nodePairs(settings, nodeKeys);
  settings.end((key) =>
    key.startsWith("backing")
      ? "a chain of images cannot be moved: flatten it first (block-stream)"
      : undefined,
  );
  addNode(draft, { option, name, format: driver as DefinitionFile["format"], readOnly, pairs, below });
};

/** Takes its place in the order of the parts. */
function readProtocol(draft: Draft, settings: Settings): ProtocolNode {
  const filename = settings.need("filename", path);
  if (filename.startsWith("/dev/fdset/"))
    throw refused(`${settings.option} filename`, "it is an open file of the source's process");
  const readOnly = settings.flag("read-only") ?? false;
  dropLocking(draft, settings, "locking");
  const pairs = nodePairs(settings, fileKeys);
  settings.end();
  return { path: filename, readOnly, pairs, place: draft.parts.length };
}

/** The node below a format node: written within it, or one of its own that it names. */
function protocolOf(draft: Draft, settings: Settings): ProtocolNode {
  const named = settings.take("file", node);
  if (named === undefined) {
    const inner = settings.below("file");
    inner.take("node-name", node);
    const driver = inner.need("driver", word);
    if (driver !== "file")
      throw refused(`${settings.option} file.driver ${shown(driver)}`, "only plain files can be moved");
    return readProtocol(draft, inner);
  }
  const protocol = draft.protocols.get(named);
  if (protocol === undefined) throw refused(`${settings.option} file`, `there is no node "${shown(named)}"`);
  draft.protocols.delete(named);
  draft.undefine("drive", named);
  return protocol;
}

interface FormatNode {
  option: string;
  name: string;
  format: DefinitionFile["format"];
  readOnly: boolean;
  pairs: readonly Pair[];
  below: ProtocolNode;
  place?: number;
}

function addNode(draft: Draft, { option, name, format, readOnly, pairs, below, place }: FormatNode): void {
  const file = draft.addFile(`${option} filename`, {
    kind: readOnly || below.readOnly ? "boot" : "disk",
    path: below.path,
    format,
    formatIsGuess: false,
    drive: name,
    node: name,
  });
  const part = { kind: "blockdev" as const, file, node: name, pairs, below: below.pairs };
  if (place === undefined) draft.parts.push(part);
  else draft.parts[place] = part;
}

/** Protocol nodes that a device uses without a format node: they are raw disks. To be called once all is read. */
export function addBareNodes(draft: Draft): void {
  for (const [name, below] of draft.protocols) {
    draft.undefine("drive", name);
    const { readOnly, place } = below;
    addNode(draft, { option: "-blockdev", name, format: "raw", readOnly, pairs: [], below, place });
  }
}

/** -kernel, -initrd, -bios. */
function readFile(option: "-kernel" | "-initrd" | "-bios"): OptionReader {
  return (draft, value) => {
    draft.once(option);
    if (!path.test(value)) throw refused(option, "its value is no path");
    // With a multiboot kernel QEMU takes a comma for the end of one module's path and its arguments.
    if (option === "-initrd" && value.includes(",")) throw refused(option, "it names more than one file");
    const details = { kind: "boot", path: value, format: "raw", formatIsGuess: false, drive: null } as const;
    draft.parts.push({ kind: "file", option, file: draft.addFile(option, details) });
  };
}

/** Readers of the options that take a value. */
export const diskOptions: Readonly<Record<string, OptionReader>> = {
  "-drive": readDrive,
  "-blockdev": readBlockdev,
  "-hda": shortDrive(0, "disk"),
  "-hdb": shortDrive(1, "disk"),
  "-hdc": shortDrive(2, "disk"),
  "-hdd": shortDrive(3, "disk"),
  "-cdrom": shortDrive(2, "cdrom"),
  "-kernel": readFile("-kernel"),
  "-initrd": readFile("-initrd"),
  "-bios": readFile("-bios"),
};
