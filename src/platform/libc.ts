/**
 * The C library, opened once a thread, and its answers in the kernel's own form: a wrapper here returns
 * a number that is zero or more, or minus the errno of errno(3). `systemError` turns that into an
 * Error whose `code` reads like those of node:fs ("ENOSPC").
 *
 * The types are those of 64-bit Linux, the same on x86_64 and aarch64, glibc and musl. fcntl(2) and
 * syscall(2) are variadic in C; on both machines variadic integers travel like any others.
 */
import { dlopen, type Pointer, ptr, read } from "bun:ffi";
import { constants } from "node:os";

/**
 * glibc has this name loaded already, and musl answers every "libc.*" with itself, so that no file is
 * searched for. That matters: a name that the loader does not find is looked up in the working
 * directory next, and what lies there is not ours to load.
 */
const libraryName = "libc.so.6";

const { symbols } = dlopen(libraryName, {
  __errno_location: { args: [], returns: "ptr" },
  lseek: { args: ["i32", "i64", "i32"], returns: "i64" },
  fallocate: { args: ["i32", "i32", "i64", "i64"], returns: "i32" },
  sync_file_range: { args: ["i32", "i64", "i64", "u32"], returns: "i32" },
  posix_fadvise: { args: ["i32", "i64", "i64", "i32"], returns: "i32" },
  copy_file_range: { args: ["i32", "ptr", "i32", "ptr", "u64", "u32"], returns: "i64" },
  flock: { args: ["i32", "i32"], returns: "i32" },
  fcntl: { args: ["i32", "i32", "ptr"], returns: "i32" },
  ioctl: { args: ["i32", "u64", "u64"], returns: "i32" },
  close: { args: ["i32"], returns: "i32" },
  bind: { args: ["i32", "ptr", "u32"], returns: "i32" },
  listen: { args: ["i32", "i32"], returns: "i32" },
  accept4: { args: ["i32", "ptr", "ptr", "i32"], returns: "i32" },
  socket: { args: ["i32", "i32", "i32"], returns: "i32" },
  connect: { args: ["i32", "ptr", "u32"], returns: "i32" },
  getsockopt: { args: ["i32", "i32", "i32", "ptr", "ptr"], returns: "i32" },
  prctl: { args: ["i32", "u64", "u64", "u64", "u64"], returns: "i32" },
  setrlimit: { args: ["i32", "ptr"], returns: "i32" },
  fstatfs: { args: ["i32", "ptr"], returns: "i32" },
  getrusage: { args: ["i32", "ptr"], returns: "i32" },
  clock_gettime: { args: ["i32", "ptr"], returns: "i32" },
  adjtimex: { args: ["ptr"], returns: "i32" },
  fsetxattr: { args: ["i32", "ptr", "ptr", "u64", "i32"], returns: "i32" },
  fgetxattr: { args: ["i32", "ptr", "ptr", "u64"], returns: "i64" },
  fremovexattr: { args: ["i32", "ptr"], returns: "i32" },
  syscall: { args: ["i64", "i64", "ptr", "i64", "ptr", "u64"], returns: "i64" },
});

/** The errno numbers this program tells apart; one table for x86_64 and aarch64 (asm-generic/errno.h). */
export const errno = {
  ENOENT: constants.errno.ENOENT,
  ESRCH: constants.errno.ESRCH,
  EINTR: constants.errno.EINTR,
  ENXIO: constants.errno.ENXIO,
  EPERM: constants.errno.EPERM,
  E2BIG: constants.errno.E2BIG,
  EAGAIN: constants.errno.EAGAIN,
  EACCES: constants.errno.EACCES,
  EEXIST: constants.errno.EEXIST,
  EADDRINUSE: constants.errno.EADDRINUSE,
  EXDEV: constants.errno.EXDEV,
  EINVAL: constants.errno.EINVAL,
  ESPIPE: constants.errno.ESPIPE,
  ENOLCK: constants.errno.ENOLCK,
  ENOSYS: constants.errno.ENOSYS,
  ENODATA: constants.errno.ENODATA,
  ERANGE: constants.errno.ERANGE,
  EOPNOTSUPP: constants.errno.EOPNOTSUPP,
  ENAMETOOLONG: constants.errno.ENAMETOOLONG,
  ECONNABORTED: constants.errno.ECONNABORTED,
  ETIMEDOUT: constants.errno.ETIMEDOUT,
  ECANCELED: constants.errno.ECANCELED,
} as const;

