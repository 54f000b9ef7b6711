/** A stream socket of the unix domain and its address: unix(7), socket(2). */
import { errno, SystemError, socket, systemError } from "./libc.ts";

const AF_UNIX = 1;
const SOCK_STREAM = 1;
/** The values of asm-generic/fcntl.h, the same on x86_64 and aarch64. */
export const SOCK_NONBLOCK = 0o4000;
export const SOCK_CLOEXEC = 0o2000000;

/** Longest path of a unix socket in bytes: 108 in struct sockaddr_un (unix(7)), the last of them a NUL. */
export const socketPathBytes = 107;

/** A new socket: non-blocking, close-on-exec. Whoever gets it closes it. Throws a SystemError (EMFILE). */
export function openUnixSocket(): number {
  const fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) throw systemError("socket", fd);
  return fd;
}

/**
 * struct sockaddr_un for a path of 1 to 107 bytes: the family (u16 in the machine's order), the path, a NUL.
 * Throws a SystemError of `call`: ENAMETOOLONG, or EINVAL for a path that is empty or holds a NUL, which the
 * kernel would take for another name.
 */
export function unixAddress(path: string, call: string): Uint8Array {
  const bytes = Buffer.from(path);
  if (bytes.length > socketPathBytes) throw new SystemError(call, errno.ENAMETOOLONG);
  if (bytes.length === 0 || bytes.includes(0)) throw new SystemError(call, errno.EINVAL);
  const address = Buffer.alloc(2 + bytes.length + 1);
  address.writeUInt16LE(AF_UNIX, 0);
  address.set(bytes, 2);
  return address;
}
