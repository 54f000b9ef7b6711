/**
 * Whether a file is open for writing anywhere on this host, asked of the kernel itself by a lease (fcntl(2),
 * F_SETLEASE): it sees what /proc does not show this user, mappings whose descriptor is closed (mmap(2)), and the
 * kernel's own users (loop devices, swap).
 */
import { errno, fcntlNumber } from "./libc.ts";

const F_SETSIG = 10;
const F_SETLEASE = 1024;
const F_RDLCK = 0;
const F_UNLCK = 2;
/** Ignored unless a program asks for it (signal(7)). The usual SIGIO would end a process that does not expect it. */
const SIGURG = 23;

/**
 * True if any process, or the kernel, has the file behind `fd` open for writing; false if nobody does; null if
 * that cannot be asked: the file system has no leases, or the file belongs to another user and this process lacks
 * CAP_LEASE. `fd` is open for reading alone. The lease is given back at once.
 */
export function isOpenForWriting(fd: number): boolean | null {
  // Whoever opens the file while the lease is there makes the kernel send this signal.
  if (fcntlNumber(fd, F_SETSIG, SIGURG) < 0) return null;
  const answer = fcntlNumber(fd, F_SETLEASE, F_RDLCK);
  if (answer === -errno.EAGAIN) return true;
  if (answer < 0) return null;
  fcntlNumber(fd, F_SETLEASE, F_UNLCK);
  return false;
}
