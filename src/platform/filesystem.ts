/** What the file system behind a folder offers: room, and sparse files. */
import { randomBytes } from "node:crypto";
import { closeSync, constants, fstatSync, openSync, statfsSync, unlinkSync, writeSync } from "node:fs";
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
const statBlockBytes = 512;

const probeBytes = 4 * 1024 * 1024;

/**
 * Whether files in this folder can have holes: a temporary file of 4 MiB with one byte at its end is
 * written there, and its blocks are counted. Throws as node:fs does where the folder is not writable.
 */
export function supportsHoles(folder: string): boolean {
  const path = join(folder, `.migrate-probe-${randomBytes(8).toString("hex")}`);
  const fd = openSync(path, constants.O_RDWR | constants.O_CREAT | constants.O_EXCL, 0o600);
  try {
    unlinkSync(path);
    writeSync(fd, Uint8Array.of(1), 0, 1, probeBytes - 1);
    return fstatSync(fd).blocks * statBlockBytes < probeBytes / 2;
  } finally {
    closeSync(fd);
  }
}
