/** The disk of a VM that is moved: random data in places that lie evenly over it. */
import { closeSync, ftruncateSync, openSync, writeSync } from "node:fs";

const mib = 2 ** 20;

/**
 * Makes a sparse file of so many MiB, of which the first in every `every` is random data, so that a
 * larger file is more of the same. Every 1: no holes.
 */
export function makeVmFile(path: string, sizeMiB: number, every: number): void {
  const file = openSync(path, "wx");
  try {
    ftruncateSync(file, sizeMiB * mib);
    const piece = new Uint8Array(mib);
    for (let place = 0; place < sizeMiB; place += every) {
      for (let start = 0; start < mib; start += 65_536)
        crypto.getRandomValues(piece.subarray(start, start + 65_536));
      writeSync(file, piece, 0, mib, place * mib);
    }
  } finally {
    closeSync(file);
  }
}
