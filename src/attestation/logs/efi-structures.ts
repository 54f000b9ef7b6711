/**
 * What events of UEFI firmware have as their data: variables and images (TCG PC Client Platform Firmware Profile 1.05,
 * 10.2.3 and 10.2.6), and device paths and boot entries (UEFI Specification 2.10, 10.3 and 3.1.3). A reader here gives
 * null for what is no such structure: a firmware that writes it differently has said nothing wrong. Pure.
 */

export interface EfiVariable {
  /** Upper-case, as UEFI writes it. */
  vendor: string;
  name: string;
  value: Buffer;
}

/** Names of variables are short; the longest that UEFI defines has 20 characters. */
const nameMaxChars = 128;

/** UEFI_VARIABLE_DATA. */
export function readEfiVariable(data: Buffer): EfiVariable | null {
  if (data.length < 32) return null;
  const chars = data.readBigUInt64LE(16);
  const valueBytes = data.readBigUInt64LE(24);
  if (chars > BigInt(nameMaxChars)) return null;
  const nameEnd = 32 + Number(chars) * 2;
  if (BigInt(nameEnd) + valueBytes !== BigInt(data.length)) return null;
  return { vendor: guidText(data), name: utf16(data.subarray(32, nameEnd)), value: data.subarray(nameEnd) };
}

/** The device path in a UEFI_IMAGE_LOAD_EVENT, as text; null if there is none, or it is none. */
export function readImagePath(data: Buffer): string | null {
  if (data.length < 32) return null;
  const pathBytes = data.readBigUInt64LE(24);
  if (pathBytes > BigInt(data.length - 32)) return null;
  return devicePathText(data.subarray(32, 32 + Number(pathBytes)));
}

/** The description in an EFI_LOAD_OPTION, which is what the firmware's boot menu shows. */
export function readLoadOption(data: Buffer): { description: string; path: string | null } | null {
  if (data.length < 8) return null;
  const pathBytes = data.readUInt16LE(4);
  let end = 6;
  while (end + 1 < data.length && data.readUInt16LE(end) !== 0) end += 2;
  if (end + 1 >= data.length) return null;
  const path = data.subarray(end + 2, end + 2 + pathBytes);
  return { description: utf16(data.subarray(6, end)), path: devicePathText(path) };
}

/** More nodes than this are no path of a disk or a network. */
const mostNodes = 32;

/**
 * What of a device path tells a person where a program came from: the file's name if there is one, else the kinds of the
 * last nodes. Null if it is not a path.
 */
export function devicePathText(path: Buffer): string | null {
  const files: string[] = [];
  let last = "";
  let at = 0;
  for (let nodes = 0; at + 4 <= path.length; nodes++) {
    const type = path.readUInt8(at);
    const subtype = path.readUInt8(at + 1);
    const bytes = path.readUInt16LE(at + 2);
    if (bytes < 4 || at + bytes > path.length || nodes >= mostNodes) return null;
    if (type === 0x7f) break;
    const body = path.subarray(at + 4, at + bytes);
    if (type === 4 && subtype === 4) files.push(utf16(body));
    else last = nodeText(type, subtype, body) ?? last;
    at += bytes;
  }
  if (files.length > 0) return files.join("\\").replaceAll("\\\\", "\\");
  return last === "" ? null : last;
}

function nodeText(type: number, subtype: number, body: Buffer): string | null {
  if (type === 4 && (subtype === 6 || subtype === 7) && body.length === 16)
    return `${subtype === 6 ? "firmware file" : "firmware volume"} ${guidText(body)}`;
  if (type === 4 && subtype === 1) return "a partition";
  if (type === 4 && subtype === 3 && body.length >= 16) return `a vendor's medium ${guidText(body)}`;
  if (type === 1 && subtype === 1 && body.length === 2)
    return `PCI device ${hex(body.readUInt8(1))}.${body.readUInt8(0).toString(16)}`;
  if (type === 4 && subtype === 8) return "an option ROM";
  if (type === 3 && (subtype === 11 || subtype === 12 || subtype === 13)) return "the network";
  if (type === 3) return "a drive";
  return null;
}

/** A GUID in the order of its bytes that UEFI writes it in (UEFI Specification 2.10, appendix A). */
export function guidText(bytes: Buffer): string {
  const parts = [
    hex(bytes.readUInt32LE(0), 8),
    hex(bytes.readUInt16LE(4), 4),
    hex(bytes.readUInt16LE(6), 4),
    bytes.subarray(8, 10).toString("hex"),
    bytes.subarray(10, 16).toString("hex"),
  ];
  return parts.join("-").toUpperCase();
}

/** UTF-16 without its final zero. Not printable yet: the writer of a log has chosen it. */
export function utf16(bytes: Buffer): string {
  const even = bytes.subarray(0, Math.min(bytes.length, 1024) & ~1);
  const text = even.toString("utf16le");
  const end = text.indexOf("\0");
  return end < 0 ? text : text.slice(0, end);
}

function hex(value: number, digits = 2): string {
  return value.toString(16).padStart(digits, "0");
}
