/** A lock on one byte of a file, as another program would take it. */
import { fcntl } from "../../../src/platform/libc.ts";

const setOfdLock = 37;
/** Types of struct flock. */
export const readLock = 0;
export const writeLock = 1;

/** F_OFD_SETLK (fcntl(2)) of one byte, of that type; true if it was granted. */
export function lockByte(fd: number, byte: number, type: number): boolean {
  const view = new DataView(new ArrayBuffer(32));
  view.setInt16(0, type, true);
  view.setBigInt64(8, BigInt(byte), true);
  view.setBigInt64(16, 1n, true);
  return fcntl(fd, setOfdLock, new Uint8Array(view.buffer)) === 0;
}
