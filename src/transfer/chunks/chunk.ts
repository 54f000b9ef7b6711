/**
 * A chunk on the wire: the non-zero pages of one piece of a file, and the tag that both sides
 * compute over them (SPEC.md, CHUNK and Tags).
 *
 *   header  u32 file | u32 chunk | u32 bytes behind the header | 16 bytes tag
 *           | u8 encoding (0 the body, 1 the body as a zstd frame, 2 and 3 the same with the body shortened)
 *           | u8 zero | u16 left-out blocks
 *   body    u16 runs | runs x (u16 first page, u16 pages) | the pages of the runs
 *
 * A run is a maximal stretch of pages that are not all zero, so a body is a function of the chunk's
 * content alone and so is its tag. Pure.
 */
import { timingSafeEqual } from "node:crypto";
import { MigrateError } from "../../protocol/errors.ts";
import { chunkBodyBytes, chunkLength, limits, runsPerChunk } from "../../protocol/limits.ts";
import { decompressBody } from "../compression/zstd-frame.ts";
import { lengthenBody, type ReadReceived } from "./shortened-body.ts";
import type { Tagger } from "./tagger.ts";

const { pageBytes, blockBytes, chunkBytes, chunkHeaderBytes, tagBytes } = limits;
const pagesPerBlock = blockBytes / pageBytes;

/** How what stands behind a CHUNK's header is to be read. */
export const encodings = { plain: 0, zstd: 1, shortened: 2, shortenedZstd: 3 } as const;

export interface Run {
  firstPage: number;
  pages: number;
}

/** A chunk's content without its zero pages. */
export interface Packed {
  body: Buffer;
  runs: readonly Run[];
  /** Where the pages of the runs begin in the body. */
  pagesAt: number;
}

export interface Chunk extends Packed {
  file: number;
  chunk: number;
  /** Of the whole chunk, the blocks that are left out included. */
  tag: Buffer;
  /** Blocks that the receiver has already and that read as zeros in the body: bit 0 is the first one. */
  leftOut: number;
  /** How many pieces of the body repeat what the receiver has received before. */
  repeats: number;
}

/** What shortened bodies are put together from. */
export interface Received {
  read: ReadReceived;
  /** As long as a body can be: the chunk's body stands in it until the next one is parsed. New for each without. */
  room?: Buffer;
}

const nothing: Received = { read: () => false };

const wrong = (what: string) => new MigrateError("protocol", `a chunk ${what}`);

/**
 * Reads a CHUNK payload that a peer sent. `fileBytes` are the sizes of the session's files; `received` is what
 * a shortened body refers to. Throws MigrateError "protocol" if the chunk does not lie in its file, its
 * runs do not add up, or it is not what its encoding says.
 */
export function parseChunk(payload: Buffer, fileBytes: readonly number[], received = nothing): Chunk {
  if (payload.length < chunkHeaderBytes) throw wrong("is cut short");
  const file = payload.readUInt32BE(0);
  const chunk = payload.readUInt32BE(4);
  const length = lengthOf(file, chunk, fileBytes);
  if (payload.readUInt32BE(8) !== payload.length - chunkHeaderBytes) throw wrong("has the wrong length");
  const encoding = payload.readUInt8(12 + tagBytes);
  if (encoding > encodings.shortenedZstd || payload.readUInt8(13 + tagBytes) !== 0) {
    throw wrong("has an encoding that is not known");
  }
  const leftOut = payload.readUInt16BE(14 + tagBytes);
  const rest = payload.subarray(chunkHeaderBytes);
  const content = (encoding & encodings.zstd) === 0 ? rest : decompressBody(rest, chunkBodyBytes);
  const { body, repeats } =
    (encoding & encodings.shortened) === 0
      ? { body: content, repeats: 0 }
      : lengthenBody(content, fileBytes, received.read, received.room);
  const packed = parseBody(body, length);
  checkLeftOut(leftOut, packed.runs, length);
  return { file, chunk, tag: payload.subarray(12, 12 + tagBytes), leftOut, repeats, ...packed };
}

/** The length of a chunk that a peer names. Throws MigrateError "protocol" if the VM has no such chunk. */
export function lengthOf(file: number, chunk: number, fileBytes: readonly number[]): number {
  const size = fileBytes[file];
  if (size === undefined) throw wrong(`names file ${file}, which the VM does not have`);
  if (chunk * chunkBytes >= size) throw wrong(`lies outside of its file (${file}, ${chunk})`);
  return chunkLength(size, chunk);
}

function parseBody(body: Buffer, length: number): Packed {
  if (body.length < 2) throw wrong("is cut short");
  const count = body.readUInt16BE(0);
  const pagesAt = 2 + count * 4;
  if (count > runsPerChunk || pagesAt > body.length) throw wrong("has too many runs");
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
  return { body, runs, pagesAt };
}

function checkLeftOut(leftOut: number, runs: readonly Run[], length: number): void {
  if (leftOut === 0) return;
  if (leftOut >>> Math.ceil(length / blockBytes) !== 0)
    throw wrong("leaves out blocks that it does not have");
  for (const { firstPage, pages } of runs) {
    const last = Math.floor((firstPage + pages - 1) / pagesPerBlock);
    for (let block = Math.floor(firstPage / pagesPerBlock); block <= last; block++) {
      if ((leftOut & (1 << block)) !== 0) throw wrong("has data in a block that it leaves out");
    }
  }
}

/** True if this is the tag of the chunk's body under this key. */
export function tagHolds(
  { file, chunk, tag }: Pick<Chunk, "file" | "chunk" | "tag">,
  body: Buffer,
  tagger: Tagger,
): boolean {
  return timingSafeEqual(tag, tagger.tag(file, chunk, body));
}
