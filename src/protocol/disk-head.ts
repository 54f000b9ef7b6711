/**
 * The first bytes of a disk image, from which a program tells its format if nobody says it, and in which a qcow2
 * image names other files. A guest writes them on a raw disk, a peer in what it sends: what they say counts only
 * where the image was declared to be of that format. QEMU docs/interop/qcow2.rst, "Header" (all numbers
 * big-endian); the probes of QEMU's block/*.c. Pure.
 */

/** The formats that a disk of a VM can have here. */
export const imageFormats = ["raw", "qcow2"] as const;
export type ImageFormat = (typeof imageFormats)[number];

/** As many bytes as QEMU looks at to tell a format (BLOCK_PROBE_BUF_SIZE); all that is read here lies in them. */
export const diskHeadBytes = 512;

/** What a qcow2 header says. */
export interface Qcow2Head {
  version: 2 | 3;
  /** Part of the disk is in another image. */
  backingFile: boolean;
  /** The disk's content is in another file, and this one holds tables alone. */
  dataFile: boolean;
  encrypted: boolean;
  /** It needs a reader to know a feature that is none of those below. */
  unknownFeatures: boolean;
  /** The size that the guest sees. */
  virtualBytes: bigint;
  clusterBytes: number;
  refcountBits: number;
  lazyRefcounts: boolean;
  extendedL2: boolean;
  compression: "zlib" | "zstd" | "unknown";
}

const qcow2Magic = Buffer.from("QFI\xfb", "latin1");
const version2Bytes = 72;
const version3Bytes = 104;
/** Incompatible features by their bits: dirty (0), corrupt (1), external data file (2), compression type (3), extended L2 entries (4). */
const externalDataFile = 1n << 2n;
const extendedL2Entries = 1n << 4n;
const knownFeatures = 0b11111n;

/** Reads a qcow2 header of version 2 or 3; null if it is none, or cut short. */
export function readQcow2Head(bytes: Uint8Array): Qcow2Head | null {
  const head = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (head.length < version2Bytes || !head.subarray(0, 4).equals(qcow2Magic)) return null;
  const version = head.readUInt32BE(4);
  if (version !== 2 && (version !== 3 || head.length < version3Bytes)) return null;
  const features = version === 3 ? head.readBigUInt64BE(72) : 0n;
  const hasType = version === 3 && head.readUInt32BE(100) > version3Bytes && head.length > version3Bytes;
  return {
    version,
    backingFile: head.readBigUInt64BE(8) !== 0n,
    dataFile: (features & externalDataFile) !== 0n,
    encrypted: head.readUInt32BE(32) !== 0,
    unknownFeatures: (features & ~knownFeatures) !== 0n,
    virtualBytes: head.readBigUInt64BE(24),
    clusterBytes: 2 ** Math.min(head.readUInt32BE(20), 63),
    refcountBits: version === 3 ? 2 ** Math.min(head.readUInt32BE(96), 63) : 16,
    // Compatible feature bit 0.
    lazyRefcounts: version === 3 && (head.readBigUInt64BE(80) & 1n) !== 0n,
    extendedL2: (features & extendedL2Entries) !== 0n,
    compression: (hasType ? (["zlib", "zstd"] as const)[head.readUInt8(104)] : "zlib") ?? "unknown",
  };
}

/** Formats that are neither raw nor qcow2, as QEMU tells them: a name, and bytes at a place. */
const signatures: readonly (readonly [name: string, at: number, bytes: string])[] = [
  ["VMDK", 0, "KDMV"],
  ["VMDK", 0, "COWD"],
  ["VMDK", 0, "# Disk DescriptorFile"],
  ["VDI", 64, "\x7f\x10\xda\xbe"],
  ["VHD", 0, "conectix"],
  ["VHDX", 0, "vhdxfile"],
  ["QED", 0, "QED\0"],
  ["Parallels", 0, "WithoutFreeSpace"],
  ["Parallels", 0, "WithouFreSpacExt"],
  ["LUKS", 0, "LUKS\xba\xbe"],
  ["cloop", 0, "#!/bin/sh\n#V2.0 Format\nmodprobe cloop"],
  ["Bochs", 0, "Bochs Virtual HD Image"],
];

/** Formats that a file tells in its last 512 bytes. */
const trailers: readonly (readonly [name: string, bytes: string])[] = [
  ["VHD", "conectix"],
  ["DMG", "koly"],
];

/** The format that is neither raw nor qcow2 and whose image begins so; null if there is none. */
export function foreignFormat(bytes: Uint8Array): string | null {
  const head = Buffer.from(bytes.buffer, bytes.byteOffset, Math.min(bytes.byteLength, diskHeadBytes));
  const text = head.toString("latin1");
  const found = signatures.find(([, at, signature]) => text.startsWith(signature, at));
  if (found !== undefined) return found[0];
  if (head.length >= 8 && head.subarray(0, 4).equals(qcow2Magic) && head.readUInt32BE(4) === 1) return "qcow";
  // A VMDK's description may have comments and empty lines before its version (vmdk_probe of block/vmdk.c).
  const first = text.split("\n").find((line) => line.trim() !== "" && !line.startsWith("#"));
  return first !== undefined && /^version=[1-3]\r?$/.test(first) ? "VMDK" : null;
}

/** The format that is neither raw nor qcow2 and whose image ends with these 512 bytes; null if there is none. */
export function foreignTrailer(bytes: Uint8Array): string | null {
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("latin1");
  return trailers.find(([, signature]) => text.startsWith(signature))?.[0] ?? null;
}

export interface HeadFault {
  /** Ends a sentence that begins with the image: "is not a whole disk: it has a backing file". */
  says: string;
  /** The format from which qemu-img(1) could convert it, by its name for it; absent if it could not. */
  looksLike?: string;
}

/**
 * Returns what is wrong with an image that begins with `head` (its first diskHeadBytes bytes, or all of it if
 * it is shorter); null if nothing is. One that is declared raw is not looked into. One of which nothing is
 * declared must be a whole qcow2 image, or look like no format at all.
 */
export function headFault(head: Uint8Array, declared: ImageFormat | undefined): HeadFault | null {
  if (declared === "raw") return null;
  const image = readQcow2Head(head);
  if (image === null) {
    if (declared === "qcow2") return { says: "has no head of a qcow2 image, as which it was declared" };
    const foreign = foreignFormat(head);
    if (foreign !== null) return foreignFault(foreign);
    const begins = Buffer.from(head.subarray(0, 4)).equals(qcow2Magic);
    return begins ? { says: "begins like a qcow2 image of a kind that is not known" } : null;
  }
  const says = qcow2Fault(image);
  return says === null ? null : { says, looksLike: "qcow2" };
}

/** The fault of an image that is of a format which is neither raw nor qcow2. */
export function foreignFault(format: string): HeadFault {
  const says = `looks like a disk image of the format ${format}`;
  // One of LUKS cannot be converted without its key.
  return format === "LUKS" ? { says } : { says, looksLike: format === "VHD" ? "vpc" : format.toLowerCase() };
}

function qcow2Fault(image: Qcow2Head): string | null {
  if (image.backingFile) return "is not a whole disk: it has a backing file";
  if (image.dataFile) return "is not a whole disk: it keeps its data in another file";
  if (image.unknownFeatures) return "needs a feature of qcow2 that is not known";
  return null;
}
