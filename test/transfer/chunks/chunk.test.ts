import { describe, expect, test } from "bun:test";
import { MigrateError } from "../../../src/protocol/errors.ts";
import { limits } from "../../../src/protocol/limits.ts";
import { encodings, parseChunk, tagHolds } from "../../../src/transfer/chunks/chunk.ts";
import { ChunkBuffer, findRuns } from "../../../src/transfer/chunks/chunk-buffer.ts";
import { zeroTag } from "../../../src/transfer/chunks/tag-table.ts";
import { Tagger } from "../../../src/transfer/chunks/tagger.ts";
import { type SeededRandom, seeded } from "../../support/system/random.ts";
import { slowBody, slowFrame, slowRuns, slowTag, slowUnpack } from "../slow-chunk.ts";

const { chunkBytes, blockBytes, pageBytes, frameHeaderBytes } = limits;
const key = Buffer.from("000102030405060708090a0b0c0d0e0f", "hex");

/** Data of a few patterns that matter: zeros, single bytes at the ends of pages, stretches, noise. */
function someData(random: SeededRandom, most: number): Buffer {
  const length = random.chance(0.3)
    ? random.pick([1, pageBytes - 1, pageBytes, pageBytes + 1, most].filter((bytes) => bytes <= most))
    : 1 + random.below(most);
  const data = Buffer.alloc(length);
  for (let page = 0; page * pageBytes < length; page++) {
    const at = page * pageBytes;
    const bytes = Math.min(pageBytes, length - at);
    switch (random.below(5)) {
      case 0:
        data[at] = 1;
        break;
      case 1:
        data[at + bytes - 1] = 1;
        break;
      case 2:
        data[at + random.below(bytes)] = 1 + random.below(255);
        break;
      default:
        break;
    }
  }
  return data;
}

function packed(data: Buffer, buffer = new ChunkBuffer()): Buffer {
  data.copy(buffer.dataRoom(data.length));
  return buffer.pack(data.length).body;
}

// [CHUNK-1] [CHUNK-3] [TAG-1] [TAG-2]
test("runs, bodies, tags and frames are those of the slow twin, and come apart to the same data", () => {
  const random = seeded("chunks against their twin");
  const buffer = new ChunkBuffer();
  const tagger = new Tagger(key);
  for (let round = 0; round < 300; round++) {
    const data = someData(random, round % 20 === 0 ? chunkBytes : 12 * pageBytes);
    const [file, chunk] = [random.below(3), random.below(9)];
    const runs = slowRuns(data).map(({ firstPage, pages }) => ({ firstPage, pages: pages.length }));
    expect(findRuns(data)).toEqual(runs);
    const body = packed(data, buffer);
    expect(body.equals(slowBody(data))).toBe(true);
    const tag = tagger.tag(file, chunk, body);
    // The twin's cipher takes its time with a whole chunk.
    if (body.length < 100_000) expect(tag).toEqual(slowTag(key, file, chunk, slowBody(data)));
    const frame = buffer.frame(file, chunk, tag);
    expect(frame.equals(slowFrame(file, chunk, tag, slowBody(data)))).toBe(true);
    const sizes = [0, 1, 2].map(() => chunk * chunkBytes + data.length);
    const parsed = parseChunk(frame.subarray(frameHeaderBytes), sizes);
    expect(parsed).toMatchObject({ file, chunk, runs });
    expect(tagHolds(parsed, parsed.body, tagger)).toBe(true);
    expect(slowUnpack(parsed.body, data.length).equals(data)).toBe(true);
  }
});

describe("a tag", () => {
  const tagger = new Tagger(key);
  const body = slowBody(Buffer.alloc(pageBytes, 0xaa));

  test("differs by place, by key and by every bit of the body", () => {
    const tags = new Set([
      tagger.tag(0, 0, body).toString("hex"),
      tagger.tag(1, 0, body).toString("hex"),
      tagger.tag(0, 1, body).toString("hex"),
      new Tagger(Buffer.alloc(16, 1)).tag(0, 0, body).toString("hex"),
    ]);
    expect(tags.size).toBe(4);
    for (let bit = 0; bit < body.length * 8; bit += 61) {
      const changed = Buffer.from(body);
      changed[bit >> 3] = changed[bit >> 3]! ^ (1 << (bit & 7));
      if (changed.readUInt16BE(0) === 0) continue;
      tags.add(tagger.tag(0, 0, changed).toString("hex"));
    }
    expect(tags.size).toBeGreaterThan(530);
  });

  // [TAG-1]
  test("of nothing but zeros is the marker, under any key and anywhere", () => {
    expect(tagger.tag(5, 7, Buffer.alloc(2))).toEqual(Buffer.alloc(16));
  });

  test("needs a key of 16 bytes", () => {
    expect(() => new Tagger(Buffer.alloc(15))).toThrow(RangeError);
    expect(() => new Tagger(Buffer.alloc(32))).toThrow(RangeError);
  });
});

