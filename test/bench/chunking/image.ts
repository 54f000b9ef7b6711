/** A disk image as the comparison of cuttings reads it: where it has data, and its bytes piece by piece. */
import { closeSync, fstatSync, openSync, readSync } from "node:fs";

export const pageBytes = 4096;
/** A run of zeros that is shorter than this does not end an extent, as a hole of a file system would not. */
const unitPages = 16;
/** So much is in memory at once. */
export const windowBytes = 64 * 2 ** 20;

export interface Extent {
  offset: number;
  bytes: number;
}

export class Image {
  readonly bytes: number;
  /** Bytes in pages that are not all zeros. */
  readonly dataBytes: number;
  readonly #file: number;
  /** One byte a page: 1 where it has data. */
  readonly #hasData: Uint8Array;
  readonly #window = Buffer.allocUnsafe(windowBytes);

  /** Opens an image and reads it once. Throws where it cannot be read. Close it. */
  constructor(path: string) {
    this.#file = openSync(path, "r");
    this.bytes = fstatSync(this.#file).size;
    this.#hasData = new Uint8Array(Math.ceil(this.bytes / pageBytes));
    const zeros = Buffer.alloc(pageBytes);
    for (const window of this.windows()) {
      const bytes = this.read(window);
      for (let start = 0; start < bytes.length; start += pageBytes) {
        const end = Math.min(start + pageBytes, bytes.length);
        if (bytes.compare(zeros, 0, end - start, start, end) !== 0) {
          this.#hasData[(window.offset + start) / pageBytes] = 1;
        }
      }
    }
    this.dataBytes = this.dataWithin(0, this.bytes);
  }

  close(): void {
    closeSync(this.#file);
  }

  /** The bytes of an extent of at most windowBytes: good until the next call. */
  read({ offset, bytes }: Extent): Buffer {
    let filled = 0;
    while (filled < bytes) {
      const count = readSync(this.#file, this.#window, filled, bytes - filled, offset + filled);
      if (count === 0) throw new Error("the image has become shorter");
      filled += count;
    }
    return this.#window.subarray(0, bytes);
  }

  /** How many of the bytes from `start` to `end` lie in pages with data. */
  dataWithin(start: number, end: number): number {
    let sum = 0;
    for (let page = Math.floor(start / pageBytes); page * pageBytes < end; page++) {
      if (this.#hasData[page] === 1) {
        sum += Math.min(end, (page + 1) * pageBytes) - Math.max(start, page * pageBytes);
      }
    }
    return sum;
  }

  hasDataWithin(start: number, end: number): boolean {
    const pages = this.#hasData.subarray(Math.floor(start / pageBytes), Math.ceil(end / pageBytes));
    return pages.includes(1);
  }

  /** The whole image in windows. */
  *windows(): Generator<Extent> {
    for (let offset = 0; offset < this.bytes; offset += windowBytes) {
      yield { offset, bytes: Math.min(windowBytes, this.bytes - offset) };
    }
  }

  /** Where there is data: runs of 64 KiB units that are not all zeros, in pieces of a window at most. */
  *extents(): Generator<Extent> {
    const unitBytes = unitPages * pageBytes;
    let start = -1;
    for (let offset = 0; offset < this.bytes + unitBytes; offset += unitBytes) {
      const isData =
        offset < this.bytes && this.hasDataWithin(offset, Math.min(offset + unitBytes, this.bytes));
      if (start >= 0 && (!isData || offset - start === windowBytes)) {
        yield { offset: start, bytes: Math.min(offset, this.bytes) - start };
        start = -1;
      }
      if (isData && start < 0) start = offset;
    }
  }
}
