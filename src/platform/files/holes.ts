/** The holes of a sparse file: finding them (lseek(2)) and making them (fallocate(2)). */
import { fstatSync } from "node:fs";
import { errno, fallocate, lseek, systemError } from "../libc.ts";

const SEEK_DATA = 3;
const SEEK_HOLE = 4;
const FALLOC_FL_KEEP_SIZE = 1;
const FALLOC_FL_PUNCH_HOLE = 2;

/**
 * First byte at `offset` or after it that may be other than zero; null if only a hole is left.
 * lseek(2), SEEK_DATA. Offsets in bytes below 2^53. A file system that knows no holes calls the
 * whole file data. Moves the descriptor's position: read and write by position beside this.
 * Throws a SystemError (EBADF, EIO).
 */
export function nextData(fd: number, offset: number): number | null {
  const answer = lseek(fd, offset, SEEK_DATA);
  if (answer >= 0) return answer;
  if (answer === -errno.ENXIO) return null;
  if (answer === -errno.EINVAL) return offset < fstatSync(fd).size ? offset : null;
  throw systemError("lseek SEEK_DATA", answer);
}

/**
 * First byte at `offset` or after it that lies in a hole; the end of the file counts as one, so the
 * answer is at most the file's size, or `offset` itself if that is at or behind the end.
 * lseek(2), SEEK_HOLE. Otherwise as `nextData`.
 */
export function nextHole(fd: number, offset: number): number {
  const answer = lseek(fd, offset, SEEK_HOLE);
  if (answer >= 0) return answer;
  if (answer === -errno.ENXIO) return offset;
  if (answer === -errno.EINVAL) return Math.max(offset, fstatSync(fd).size);
  throw systemError("lseek SEEK_HOLE", answer);
}

/**
 * Makes `length` bytes from `offset` read as zeros and gives their blocks back; the size stays.
 * fallocate(2), FALLOC_FL_PUNCH_HOLE. True when done; false if the file system cannot, and then
 * nothing has changed and the caller writes zeros. Throws a SystemError (EBADF, EIO, EPERM).
 */
export function punchHole(fd: number, offset: number, length: number): boolean {
  if (length === 0) return true;
  let answer: number;
  do {
    answer = fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, length);
  } while (answer === -errno.EINTR);
  if (answer >= 0) return true;
  if (answer === -errno.EOPNOTSUPP || answer === -errno.ENOSYS) return false;
  throw systemError("fallocate FALLOC_FL_PUNCH_HOLE", answer);
}

/**
 * Takes `length` bytes of the disk for this file, from `offset` on; its size stays. What is written there later
 * does not fail for want of room. fallocate(2), FALLOC_FL_KEEP_SIZE. False if the file system cannot. Throws a
 * SystemError (ENOSPC, EDQUOT, EIO).
 */
export function reserveBytes(fd: number, offset: number, length: number): boolean {
  let answer: number;
  do {
    answer = fallocate(fd, FALLOC_FL_KEEP_SIZE, offset, length);
  } while (answer === -errno.EINTR);
  if (answer >= 0) return true;
  if (answer === -errno.EOPNOTSUPP || answer === -errno.ENOSYS) return false;
  throw systemError("fallocate FALLOC_FL_KEEP_SIZE", answer);
}
