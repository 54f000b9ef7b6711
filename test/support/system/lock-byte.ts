/** A lock on one byte of a file, as another program would take it. */
import { closeSync, openSync } from "node:fs";
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

/** Does `work` while the file is locked as by a QEMU that writes to it (byte 201). Throws if another holds it so. */
export async function whileHeld(path: string, work: () => Promise<void>): Promise<void> {
  const fd = openSync(path, "r+");
  try {
    if (!lockByte(fd, 201, writeLock)) throw new Error(`${path} is held by another program`);
    await work();
  } finally {
    closeSync(fd);
  }
}