describe("a chunk that a peer sent", () => {
  const data = Buffer.alloc(2 * pageBytes + 100);
  data[0] = 1;
  data[2 * pageBytes + 99] = 2;
  const body = slowBody(data);
  const payload = slowFrame(1, 2, slowTag(key, 1, 2, body), body).subarray(frameHeaderBytes);
  const sizes = [10, 2 * chunkBytes + data.length];

  test("is taken where it is whole", () => {
    expect(parseChunk(payload, sizes).runs).toEqual([
      { firstPage: 0, pages: 1 },
      { firstPage: 2, pages: 1 },
    ]);
  });

  // [CHUNK-1]
  test("is refused where a byte is missing or one too many, wherever", () => {
    for (let length = 0; length < payload.length; length++) {
      expect(() => parseChunk(payload.subarray(0, length), sizes)).toThrow(MigrateError);
    }
    expect(() => parseChunk(Buffer.concat([payload, Buffer.alloc(1)]), sizes)).toThrow(MigrateError);
  });

  // [CHUNK-1] [CHUNK-2] [CHUNK-3] [CHUNK-4] [CHUNK-5]
  test("is refused with any bit changed, by its layout or by its tag", () => {
    const tagger = new Tagger(key);
    const parts = [...Array(32 + 2 + 8 + 64).keys(), payload.length - 1];
    for (const at of parts) {
      for (let bit = 0; bit < 8; bit++) {
        const changed = Buffer.from(payload);
        changed[at] = changed[at]! ^ (1 << bit);
        let holds = false;
        try {
          const parsed = parseChunk(changed, sizes);
          holds = tagHolds(parsed, parsed.body, tagger);
        } catch (thrown) {
          expect(thrown).toBeInstanceOf(MigrateError);
          expect((thrown as MigrateError).code).toBe("protocol");
        }
        expect(holds).toBe(false);
      }
    }
  });

  // [CHUNK-2]
  test("is refused outside of the session's files", () => {
    for (const others of [[], [10], [10, 2 * chunkBytes], [10, 0], [10, chunkBytes]]) {
      expect(() => parseChunk(payload, others)).toThrow("a chunk");
    }
  });

  // [CHUNK-4] [ZSTD-1]
  test("is its body, or one zstd frame of it, and of no kind that is not known", () => {
    const frame = Buffer.from(Bun.zstdCompressSync(body));
    const tag = slowTag(key, 1, 2, body);
    const framed = (bytes: Buffer, encoding: number) =>
      slowFrame(1, 2, tag, bytes, { encoding }).subarray(frameHeaderBytes);
    const parsed = parseChunk(framed(frame, encodings.zstd), sizes);
    expect(parsed).toEqual(parseChunk(framed(body, encodings.plain), sizes));
    for (let encoding = 0; encoding < 256; encoding++) {
      const given = encoding === encodings.plain ? frame : encoding === encodings.zstd ? body : frame;
      expect(() => parseChunk(framed(given, encoding), sizes)).toThrow(MigrateError);
    }
    // Both kinds are shortened as well, and with any other bit set are nothing.
    const repeats = Buffer.alloc(22);
    repeats.writeUInt16BE(1, 0);
    repeats.writeUInt32BE(10, 2);
    repeats.writeUInt32BE(pageBytes, 6);
    const shortened = Buffer.concat([repeats, body.subarray(0, 10), body.subarray(10 + pageBytes)]);
    const short = Buffer.from(Bun.zstdCompressSync(shortened));
    const files = [pageBytes, ...sizes.slice(1)];
    const received = { read: (_file: number, _from: number, into: Buffer) => data.copy(into) > 0 };
    const plain = parseChunk(framed(body, encodings.plain), sizes);
    for (let encoding = 0; encoding < 256; encoding++) {
      for (const [given, its] of [
        [shortened, encodings.shortened],
        [short, encodings.shortenedZstd],
      ] as const) {
        const parse = () => parseChunk(framed(given, encoding), files, received);
        if (encoding === its) expect(parse()).toEqual({ ...plain, repeats: 1 });
        else expect(parse).toThrow(MigrateError);
      }
    }
    for (let second = 1; second < 256; second++) {
      const payload = framed(frame, encodings.zstd);
      payload[29] = second;
      expect(() => parseChunk(payload, sizes)).toThrow(MigrateError);
    }
  });

  // [ZSTD-1] [CHUNK-5]
  test("is refused with any bit of its zstd frame changed, unless the same body comes out", () => {
    const tagger = new Tagger(key);
    const frame = Buffer.from(Bun.zstdCompressSync(body));
    const payload = slowFrame(1, 2, slowTag(key, 1, 2, body), frame, { encoding: 1 }).subarray(
      frameHeaderBytes,
    );
    let refused = 0;
    for (let bit = 8 * 32; bit < 8 * payload.length; bit++) {
      const changed = Buffer.from(payload);
      changed[bit >> 3] = changed[bit >> 3]! ^ (1 << (bit & 7));
      try {
        const parsed = parseChunk(changed, sizes);
        if (tagHolds(parsed, parsed.body, tagger)) expect(parsed.body.equals(body)).toBe(true);
        else refused++;
      } catch (thrown) {
        expect(thrown).toMatchObject({ code: "protocol" });
        refused++;
      }
    }
    expect(refused).toBeGreaterThan(frame.length * 8 * 0.8);
  });
});

