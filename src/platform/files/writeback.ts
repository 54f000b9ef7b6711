/** Starting the kernel's writing early, so that the sync at the end has little left to wait for. */
import { errno, fadvise, syncFileRange, systemError } from "../libc.ts";

const POSIX_FADV_DONTNEED = 4;
const SYNC_FILE_RANGE_WRITE = 2;

/** Errors that mean "not here": a file system or kernel without this call. */
const notHere: readonly number[] = [errno.EINVAL, errno.ENOSYS, errno.ESPIPE, errno.EOPNOTSUPP];

/**
 * Asks the kernel to begin writing the dirty pages of `length` bytes from `offset` (0 is "to the end")
 * and does not wait for them: sync_file_range(2), SYNC_FILE_RANGE_WRITE. It makes nothing durable;
 * fdatasync(2) does. Does nothing if the file system has no such call. Throws a SystemError (EBADF, EIO,
 * ENOSPC) that the disk has reported.
 */
export function startWriteback(fd: number, offset: number, length: number): void {
  const answer = syncFileRange(fd, offset, length, SYNC_FILE_RANGE_WRITE);
  if (answer >= 0 || notHere.includes(-answer)) return;
  throw systemError("sync_file_range", answer);
}

/**
 * Lets go of what memory holds of a file whose bytes are on the disk: what is read next comes from there
 * (posix_fadvise(2), POSIX_FADV_DONTNEED; 0 and 0 are the whole file). Advice that the file system does not take has
 * no effect.
 */
export function dropFromMemory(fd: number): void {
  const answer = fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
  if (answer !== 0 && !notHere.includes(answer)) throw systemError("posix_fadvise", -answer);
}
