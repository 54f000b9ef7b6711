/** Starting the kernel's writing early, so that the sync at the end has little left to wait for. */
import { errno, syncFileRange, systemError } from "./libc.ts";

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