describe("a chunk with repeats", () => {
  const data = Buffer.alloc(3 * pageBytes, 6);
  const body = slowBody(data);
  const repeats = Buffer.alloc(22);
  repeats.writeUInt16BE(1, 0);
  repeats.writeUInt32BE(6 + pageBytes, 2);
  repeats.writeUInt32BE(pageBytes, 6);
  const shortened = Buffer.concat([
    repeats,
    body.subarray(0, 6 + pageBytes),
    body.subarray(6 + 2 * pageBytes),
  ]);
  const payload = slowFrame(1, 0, slowTag(key, 1, 0, body), shortened, {
    encoding: encodings.shortened,
  }).subarray(frameHeaderBytes);
  const sizes = [2 * pageBytes, data.length];
  /** Of the first file the first page alone is what the chunk takes it for. */
  const read = (file: number, from: number, into: Buffer) => {
    expect(from + into.length).toBeLessThanOrEqual(sizes[file]!);
    return into.fill(file === 0 && from === 0 ? 6 : 9).length > 0;
  };

  // [COPY-1] [COPY-2] [CHUNK-5]
  test("is refused with any bit of them changed, or has a tag that does not hold", () => {
    const tagger = new Tagger(key);
    const whole = parseChunk(payload, sizes, { read });
    expect(tagHolds(whole, whole.body, tagger)).toBe(true);
    let wanted = 0;
    for (let bit = 8 * 32; bit < 8 * (32 + repeats.length); bit++) {
      const changed = Buffer.from(payload);
      changed[bit >> 3] = changed[bit >> 3]! ^ (1 << (bit & 7));
      try {
        const parsed = parseChunk(changed, sizes, { read });
        if (tagHolds(parsed, parsed.body, tagger)) expect(parsed.body.equals(body)).toBe(true);
        else wanted++;
      } catch (thrown) {
        expect(thrown).toMatchObject({ code: "protocol" });
      }
    }
    expect(wanted).toBeGreaterThan(10);
  });
});

// [CHUNK-8]
test("a chunk leaves out blocks that it has and in which no run lies, and no others", () => {
  const random = seeded("blocks left out");
  for (let round = 0; round < 60; round++) {
    const blocks = 1 + random.below(16);
    const length =
      (blocks - 1) * blockBytes + (random.chance(0.5) ? blockBytes : 1 + random.below(blockBytes));
    const data = Buffer.alloc(length);
    for (let block = 0; block < blocks; block++) {
      if (random.chance(0.5)) continue;
      // At the first byte of a block, at its last one, or in it; one byte, or a stretch that may run on.
      const end = Math.min((block + 1) * blockBytes, length);
      const at = random.pick([block * blockBytes, end - 1, (block * blockBytes + end) >> 1]);
      data.subarray(at, at + random.pick([1, 2 * pageBytes])).fill(1);
    }
    const body = slowBody(data);
    const runs = slowRuns(data);
    const holds = (block: number) =>
      runs.some(
        ({ firstPage, pages }) => firstPage < (block + 1) * 16 && firstPage + pages.length > block * 16,
      );
    const taken = (leftOut: number) => {
      const payload = slowFrame(0, 0, zeroTag, body, { leftOut }).subarray(frameHeaderBytes);
      try {
        return parseChunk(payload, [length]).leftOut === leftOut;
      } catch (thrown) {
        expect(thrown).toMatchObject({ code: "protocol" });
        return false;
      }
    };
    let most = 0;
    for (let block = 0; block < 16; block++) {
      const may = block < blocks && !holds(block);
      expect(taken(1 << block)).toBe(may);
      if (may) most |= 1 << block;
    }
    expect(taken(most)).toBe(true);
    for (let block = 0; block < 16; block++) {
      if ((most & (1 << block)) === 0) expect(taken(most | (1 << block))).toBe(false);
    }
  }
});