/** Name of each errno. If two names share a number, the one that node:fs uses. */
const errnoNames = new Map<number, string>();
for (const [name, number] of Object.entries(constants.errno)) {
  if (!errnoNames.has(number)) errnoNames.set(number, name);
}
errnoNames.set(errno.EAGAIN, "EAGAIN");
errnoNames.set(errno.EOPNOTSUPP, "EOPNOTSUPP");

/** A system call that failed. `code` is the errno's name, as in node:fs. */
export class SystemError extends Error {
  readonly code: string;
  readonly errno: number;
  readonly syscall: string;

  constructor(syscall: string, errnoNumber: number) {
    const code = errnoNames.get(errnoNumber) ?? `errno ${errnoNumber}`;
    super(`${code}: ${syscall}`);
    this.name = "SystemError";
    this.code = code;
    this.errno = errnoNumber;
    this.syscall = syscall;
  }
}

/** The Error for a wrapper's negative answer (minus errno). */
export function systemError(syscall: string, answer: number): SystemError {
  return new SystemError(syscall, -answer);
}

/** The C result as it is, or minus errno if it is -1. Nothing may come between call and this. */
function errnoOf(result: number | bigint): number {
  // errno is per thread, and __errno_location(3) gives its address, in glibc and musl alike.
  if (result === -1 || result === -1n) return -read.i32(symbols.__errno_location() as Pointer, 0);
  return Number(result);
}

/** lseek(2). Offset in bytes, below 2^53. Returns the new position. */
export function lseek(fd: number, offset: number, whence: number): number {
  return errnoOf(symbols.lseek(fd, offset, whence));
}

/** fallocate(2). Offset and length in bytes, below 2^53. */
export function fallocate(fd: number, mode: number, offset: number, length: number): number {
  return errnoOf(symbols.fallocate(fd, mode, offset, length));
}

/** sync_file_range(2). Offset and length in bytes, below 2^53. */
export function syncFileRange(fd: number, offset: number, length: number, flags: number): number {
  return errnoOf(symbols.sync_file_range(fd, offset, length, flags));
}

/** posix_fadvise(2). Returns 0 or an errno, which it does not leave in errno(3). */
export function fadvise(fd: number, offset: number, length: number, advice: number): number {
  return symbols.posix_fadvise(fd, offset, length, advice);
}

/**
 * copy_file_range(2). Each offset is a structure of one i64 that the call moves on; the length is in
 * bytes, below 2^53. Returns the number of bytes copied.
 */
export function copyFileRange(
  from: number,
  fromOffset: Uint8Array,
  to: number,
  toOffset: Uint8Array,
  length: number,
): number {
  return errnoOf(symbols.copy_file_range(from, fromOffset, to, toOffset, length, 0));
}

/** flock(2). */
export function flock(fd: number, operation: number): number {
  return errnoOf(symbols.flock(fd, operation));
}

/** fcntl(2) with a pointer to a structure as its argument, which the call may fill. */
export function fcntl(fd: number, command: number, structure: Uint8Array): number {
  return errnoOf(symbols.fcntl(fd, command, structure));
}

/** fcntl(2) with a plain number as its argument. */
export function fcntlNumber(fd: number, command: number, argument: number): number {
  // The number travels where other commands have a pointer.
  return errnoOf(symbols.fcntl(fd, command, argument as Pointer));
}

