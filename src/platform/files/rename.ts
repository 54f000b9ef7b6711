/** Names in a folder that change once and for all: rename without overwriting, and making it durable. */
import { closeSync, constants, fsyncSync, lstatSync, openSync, renameSync } from "node:fs";
import { basename, dirname } from "node:path";
import { errno, renameat2, SystemError, systemError } from "../libc.ts";

const RENAME_NOREPLACE = 1;

/**
 * Renames a file or folder, and never over something that is there: renameat2(2), RENAME_NOREPLACE.
 * Throws an error with code EEXIST if `to` exists, ENOENT if `from` does not, EXDEV between
 * file systems. Not durable before `syncFolder` on the folders of both.
 */
export function renameNoReplace(from: string, to: string): void {
  const answer = renameat2(from, to, RENAME_NOREPLACE);
  if (answer >= 0) return;
  if (answer !== -errno.EINVAL && answer !== -errno.ENOSYS) {
    throw systemError(`renameat2 "${from}" -> "${to}"`, answer);
  }
  checkAndRename(from, to);
}

/**
 * What is left if the file system does not know the flag (EINVAL: NFS, some FUSE) or the kernel is
 * older than 3.15: look, then rename. Somebody who makes `to` between the two loses it; the callers
 * hold a lock on the folder, so that this can only be a stranger.
 */
export function checkAndRename(from: string, to: string): void {
  if (lstatSync(to, { throwIfNoEntry: false }) !== undefined) {
    throw new SystemError(`rename "${from}" -> "${to}"`, errno.EEXIST);
  }
  renameSync(from, to);
}

/** Opens a folder for nothing but what lies in it: open(2), asm-generic/fcntl.h. */
const O_PATH = 0o10000000;

/**
 * Does `work` with a path that leads to the folder which holds `path` now, whatever the folders above it are replaced
 * by meanwhile: its own path below /proc/self/fd, and the last part of `path`. Returns what `work` returns. Throws as
 * node:fs does.
 */
export function inPinnedFolder<T>(path: string, work: (folder: string, name: string) => T): T {
  const fd = openSync(dirname(path), O_PATH | constants.O_DIRECTORY);
  try {
    return work(`/proc/self/fd/${fd}`, basename(path));
  } finally {
    closeSync(fd);
  }
}

/**
 * Makes the names in a folder durable: fsync(2) on the folder. Returns without an error if the file
 * system cannot sync folders (EINVAL) and does it by itself. Throws as node:fs does.
 */
export function syncFolder(path: string): void {
  const fd = openSync(path, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    fsyncSync(fd);
  } catch (thrown) {
    if ((thrown as { code?: unknown }).code !== "EINVAL") throw thrown;
  } finally {
    closeSync(fd);
  }
}
