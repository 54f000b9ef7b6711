/** What the file system behind a folder offers: room, and sparse files. */
import { randomBytes } from "node:crypto";
import {
  closeSync,
  constants,
  fstatSync,
  openSync,
  readFileSync,
  statfsSync,
  statSync,
  unlinkSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { statfs } from "../libc.ts";

/**
 * Bytes that an ordinary user may still write on the file system of `path`: statfs(2), f_bavail.
 * Rounded down to what a number holds (2^53). Throws as node:fs does.
 */
export function freeBytes(path: string): number {
  const stat = statfsSync(path, { bigint: true });
  const free = stat.bavail * stat.bsize;
  return free > BigInt(Number.MAX_SAFE_INTEGER) ? Number.MAX_SAFE_INTEGER : Number(free);
}

/** struct statfs of 64-bit Linux: f_namelen i64 at 64 of 120 bytes. */
const statfsBytes = 120;
const namelenAt = 64;
/** NAME_MAX of limits.h. */
const usualNameBytes = 255;

/** Bytes that a name in a folder may have at most: statfs(2), f_namelen. Throws as node:fs does. */
export function mostNameBytes(folder: string): number {
  const fd = openSync(folder, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    const stat = new Uint8Array(statfsBytes);
    if (statfs(fd, stat) < 0) return usualNameBytes;
    return Number(new DataView(stat.buffer).getBigInt64(namelenAt, true)) || usualNameBytes;
  } finally {
    closeSync(fd);
  }
}

/** Whether something is mounted on this very path (absolute, without links), which then cannot be renamed: proc(5), mountinfo. */
export function isMountPoint(path: string): boolean {
  return mountsOfHost().some(({ at }) => at === path);
}

/** What is mounted where, as this process sees it; none if that does not show. proc(5), mountinfo. */
export function mountsOfHost(): { source: string; at: string }[] {
  let text: string;
  try {
    text = readFileSync("/proc/self/mountinfo", "utf8");
  } catch {
    return [];
  }
  return text
    .trimEnd()
    .split("\n")
    .map((line) => {
      const [before = "", after = ""] = line.split(" - ");
      return { source: unescaped(after.split(" ")[1] ?? ""), at: unescaped(before.split(" ")[4] ?? "") };
    });
}

/** Blanks and the like stand as octal numbers in files of proc(5): "\\040". */
export function unescaped(path: string): string {
  return path.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));
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
