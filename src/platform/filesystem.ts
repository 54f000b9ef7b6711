/** What the file system behind a folder offers: room, and sparse files. */
import { randomBytes } from "node:crypto";
import {
  closeSync,
  constants,
  fstatSync,
  openSync,
  statfsSync,
  statSync,
  unlinkSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";

/**
 * Bytes that an ordinary user may still write on the file system of `path`: statfs(2), f_bavail.
 * Rounded down to what a number holds (2^53). Throws as node:fs does.
 */
export function freeBytes(path: string): number {
  const stat = statfsSync(path, { bigint: true });
  const free = stat.bavail * stat.bsize;
  return free > BigInt(Number.MAX_SAFE_INTEGER) ? Number.MAX_SAFE_INTEGER : Number(free);
}

/** stat(2) counts st_blocks in these, whatever the file system's own block is. */
export const statBlockBytes = 512;

/** Bytes that a file takes on its disk: stat(2), st_blocks. 0 if there is no such file; throws as node:fs does else. */
export function allocatedBytes(path: string): number {
  return (statSync(path, { throwIfNoEntry: false })?.blocks ?? 0) * statBlockBytes;
}

/**
 * A new file in this folder (mode 0600) that has no name any more: nothing of it is left once its descriptor,
 * which the caller closes, is closed. Throws as node:fs does if the folder is not writable.
 */
export function openNameless(folder: string): number {
  const path = join(folder, `.migrate-probe-${randomBytes(8).toString("hex")}`);
  const fd = openSync(path, constants.O_RDWR | constants.O_CREAT | constants.O_EXCL, 0o600);
  unlinkSync(path);
  return fd;
}

const holeProbeBytes = 4 * 1024 * 1024;

/**
 * Whether files in this folder can have holes: a temporary file of 4 MiB with one byte at its end is
 * written there, and its blocks are counted. Throws as node:fs does if the folder is not writable.
 */
export function supportsHoles(folder: string): boolean {
  const fd = openNameless(folder);
  try {
    writeSync(fd, Uint8Array.of(1), 0, 1, holeProbeBytes - 1);
    return fstatSync(fd).blocks * statBlockBytes < holeProbeBytes / 2;
  } finally {
    closeSync(fd);
  }
}
