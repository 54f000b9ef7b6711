/** Room in which one chunk is packed, unpacked and framed, in place (SPEC.md, CHUNK). */
import { frameTypes, writeFrameHeader } from "../../protocol/frames.ts";
import { limits } from "../../protocol/limits.ts";
import { encodings, type Packed, type Run } from "./chunk.ts";
import { type Repeat, shortenInPlace } from "./shortened-body.ts";

const { pageBytes, blockBytes, chunkBytes, chunkHeaderBytes, frameHeaderBytes, tagBytes } = limits;
const zeroPage = Buffer.alloc(pageBytes);

/** Where a chunk's data is read to in a ChunkBuffer; the tables are written backwards from here. */
const dataAt = 4096;

/** The maximal runs of non-zero pages in `data`; a last part of a page counts as a page. */
export function findRuns(data: Buffer): Run[] {
  const runs: Run[] = [];
  let open: Run | undefined;
  for (let page = 0, at = 0; at < data.length; page++, at += pageBytes) {
    const end = Math.min(at + pageBytes, data.length);
    if (data.compare(zeroPage, 0, end - at, at, end) === 0) {
      open = undefined;
    } else if (open === undefined) {
      open = { firstPage: page, pages: 1 };
      runs.push(open);
    } else {
      open.pages++;
    }
  }
  return runs;
}

/** Room for one chunk and everything in front of it, used again and again. */
export class ChunkBuffer {
  readonly #room = Buffer.allocUnsafeSlow(dataAt + chunkBytes);
  #bodyAt = dataAt;
  #end = dataAt;
  #encoding: number = encodings.plain;

  /** Where a chunk of `bytes` bytes is to be read to. */
  dataRoom(bytes: number): Buffer {
    return this.#room.subarray(dataAt, dataAt + bytes);
  }

  /** Makes the `bytes` bytes of data zeros in the blocks of `mask` (bit 0 is the first one). */
  clear(mask: number, bytes: number): void {
    const data = this.dataRoom(bytes);
    for (let at = 0, bit = 1; at < bytes; at += blockBytes, bit <<= 1) {
      if ((mask & bit) !== 0) data.fill(0, at, Math.min(at + blockBytes, bytes));
    }
  }

  /** Puts a packed chunk of `bytes` bytes into `dataRoom`, its zero pages as well. */
  unpack({ body, runs, pagesAt }: Packed, bytes: number): void {
    const data = this.dataRoom(bytes);
    let from = pagesAt;
    let end = 0;
    for (const { firstPage, pages } of runs) {
      const to = firstPage * pageBytes;
      const count = Math.min(pages * pageBytes, bytes - to);
      data.fill(0, end, to);
      body.copy(data, to, from, from + count);
      from += count;
      end = to + count;
    }
    data.fill(0, end);
  }

  /**
   * Packs the `bytes` bytes of data that stand in `dataRoom` into a body, in place: its zero pages
   * are gone. The body is valid until the room is used again.
   */
  pack(bytes: number): Packed {
    const runs = findRuns(this.dataRoom(bytes));
    let end = dataAt;
    for (const { firstPage, pages } of runs) {
      const from = dataAt + firstPage * pageBytes;
      const to = Math.min(from + pages * pageBytes, dataAt + bytes);
      if (from !== end) this.#room.copyWithin(end, from, to);
      end += to - from;
    }
    const pagesAt = 2 + runs.length * 4;
    this.#end = end;
    this.#bodyAt = dataAt - pagesAt;
    this.#encoding = encodings.plain;
    this.#room.writeUInt16BE(runs.length, this.#bodyAt);
    runs.forEach(({ firstPage, pages }, i) => {
      this.#room.writeUInt16BE(firstPage, this.#bodyAt + 2 + i * 4);
      this.#room.writeUInt16BE(pages, this.#bodyAt + 4 + i * 4);
    });
    return { body: this.#room.subarray(this.#bodyAt, this.#end), runs, pagesAt };
  }

  /** Shortens the packed body by these repeats of a page or more, which ascend, and returns what is sent of it. */
  shorten(repeats: readonly Repeat[]): Buffer {
    this.#bodyAt = shortenInPlace(this.#room, this.#bodyAt, this.#end, repeats);
    this.#encoding = encodings.shortened;
    return this.#room.subarray(this.#bodyAt, this.#end);
  }

  /** Puts a zstd frame of the packed body, shortened or not, in its place; it is no longer than that. */
  compressed(frame: Uint8Array): void {
    this.#room.set(frame, dataAt);
    this.#bodyAt = dataAt;
    this.#end = dataAt + frame.length;
    this.#encoding |= encodings.zstd;
  }

  /** The packed chunk as a whole CHUNK frame, in place; `leftOut` are the blocks that were cleared. */
  frame(file: number, chunk: number, tag: Buffer, leftOut = 0): Buffer {
    const headerAt = this.#bodyAt - chunkHeaderBytes;
    const bytes = this.#end - this.#bodyAt;
    this.#room.writeUInt32BE(file, headerAt);
    this.#room.writeUInt32BE(chunk, headerAt + 4);
    this.#room.writeUInt32BE(bytes, headerAt + 8);
    tag.copy(this.#room, headerAt + 12);
    this.#room.writeUInt8(this.#encoding, headerAt + 12 + tagBytes);
    this.#room.writeUInt8(0, headerAt + 13 + tagBytes);
    this.#room.writeUInt16BE(leftOut, headerAt + 14 + tagBytes);
    const frame = this.#room.subarray(headerAt - frameHeaderBytes, this.#end);
    writeFrameHeader(frame, frameTypes.chunk, chunkHeaderBytes + bytes);
    return frame;
  }
}