/** ioctl(2) with a structure as its argument, which the call may fill. */
export function ioctlInto(fd: number, request: number, structure: Uint8Array): number {
  return errnoOf(symbols.ioctl(fd, request, BigInt(ptr(structure))));
}

/** ioctl(2) with a plain number as its argument. */
export function ioctl(fd: number, request: number, argument: number): number {
  return errnoOf(symbols.ioctl(fd, request, argument));
}

/** close(2), for descriptors that a call here has made. */
export function close(fd: number): number {
  return errnoOf(symbols.close(fd));
}

/** socket(2). Returns a descriptor, which `close` closes. */
export function socket(domain: number, type: number, protocol: number): number {
  return errnoOf(symbols.socket(domain, type, protocol));
}

/** connect(2) to an address of that very length in bytes. */
export function connect(fd: number, address: Uint8Array): number {
  return errnoOf(symbols.connect(fd, address, address.length));
}

/** getsockopt(2). Fills the structure, whose length must be that of the option's value. */
export function getsockopt(fd: number, level: number, name: number, structure: Uint8Array): number {
  return errnoOf(symbols.getsockopt(fd, level, name, structure, Uint32Array.of(structure.length)));
}

/** bind(2). The structure is a whole sockaddr of the socket's family. */
export function bind(fd: number, address: Uint8Array): number {
  return errnoOf(symbols.bind(fd, address, address.byteLength));
}

/** listen(2). */
export function listen(fd: number, backlog: number): number {
  return errnoOf(symbols.listen(fd, backlog));
}

/** accept4(2); who calls is not asked. Returns the connection's descriptor. */
export function accept4(fd: number, flags: number): number {
  return errnoOf(symbols.accept4(fd, null, null, flags));
}

/** prctl(2) of an operation that takes one number. */
export function prctl(operation: number, value: number): number {
  return errnoOf(symbols.prctl(operation, value, 0, 0, 0));
}

/** setrlimit(2). The structure (soft limit, hard limit) has 16 bytes. */
export function setrlimit(resource: number, structure: BigUint64Array): number {
  return errnoOf(symbols.setrlimit(resource, structure));
}

/** getrusage(2). The structure needs 144 bytes, 272 with musl. */
export function getrusage(who: number, structure: Uint8Array): number {
  return errnoOf(symbols.getrusage(who, structure));
}

/** clock_gettime(2). The structure (seconds, nanoseconds) needs 16 bytes. */
export function clockGettime(clock: number, structure: Uint8Array): number {
  return errnoOf(symbols.clock_gettime(clock, structure));
}

/** adjtimex(2). The structure needs 208 bytes; all zero means "tell, set nothing". */
export function adjtimex(structure: Uint8Array): number {
  return errnoOf(symbols.adjtimex(structure));
}

/** syscall(2) number of renameat2(2) (asm/unistd.h); musl before 1.2.6 has no function for it. */
const renameat2Number = process.arch === "arm64" ? 276 : 316;

/** fstatfs(2). The structure needs 120 bytes. */
export function statfs(fd: number, structure: Uint8Array): number {
  return errnoOf(symbols.fstatfs(fd, structure));
}

/** syscall(2) number of name_to_handle_at(2). */
const nameToHandleAtNumber = process.arch === "arm64" ? 264 : 303;

/** name_to_handle_at(2) of what `fd` refers to. The structure says in its first u32 how many bytes follow its head. */
export function nameToHandleAt(fd: number, handle: Uint8Array): number {
  const [emptyPath, atEmptyPath] = [Uint8Array.of(0), 0x1000];
  const mountId = new Uint8Array(8);
  return errnoOf(
    symbols.syscall(nameToHandleAtNumber, fd, emptyPath, BigInt(ptr(handle)), mountId, atEmptyPath),
  );
}

/** renameat2(2) relative to the working directory. */
export function renameat2(from: string, to: string, flags: number): number {
  const atWorkingDirectory = -100;
  const fromPath = Buffer.from(`${from}\0`);
  const toPath = Buffer.from(`${to}\0`);
  return errnoOf(
    symbols.syscall(renameat2Number, atWorkingDirectory, fromPath, atWorkingDirectory, toPath, flags),
  );
}

