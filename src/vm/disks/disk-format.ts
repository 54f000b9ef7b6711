/**
 * What a disk image is, as far as a move must know: whether the file is the whole disk.
 * QEMU docs/interop/qcow2.rst, "Header": all numbers big-endian.
 */
import { closeSync, openSync, readSync } from "node:fs";
import { MigrateError } from "../../protocol/errors.ts";

export interface DiskFormat {
  /** "raw" also stands for every format that is not looked into. */
  format: "raw" | "qcow2";
  /** Part of the disk is in another image. */
  backingFile: boolean;
  /** The disk's content is in another file, and this one holds tables alone. */
  dataFile: boolean;
  /** The size that the guest sees; absent for raw, where it is the file's own. */
  virtualBytes?: number;
}

const magic = Buffer.from([0x51, 0x46, 0x49, 0xfb]);
const versionAt = 4;
const backingFileOffsetAt = 8;
const virtualSizeAt = 24;
/** A version 2 header ends here; in version 3 the incompatible features (u64) follow. */
const version2Bytes = 72;
const incompatibleFeaturesAt = 72;
const version3Bytes = 104;
/** Incompatible feature bit 2: external data file. */
const externalDataFile = 1n << 2n;

const raw: DiskFormat = { format: "raw", backingFile: false, dataFile: false };

/**
 * Reads the head of a disk image, given by descriptor or path. A file that only begins like a qcow2
 * image (an unknown version, a header cut short) is raw: it is moved byte by byte in any case.
 * Throws as node:fs does.
 */
export function readDiskFormat(disk: number | string): DiskFormat {
  if (typeof disk === "number") return formatOf(disk);
  const fd = openSync(disk, "r");
  try {
    return formatOf(fd);
  } finally {
    closeSync(fd);
  }
}

function formatOf(fd: number): DiskFormat {
  const buffer = Buffer.alloc(version3Bytes);
  const header = buffer.subarray(0, readSync(fd, buffer, 0, buffer.length, 0));
  if (header.length < version2Bytes || !header.subarray(0, 4).equals(magic)) return raw;
  const version = header.readUInt32BE(versionAt);
  // Version 1 (qcow) has both fields at the same offsets, and with a backing file it is not whole either.
  if (version < 1 || version > 3 || (version === 3 && header.length < version3Bytes)) return raw;
  const features = version === 3 ? header.readBigUInt64BE(incompatibleFeaturesAt) : 0n;
  const virtualBytes = header.readBigUInt64BE(virtualSizeAt);
  return {
    format: "qcow2",
    backingFile: header.readBigUInt64BE(backingFileOffsetAt) !== 0n,
    dataFile: (features & externalDataFile) !== 0n,
    ...(virtualBytes <= BigInt(Number.MAX_SAFE_INTEGER) ? { virtualBytes: Number(virtualBytes) } : {}),
  };
}

/**
 * Refuses a disk that is not whole by itself: moved alone it would be garbage, and a path inside an
 * image is a path that a guest or a peer could have chosen. `shownAs` is what the sentence calls it.
 * Throws MigrateError "vm-invalid", and otherwise as node:fs does.
 */
export function checkSelfContained(path: string, shownAs = path): void {
  const { backingFile, dataFile } = readDiskFormat(path);
  if (!backingFile && !dataFile) return;
  const lacks = backingFile ? "has a backing file" : "keeps its data in another file";
  throw new MigrateError("vm-invalid", `${shownAs} is not a whole disk: it ${lacks}`, {
    hint: `Make it whole while the VM is off: qemu-img convert -O qcow2 ${shownAs} NEW.qcow2`,
  });
}
