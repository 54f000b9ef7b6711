/**
 * Copying between files without the bytes passing through this process, and whether a file system
 * makes of such a copy a second reference to the same blocks (a reflink).
 */
import { closeSync, writeSync } from "node:fs";
import { copyFileRange, errno, ioctl, systemError } from "../libc.ts";
import { openNameless } from "./filesystem.ts";

/** linux/fs.h, FICLONE: _IOW(0x94, 9, int). */
const FICLONE = 0x40049409;

/** The largest block of a file system that shares blocks here: what is cloned is whole blocks. */
const probeBytes = 64 * 1024;

/** Errors of copy_file_range(2) that mean "not between these two files". */
const notHere: readonly number[] = [errno.EXDEV, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS];

/**
 * Copies `bytes` bytes by copy_file_range(2), from `fromOffset` of one file to `toOffset` of another;
 * all are bytes below 2^53. No byte is copied at all if the file system shares blocks, and offsets and length
 * are multiples of its block. Neither descriptor's position moves.
 *
 * Returns how many bytes were copied: fewer than `bytes` if the first file ends before that, or if
 * an error stopped it there. Null if the file systems cannot copy so (EXDEV, EINVAL, EOPNOTSUPP,
 * ENOSYS), and then nothing was copied. Throws a SystemError (EBADF, EIO, ENOSPC, EDQUOT, EFBIG).
 */
export function copyRange(
  from: number,
  fromOffset: number,
  to: number,
  toOffset: number,
  bytes: number,
): number | null {
  const at = BigInt64Array.of(BigInt(fromOffset));
  const place = BigInt64Array.of(BigInt(toOffset));
  const atBytes = new Uint8Array(at.buffer);
  const placeBytes = new Uint8Array(place.buffer);
  let copied = 0;
  while (copied < bytes) {
    // The call moves both offsets on by what it has copied, which may be less than it was asked for.
    const answer = copyFileRange(from, atBytes, to, placeBytes, bytes - copied);
    if (answer === 0) break;
    if (answer > 0) copied += answer;
    else if (answer === -errno.EINTR) continue;
    else if (notHere.includes(-answer)) return copied > 0 ? copied : null;
    else throw systemError("copy_file_range", answer);
  }
  return copied;
}

/**
 * Whether files in this folder can share blocks, so that `copyRange` costs neither time nor room. Tried
 * with two temporary files (ioctl_ficlone(2)): the kind of the file system does not tell, since XFS can
 * be made with and without, and others come to it (NFS 4.2, bcachefs, ZFS). Takes about a millisecond.
 * Throws as node:fs does if the folder is not writable.
 */
export function sharesBlocks(folder: string): boolean {
  const from = openNameless(folder);
  try {
    const to = openNameless(folder);
    try {
      writeSync(from, Buffer.alloc(probeBytes, 1));
      return ioctl(to, FICLONE, from) >= 0;
    } finally {
      closeSync(to);
    }
  } finally {
    closeSync(from);
  }
}