/** syscall(2) numbers of pidfd_open(2) and pidfd_send_signal(2), the same on every architecture. */
const pidfdSendSignalNumber = 424;
const pidfdOpenNumber = 434;

/** pidfd_open(2). Returns a descriptor for the process that has this pid now, which `close` closes. */
export function pidfdOpen(pid: number): number {
  return errnoOf(symbols.syscall(pidfdOpenNumber, pid, null, 0, null, 0));
}

/** pidfd_send_signal(2): the signal goes to that process or, once it is gone, to nobody (ESRCH). */
export function pidfdSendSignal(fd: number, signal: number): number {
  // The signal's number travels where other calls have a pointer.
  return errnoOf(symbols.syscall(pidfdSendSignalNumber, fd, signal as Pointer, 0, null, 0));
}

/** syscall(2) numbers (asm/unistd.h) of calls that a C library has for the whole process, or not at all. */
const setPriorityNumber = process.arch === "arm64" ? 140 : 141;
const ioPrioSetNumber = process.arch === "arm64" ? 30 : 251;

/** setpriority(2) of the calling thread; `nice` from -20 to 19. */
export function setThreadPriority(nice: number): number {
  const [prioProcess, thisThread] = [0, null];
  return errnoOf(symbols.syscall(setPriorityNumber, prioProcess, thisThread, nice, null, 0));
}

/** ioprio_set(2) of the calling thread; class and level as one number. */
export function setIoPriority(priority: number): number {
  const [ioprioWhoProcess, thisThread] = [1, null];
  return errnoOf(symbols.syscall(ioPrioSetNumber, ioprioWhoProcess, thisThread, priority, null, 0));
}

/** syscall(2) numbers of calls that are to change the calling thread alone (asm/unistd.h). */
const [getGroupsNumber, setGroupsNumber, setFsUidNumber, setFsGidNumber] =
  process.arch === "arm64" ? [158, 159, 151, 152] : [115, 116, 122, 123];
/** NGROUPS_MAX of limits.h. */
const mostGroups = 65_536;

/** getgroups(2). Returns the groups, or minus errno. */
export function getGroups(): number[] | number {
  const groups = new Uint32Array(mostGroups);
  const count = errnoOf(symbols.syscall(getGroupsNumber, mostGroups, groups, 0, null, 0));
  return count < 0 ? count : [...groups.subarray(0, count)];
}

/** setgroups(2) of the calling thread. */
export function setGroups(groups: readonly number[]): number {
  // One more, since an empty array has no address.
  return errnoOf(
    symbols.syscall(setGroupsNumber, groups.length, Uint32Array.from([...groups, 0]), 0, null, 0),
  );
}

/** setfsuid(2) of the calling thread; -1 changes nothing. Returns the id before, whether or not it was changed. */
export function setFsUid(uid: number): number {
  return errnoOf(symbols.syscall(setFsUidNumber, uid, null, 0, null, 0));
}

/** setfsgid(2), as `setFsUid`. */
export function setFsGid(gid: number): number {
  return errnoOf(symbols.syscall(setFsGidNumber, gid, null, 0, null, 0));
}

/** fsetxattr(2). The name ends with a zero byte. */
export function fsetxattr(fd: number, name: Uint8Array, value: Uint8Array): number {
  return errnoOf(symbols.fsetxattr(fd, name, value, value.byteLength, 0));
}

/** fgetxattr(2). Returns the value's length in bytes. */
export function fgetxattr(fd: number, name: Uint8Array, into: Uint8Array): number {
  return errnoOf(symbols.fgetxattr(fd, name, into, into.byteLength));
}

/** fremovexattr(2). */
export function fremovexattr(fd: number, name: Uint8Array): number {
  return errnoOf(symbols.fremovexattr(fd, name));
}
