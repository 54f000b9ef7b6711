/**
 * Locks between processes: flock(2) for our own, the open file description locks of fcntl(2) with which QEMU
 * guards its images, and the lease that tells whether a file is open for writing.
 *
 * QEMU (block/file-posix.c, raw_apply_lock_bytes) speaks of five permissions by number; it takes a
 * read lock on byte 100 + n for each that it uses, and on byte 200 + n for each that it does not share
 * with others. Before it uses permission n it looks whether anybody holds byte 200 + n, and before it
 * denies permission n to others whether anybody holds byte 100 + n. Taking read locks alone means that
 * nobody ever waits and a descriptor open for reading suffices.
 */

import { close, errno, fcntl, fcntlNumber, flock, systemError } from "../libc.ts";
import { openNameless } from "./filesystem.ts";

const LOCK_EX = 2;
const LOCK_NB = 4;

const F_SETSIG = 10;
const F_SETLEASE = 1024;
/** Ignored unless a program asks for it (signal(7)). The usual SIGIO would end a process that does not expect it. */
const SIGURG = 23;
const F_OFD_GETLK = 36;
const F_OFD_SETLK = 37;
const F_RDLCK = 0;
const F_WRLCK = 1;
const F_UNLCK = 2;

const qemuUsesByte = 100;
const qemuDeniesByte = 200;
/** The permissions that change an image: bit 1 (write) and bit 3 (resize) of QEMU's BLK_PERM_ set. */
const changingPermissions = [1, 3] as const;

/**
 * struct flock of 64-bit Linux (fcntl(2), asm-generic/fcntl.h): l_type i16 at 0, l_whence i16 at 2
 * (0 is SEEK_SET), l_start i64 at 8, l_len i64 at 16 (0 is "to the end"), l_pid i32 at 24, which must
 * be 0 for the calls used here.
 */
function flockStructure(type: number, start: number, length: number): Uint8Array {
  const view = new DataView(new ArrayBuffer(32));
  view.setInt16(0, type, true);
  view.setBigInt64(8, BigInt(start), true);
  view.setBigInt64(16, BigInt(length), true);
  return new Uint8Array(view.buffer);
}

/** Whether a lock of another open file description keeps us from write-locking these bytes. */
function isHeld(fd: number, start: number, length: number): boolean {
  const structure = flockStructure(F_WRLCK, start, length);
  const answer = fcntl(fd, F_OFD_GETLK, structure);
  if (answer < 0) throw systemError("fcntl F_OFD_GETLK", answer);
  return new DataView(structure.buffer).getInt16(0, true) !== F_UNLCK;
}

/**
 * Takes an exclusive flock(2) on the whole file, for as long as the descriptor is open. True when we
 * have it, false while another holds it. Throws a SystemError if the file system has no locks.
 */
export function tryFlock(fd: number): boolean {
  const answer = flock(fd, LOCK_EX | LOCK_NB);
  if (answer >= 0) return true;
  if (answer === -errno.EAGAIN) return false;
  throw systemError("flock", answer);
}

/** Whether this error means that the file system has no locks. */
function isUnsupported(thrown: unknown): boolean {
  const code = (thrown as { code?: unknown }).code;
  return code === "ENOLCK" || code === "EINVAL" || code === "EOPNOTSUPP" || code === "ENOSYS";
}

/**
 * True if any process holds any fcntl(2) lock on the file, as a running swtpm does on the `.lock`
 * of its state folder. False also if the file system has no such locks.
 */
export function isLocked(fd: number): boolean {
  try {
    return isHeld(fd, 0, 0);
  } catch (thrown) {
    if (isUnsupported(thrown)) return false;
    throw thrown;
  }
}

/**
 * True if a running QEMU holds the image open for writing or resizing; one that has handed its
 * images over, or was told `file.locking=off`, does not show. False also if the file system has no
 * such locks. fcntl(2), F_OFD_GETLK; takes nothing itself.
 */
export function qemuHolds(fd: number): boolean {
  try {
    return changingPermissions.some((permission) => isHeld(fd, qemuUsesByte + permission, 1));
  } catch (thrown) {
    if (isUnsupported(thrown)) return false;
    throw thrown;
  }
}

/**
 * Denies writing and resizing to every QEMU that starts from here on, until the descriptor (open for
 * reading) is closed: it ends with `Failed to get "write" lock`. Readers, and others who hold the file
 * this way, are not disturbed. False if somebody writes already, and then nothing is held. Throws a
 * SystemError if the file system has no such locks (ENOLCK, EINVAL, EOPNOTSUPP). fcntl(2), F_OFD_SETLK.
 */
export function holdAgainstQemu(fd: number): boolean {
  // Hold first, look second, as QEMU does: of two that come at once, at least one sees the other.
  for (const permission of changingPermissions) {
    const answer = fcntl(fd, F_OFD_SETLK, flockStructure(F_RDLCK, qemuDeniesByte + permission, 1));
    if (answer >= 0) continue;
    release(fd);
    if (answer === -errno.EAGAIN || answer === -errno.EACCES) return false;
    throw systemError("fcntl F_OFD_SETLK", answer);
  }
  if (!qemuHolds(fd)) return true;
  release(fd);
  return false;
}

/**
 * As `holdAgainstQemu`, without a look at who has the file already: a QEMU that does is not disturbed, unless it opens the
 * file anew. False, and nothing is held, if the file system has no such locks.
 */
export function holdAgainstLaterQemus(fd: number): boolean {
  for (const permission of changingPermissions) {
    if (fcntl(fd, F_OFD_SETLK, flockStructure(F_RDLCK, qemuDeniesByte + permission, 1)) >= 0) continue;
    release(fd);
    return false;
  }
  return true;
}

/** Whether the file system of a folder that can be written has these locks. Throws as node:fs does. */
export function supportsLocks(folder: string): boolean {
  const fd = openNameless(folder);
  try {
    return holdAgainstQemu(fd);
  } catch (thrown) {
    if (isUnsupported(thrown)) return false;
    throw thrown;
  } finally {
    close(fd);
  }
}

function release(fd: number): void {
  for (const permission of changingPermissions) {
    fcntl(fd, F_OFD_SETLK, flockStructure(F_UNLCK, qemuDeniesByte + permission, 1));
  }
}

/**
 * True if any process, or the kernel (a loop device, swap), has the file behind `fd` open for writing, or mapped so
 * with its descriptor closed (mmap(2)), whether or not proc(5) shows it to this user; false if nobody does; null if
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
