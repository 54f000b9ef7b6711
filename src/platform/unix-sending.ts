/** What waits on a unix socket for its other end to read it: unix(7), SIOCOUTQ. */
import { ioctlInto } from "./libc.ts";

/** asm-generic/ioctls.h, the same on x86_64 and aarch64: TIOCOUTQ, which is SIOCOUTQ of linux/sockios.h. */
const SIOCOUTQ = 0x5411;

/**
 * Returns what of it was sent and not read by the other end yet, in bytes of the kernel's memory: somewhat more than was
 * written, and 0 if all was read. Null if the descriptor is no such socket, or the kernel does not tell.
 */
export function unixWaitingBytes(fd: number): number | null {
  const answer = new Int32Array(1);
  if (fd < 0 || ioctlInto(fd, SIOCOUTQ, new Uint8Array(answer.buffer)) < 0) return null;
  return answer[0]!;
}
