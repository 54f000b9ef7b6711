/** Bytes that a file gets by sharing them with another file, and that are sure to be the right ones. */
import { readSync, writeSync } from "node:fs";
import { copyRange } from "../../../platform/files/copy-range.ts";
import { limits } from "../../../protocol/limits.ts";

/**
 * Makes `bytes` (at most a chunk) stand in file `to` at `toOffset`, by copyRange from `fromOffset` of file
 * `from`, which anybody may have changed. File `to` is ours alone: what is read there afterwards stays.
 * If it is something else, `bytes` themselves are written, zeros and all. False, and nothing changed,
 * if these files cannot be copied so. Throws as node:fs does if `to` cannot be written.
 */
export function shareBytes(
  from: number,
  fromOffset: number,
  to: number,
  toOffset: number,
  bytes: Buffer,
): boolean {
  let copied: number | null = 0;
  try {
    copied = copyRange(from, fromOffset, to, toOffset, bytes.length);
  } catch {
    // Whichever of the two files failed: what cannot be written fails again below, and says so.
  }
  if (copied === null) return false;
  if (copied === bytes.length && standsThere(to, toOffset, bytes)) return true;
  for (let at = 0; at < bytes.length; ) at += writeSync(to, bytes, at, bytes.length - at, toOffset + at);
  return true;
}

const room = Buffer.allocUnsafeSlow(limits.chunkBytes);

function standsThere(fd: number, offset: number, bytes: Buffer): boolean {
  let read = 0;
  while (read < bytes.length) {
    const taken = readSync(fd, room, read, bytes.length - read, offset + read);
    if (taken === 0) return false;
    read += taken;
  }
  return room.compare(bytes, 0, bytes.length, 0, bytes.length) === 0;
}
