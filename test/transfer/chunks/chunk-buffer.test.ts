import { describe, expect, test } from "bun:test";
import { chunkBodyBytes, limits, runsPerChunk } from "../../../src/protocol/limits.ts";
import { encodings, parseChunk, tagHolds } from "../../../src/transfer/chunks/chunk.ts";
import { ChunkBuffer } from "../../../src/transfer/chunks/chunk-buffer.ts";
import { zeroTag } from "../../../src/transfer/chunks/tag-table.ts";
import { Tagger } from "../../../src/transfer/chunks/tagger.ts";
import { type SeededRandom, seeded } from "../../support/system/random.ts";
import { slowBody, slowFrame, slowTag, slowUnpack, slowWithout } from "../slow-chunk.ts";

const { chunkBytes, blockBytes, pageBytes, frameHeaderBytes, chunkHeaderBytes } = limits;
const key = Buffer.from("000102030405060708090a0b0c0d0e0f", "hex");

/** Where chunks end: in a page, at its end, in a block, at its end, at their own end. */
const lengths = [
  1,
  pageBytes - 1,
  pageBytes,
  pageBytes + 1,
  blockBytes - 1,
  blockBytes,
  2 * blockBytes + 100,
  chunkBytes - 1,
  chunkBytes,
];

/** Pages of zeros and of data, in stretches, with a single byte here and there at a page's end. */
function someData(random: SeededRandom, length: number): Buffer {
  const data = Buffer.alloc(length);
  for (let at = 0; at < length; ) {
    const pages = 1 + random.below(20);
    const end = Math.min(at + pages * pageBytes, length);
    if (random.chance(0.5)) data.fill(1 + random.below(255), at, end);
    else if (random.chance(0.3)) data[end - 1] = 1;
    at = end;
  }
  return data;
}

function packed(data: Buffer, buffer = new ChunkBuffer()): Buffer {
  data.copy(buffer.dataRoom(data.length));
  return buffer.pack(data.length).body;
}

const payloadOf = (frame: Buffer) => frame.subarray(frameHeaderBytes);

