/**
 * A chunk on the wire: the non-zero pages of one piece of a file, and the tag that both sides
 * compute over them (SPEC.md, CHUNK and Tags).
 *
 *   header  u32 file | u32 chunk | u32 body bytes | 16 bytes tag | u8 encoding (0) | 3 bytes zero
 *   body    u16 runs | runs x (u16 first page, u16 pages) | the pages of the runs
 *
 * A run is a maximal stretch of pages that are not all zero, so a body is a function of the chunk's
 * content alone and so is its tag.
 */
import { createCipheriv, timingSafeEqual } from "node:crypto";
import { MigrateError } from "../protocol/errors.ts";
import { frameTypes, writeFrameHeader } from "../protocol/frames.ts";
import { chunkLength, limits, runsPerChunk } from "../protocol/limits.ts";
import { zeroTag } from "./tag-table.ts";

const { pageBytes, chunkBytes, chunkHeaderBytes, frameHeaderBytes, tagBytes } = limits;
const zeroPage = Buffer.alloc(pageBytes);

/** Where a chunk's data is read to in a ChunkBuffer; the tables are written backwards from here. */
const dataAt = 4096;

export interface Run {
  firstPage: number;
  pages: number;
}

/**
 * Computes tags: AES-128-GMAC (NIST SP 800-38D) over the body, the nonce being the chunk's place
 * (u32 file, u64 chunk). One key serves one session; the tags go to the two ends alone, inside the
 * authenticated channel, so a guest that chooses the data knows neither key nor tags, and two
 * different contents of one place have equal tags with a probability below 2^-110.
 */
export class Tagger {
  readonly #key: Buffer;
  readonly #nonce = Buffer.alloc(12);

  /** Takes the session's 16-byte tag key. */
  constructor(key: Uint8Array) {
    if (key.length !== 16) throw new RangeError("a tag key has 16 bytes");
    this.#key = Buffer.from(key);
  }

  /** The 16-byte tag of a chunk's body; `zeroTag` for a body without runs. */
  tag(file: number, chunk: number, body: Buffer): Buffer {
    if (body.readUInt16BE(0) === 0) return zeroTag;
    this.#nonce.writeUInt32BE(file, 0);
    this.#nonce.writeBigUInt64BE(BigInt(chunk), 4);
    const gmac = createCipheriv("aes-128-gcm", this.#key, this.#nonce);
    gmac.setAAD(body);
    gmac.final();
    return gmac.getAuthTag();
  }
}

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

  /** Where a chunk of `bytes` bytes is to be read to. */
  dataRoom(bytes: number): Buffer {
    return this.#room.subarray(dataAt, dataAt + bytes);
  }

  /**
   * Packs the `bytes` bytes of data that stand in `dataRoom` into a body, in place, and returns it:
   * its zero pages are gone.
   */
  pack(bytes: number): Buffer {
    const runs = findRuns(this.dataRoom(bytes));
    let end = dataAt;
    for (const { firstPage, pages } of runs) {
      const from = dataAt + firstPage * pageBytes;
      const to = Math.min(from + pages * pageBytes, dataAt + bytes);
      if (from !== end) this.#room.copyWithin(end, from, to);
      end += to - from;
    }
    this.#end = end;
    this.#bodyAt = dataAt - 2 - runs.length * 4;
    this.#room.writeUInt16BE(runs.length, this.#bodyAt);
    runs.forEach(({ firstPage, pages }, i) => {
      this.#room.writeUInt16BE(firstPage, this.#bodyAt + 2 + i * 4);
      this.#room.writeUInt16BE(pages, this.#bodyAt + 4 + i * 4);
    });
    return this.#room.subarray(this.#bodyAt, this.#end);
  }

  /** The packed chunk as a whole CHUNK frame, in place. */
  frame(file: number, chunk: number, tag: Buffer): Buffer {
    const headerAt = this.#bodyAt - chunkHeaderBytes;
    const bodyBytes = this.#end - this.#bodyAt;
    this.#room.writeUInt32BE(file, headerAt);
    this.#room.writeUInt32BE(chunk, headerAt + 4);
    this.#room.writeUInt32BE(bodyBytes, headerAt + 8);
    tag.copy(this.#room, headerAt + 12);
    this.#room.writeUInt32BE(0, headerAt + 12 + tagBytes);
    const frame = this.#room.subarray(headerAt - frameHeaderBytes, this.#end);
    writeFrameHeader(frame, frameTypes.chunk, chunkHeaderBytes + bodyBytes);
    return frame;
  }
}

export interface Chunk {
  file: number;
  chunk: number;
  tag: Buffer;
  body: Buffer;
  runs: Run[];
  /** Where the pages of the runs begin in the body. */
  pagesAt: number;
}

/**
 * Reads a CHUNK payload that a peer sent. `fileBytes` are the sizes of the session's files. Throws
 * MigrateError "protocol" where the chunk does not lie in its file or its runs do not add up.
 */
export function parseChunk(payload: Buffer, fileBytes: readonly number[]): Chunk {
  const wrong = (what: string) => new MigrateError("protocol", `a chunk ${what}`);
  if (payload.length < chunkHeaderBytes + 2) throw wrong("is cut short");
  const file = payload.readUInt32BE(0);
  const chunk = payload.readUInt32BE(4);
  const size = fileBytes[file];
  if (size === undefined) throw wrong(`names file ${file}, which the VM does not have`);
  if (chunk * chunkBytes >= size) throw wrong(`lies outside of its file (${file}, ${chunk})`);
  if (payload.readUInt32BE(8) !== payload.length - chunkHeaderBytes) throw wrong("has the wrong length");
  if (payload.readUInt32BE(12 + tagBytes) !== 0) throw wrong("has an encoding that is not known");
  const body = payload.subarray(chunkHeaderBytes);
  const count = body.readUInt16BE(0);
  const pagesAt = 2 + count * 4;
  if (count > runsPerChunk || pagesAt > body.length) throw wrong("has too many runs");
  const length = chunkLength(size, chunk);
  const runs: Run[] = [];
  let nextPage = 0;
  let data = 0;
  for (let i = 0; i < count; i++) {
    const firstPage = body.readUInt16BE(2 + i * 4);
    const pages = body.readUInt16BE(4 + i * 4);
    const from = firstPage * pageBytes;
    if (pages === 0 || firstPage < nextPage || from + (pages - 1) * pageBytes >= length) {
      throw wrong("has runs out of order or outside of it");
    }
    runs.push({ firstPage, pages });
    data += Math.min(pages * pageBytes, length - from);
    nextPage = firstPage + pages + 1;
  }
  if (pagesAt + data !== body.length) throw wrong("has runs that do not fit its data");
  return { file, chunk, tag: payload.subarray(12, 12 + tagBytes), body, runs, pagesAt };
}

/** True where the chunk's tag is the tag of its body under this key. */
export function tagHolds(chunk: Chunk, tagger: Tagger): boolean {
  return timingSafeEqual(chunk.tag, tagger.tag(chunk.file, chunk.chunk, chunk.body));
}
