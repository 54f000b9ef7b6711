/**
 * The slow, readable twin of src/transfer/chunks/chunk.ts and chunk-buffer.ts: it says what a body is, page by
 * page, and the fast one is kept equal to it.
 */
import { gcm } from "@noble/ciphers/aes.js";

const pageBytes = 4096;
const blockBytes = 65_536;

export interface SlowRun {
  firstPage: number;
  pages: Buffer[];
}

/** Pages of the data, the last one as short as it is. */
function pagesOf(data: Buffer): Buffer[] {
  const pages: Buffer[] = [];
  for (let at = 0; at < data.length; at += pageBytes) pages.push(data.subarray(at, at + pageBytes));
  return pages;
}

export function slowRuns(data: Buffer): SlowRun[] {
  const runs: SlowRun[] = [];
  pagesOf(data).forEach((page, number) => {
    if (page.every((byte) => byte === 0)) return;
    const last = runs.at(-1);
    if (last !== undefined && last.firstPage + last.pages.length === number) last.pages.push(page);
    else runs.push({ firstPage: number, pages: [page] });
  });
  return runs;
}

const u16 = (value: number) => Buffer.of(value >> 8, value & 0xff);
const u32 = (value: number) => Buffer.concat([u16(Math.floor(value / 0x10000)), u16(value & 0xffff)]);

export function slowBody(data: Buffer): Buffer {
  const runs = slowRuns(data);
  return Buffer.concat([
    u16(runs.length),
    ...runs.flatMap(({ firstPage, pages }) => [u16(firstPage), u16(pages.length)]),
    ...runs.flatMap(({ pages }) => pages),
  ]);
}

export function slowTag(key: Buffer, file: number, chunk: number, body: Buffer): Buffer {
  if (body.length === 2) return Buffer.alloc(16);
  const nonce = Buffer.concat([u32(file), u32(0), u32(chunk)]);
  return Buffer.from(gcm(key, nonce, body).encrypt(new Uint8Array(0)));
}

/** A CHUNK frame around a body, or around the zstd frame of one. */
export function slowFrame(
  file: number,
  chunk: number,
  tag: Buffer,
  body: Buffer,
  { encoding = 0, leftOut = 0 } = {},
): Buffer {
  return Buffer.concat([
    u32(32 + body.length),
    Buffer.of(32),
    u32(file),
    u32(chunk),
    u32(body.length),
    tag,
    Buffer.of(encoding, 0),
    u16(leftOut),
    body,
  ]);
}

/** The data with zeros in the blocks of the mask, whose lowest bit is the first block. */
export function slowWithout(data: Buffer, mask: number): Buffer {
  return Buffer.from(data.map((byte, at) => ((mask >> Math.floor(at / blockBytes)) & 1 ? 0 : byte)));
}

/** What a file's chunk of `length` bytes reads as once this body is written into it. */
export function slowUnpack(body: Buffer, length: number): Buffer {
  const data = Buffer.alloc(length);
  let at = 2 + body.readUInt16BE(0) * 4;
  for (let run = 0; run < body.readUInt16BE(0); run++) {
    const from = body.readUInt16BE(2 + run * 4) * pageBytes;
    const bytes = Math.min(body.readUInt16BE(4 + run * 4) * pageBytes, length - from);
    body.copy(data, from, at, at + bytes);
    at += bytes;
  }
  return data;
}