describe("a chunk buffer", () => {
  test("holds the fullest chunk there can be, and every second page of one", () => {
    const buffer = new ChunkBuffer();
    expect(packed(Buffer.alloc(chunkBytes, 1), buffer).length).toBe(2 + 4 + chunkBytes);
    const comb = Buffer.alloc(chunkBytes);
    for (let page = 0; page < runsPerChunk; page++) comb[page * 2 * pageBytes] = 1;
    const body = packed(comb, buffer);
    expect(body.readUInt16BE(0)).toBe(runsPerChunk);
    expect(body.length).toBeLessThanOrEqual(chunkBodyBytes);
    expect(buffer.frame(0, 0, zeroTag).length).toBe(frameHeaderBytes + chunkHeaderBytes + body.length);
  });

  test("forgets the chunk before", () => {
    const buffer = new ChunkBuffer();
    packed(Buffer.alloc(chunkBytes, 0xff), buffer);
    const small = Buffer.alloc(pageBytes + 1);
    small[pageBytes] = 7;
    expect(packed(small, buffer).equals(slowBody(small))).toBe(true);
    expect(packed(Buffer.alloc(3 * pageBytes), buffer)).toEqual(Buffer.alloc(2));
  });

  // [CHUNK-6]
  test("unpacks what another packed, with zeros where there was something before", () => {
    const random = seeded("unpacked chunks");
    const source = new ChunkBuffer();
    const destination = new ChunkBuffer();
    for (const length of lengths.flatMap((length) => [length, length, length])) {
      const data = someData(random, length);
      data.copy(source.dataRoom(length));
      const chunk = source.pack(length);
      destination.dataRoom(chunkBytes).fill(0xee);
      destination.unpack(chunk, length);
      expect(destination.dataRoom(length).equals(data)).toBe(true);
      expect(slowUnpack(chunk.body, length).equals(data)).toBe(true);
      // No byte behind the chunk is touched.
      const behind = destination.dataRoom(chunkBytes).subarray(length);
      expect(behind.every((byte) => byte === 0xee)).toBe(true);
      // It can be packed again where it lies.
      expect(destination.pack(length).body.equals(chunk.body)).toBe(true);
    }
  });

  // [CHUNK-6]
  test("unpacks a chunk of nothing as zeros", () => {
    const buffer = new ChunkBuffer();
    buffer.dataRoom(chunkBytes).fill(0xee);
    buffer.unpack({ body: Buffer.alloc(2), runs: [], pagesAt: 2 }, blockBytes + 1);
    expect(buffer.dataRoom(blockBytes + 1)).toEqual(Buffer.alloc(blockBytes + 1));
  });

  // [CHUNK-8]
  test("clears the blocks of a mask, each of them and the short last one, and no other byte", () => {
    const random = seeded("cleared blocks");
    const buffer = new ChunkBuffer();
    for (const length of lengths) {
      const data = Buffer.alloc(length, 0x5a);
      const masks = [0, 1, 0x8000, 0xffff, ...[0, 1, 2].map(() => random.below(0x10000))];
      for (const mask of length > 3 * blockBytes ? masks.slice(0, 5) : masks) {
        buffer.dataRoom(chunkBytes).fill(0x5a);
        buffer.clear(mask, length);
        const rest = slowWithout(data, mask);
        expect(buffer.dataRoom(length).equals(rest)).toBe(true);
        expect(buffer.dataRoom(chunkBytes).subarray(length).includes(0)).toBe(false);
        expect(buffer.pack(length).body.equals(slowBody(rest))).toBe(true);
      }
    }
  });

  // [CHUNK-8]
  test("frames what is left of a chunk with the tag of all of it and the blocks left out", () => {
    const random = seeded("frames of what is left");
    const tagger = new Tagger(key);
    const [source, destination] = [new ChunkBuffer(), new ChunkBuffer()];
    for (const length of [blockBytes - 1, 2 * blockBytes + 100, 5 * blockBytes]) {
      const data = someData(random, length);
      const tag = slowTag(key, 1, 2, slowBody(data));
      const leftOut = 1 + random.below(2 ** Math.ceil(length / blockBytes) - 1);
      data.copy(source.dataRoom(length));
      source.clear(leftOut, length);
      source.pack(length);
      const frame = source.frame(1, 2, tag, leftOut);
      const rest = slowWithout(data, leftOut);
      expect(frame.equals(slowFrame(1, 2, tag, slowBody(rest), { leftOut }))).toBe(true);

      // The destination puts the found blocks back, and the tag of the whole holds.
      const chunk = parseChunk(payloadOf(frame), [0, 2 * chunkBytes + length]);
      expect(chunk.leftOut).toBe(leftOut);
      destination.unpack(chunk, length);
      const room = destination.dataRoom(length);
      expect(room.equals(rest)).toBe(true);
      for (const [at, byte] of data.entries()) {
        if ((leftOut >> Math.floor(at / blockBytes)) & 1) room[at] = byte;
      }
      expect(tagHolds(chunk, destination.pack(length).body, tagger)).toBe(true);
    }
  });

  // [ZSTD-1]
  test("takes a zstd frame in the place of a body, and is plain again for the next chunk", () => {
    const random = seeded("compressed chunks");
    const buffer = new ChunkBuffer();
    const tagger = new Tagger(key);
    for (const length of lengths.slice(2)) {
      const data = someData(random, length);
      const sizes = [chunkBytes + length];
      const body = Buffer.from(packed(data, buffer));
      if (body.length === 2) continue;
      const tag = tagger.tag(0, 1, body);
      const compressed = Buffer.from(Bun.zstdCompressSync(body));
      buffer.compressed(compressed);
      const frame = buffer.frame(0, 1, tag);
      const twin = slowFrame(0, 1, tag, compressed, { encoding: encodings.zstd });
      expect(frame.equals(twin)).toBe(true);
      const chunk = parseChunk(payloadOf(frame), sizes);
      expect(chunk.body.equals(body)).toBe(true);
      expect(tagHolds(chunk, chunk.body, tagger)).toBe(true);

      packed(data, buffer);
      expect(buffer.frame(0, 1, tag).equals(slowFrame(0, 1, tag, body))).toBe(true);
    }
  });

  // [COPY-1] [ZSTD-1]
  test("leaves repeats out of a body, compressed or not, and is plain and whole for the next chunk", () => {
    const random = seeded("shortened chunks");
    const buffer = new ChunkBuffer();
    const tagger = new Tagger(key);
    for (const length of lengths.filter((length) => length >= 2 * blockBytes)) {
      const data = Buffer.from(someData(random, length)).fill(3, pageBytes, 4 * pageBytes);
      // The destination has them at the beginning of another file, as one piece of three pages.
      const sizes = [chunkBytes + length, 3 * pageBytes];
      const received = { read: (_file: number, _from: number, into: Buffer) => into.fill(3).length > 0 };
      const body = Buffer.from(packed(data, buffer));
      const tag = tagger.tag(0, 1, body);
      const at = body.indexOf(Buffer.alloc(3 * pageBytes, 3));
      const rest = Buffer.concat([body.subarray(0, at), body.subarray(at + 3 * pageBytes)]);
      const repeats = [{ at, bytes: 3 * pageBytes, file: 1, from: 0 }];

      const shortened = Buffer.from(buffer.shorten(repeats));
      expect(shortened.subarray(2 + 20).equals(rest)).toBe(true);
      const frame = Buffer.from(buffer.frame(0, 1, tag));
      const twin = slowFrame(0, 1, tag, shortened, { encoding: encodings.shortened });
      expect(frame.equals(twin)).toBe(true);

      const compressed = Buffer.from(Bun.zstdCompressSync(shortened));
      buffer.compressed(compressed);
      const smaller = buffer.frame(0, 1, tag);
      const its = slowFrame(0, 1, tag, compressed, { encoding: encodings.shortenedZstd });
      expect(smaller.equals(its)).toBe(true);

      for (const each of [frame, smaller]) {
        const chunk = parseChunk(payloadOf(each), sizes, received);
        expect(chunk.repeats).toBe(1);
        expect(chunk.body.equals(body)).toBe(true);
        expect(tagHolds(chunk, chunk.body, tagger)).toBe(true);
      }
      packed(data, buffer);
      expect(buffer.frame(0, 1, tag).equals(slowFrame(0, 1, tag, body))).toBe(true);
    }
  });
});
