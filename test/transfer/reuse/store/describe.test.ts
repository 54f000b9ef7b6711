import { describe, expect, test } from "bun:test";
import { MigrateError } from "../../../../src/protocol/errors.ts";
import { frameTypes, payloadLimit } from "../../../../src/protocol/frames.ts";
import { limits } from "../../../../src/protocol/limits.ts";
import {
  encodeDescribe,
  encodeWant,
  parseDescribe,
  parseWant,
  type Want,
} from "../../../../src/transfer/reuse/store/describe.ts";
import { seeded } from "../../../support/system/random.ts";

const blocksPerChunk = limits.chunkBytes / limits.blockBytes;

const { chunkBytes, blockBytes, blockHashBytes, tagBytes, frameHeaderBytes, describedChunks } = limits;
const payloadOf = (frame: Buffer) => frame.subarray(frameHeaderBytes);
const tag = Buffer.alloc(tagBytes, 0xab);

describe("a description", () => {
  test("is read back as it was written, for chunks of every number of blocks", () => {
    const random = seeded("descriptions");
    for (let blocks = 1; blocks <= blocksPerChunk; blocks++) {
      for (const bytes of [(blocks - 1) * blockBytes + 1, blocks * blockBytes - 1, blocks * blockBytes]) {
        const hashes = random.bytes(blocks * blockHashBytes);
        const frame = encodeDescribe(2, 5, tag, hashes);
        expect(frame[4]).toBe(frameTypes.describe);
        expect(frame.readUInt32BE(0)).toBe(frame.length - frameHeaderBytes);
        const parsed = parseDescribe(payloadOf(frame), [0, 0, 5 * chunkBytes + bytes]);
        expect(parsed).toEqual({ file: 2, chunk: 5, bytes, tag, hashes });
      }
    }
  });

  test("of a full chunk is what may come on a lane", () => {
    const frame = encodeDescribe(0, 0, tag, Buffer.alloc(blocksPerChunk * blockHashBytes));
    expect(frame.length - frameHeaderBytes).toBeLessThanOrEqual(
      payloadLimit("describe", "lane-destination")!,
    );
  });

  // [FIND-1]
  test("is refused with any other number of blocks than its chunk has, and with parts of one", () => {
    for (const blocks of [1, 3, blocksPerChunk]) {
      const sizes = [chunkBytes + blocks * blockBytes - 5];
      const right = 8 + tagBytes + blocks * blockHashBytes;
      for (let length = 0; length <= 8 + tagBytes + 18 * blockHashBytes; length++) {
        const payload = Buffer.alloc(length);
        if (length >= 8) payload.writeUInt32BE(1, 4);
        if (length === right) expect(parseDescribe(payload, sizes).bytes).toBe(blocks * blockBytes - 5);
        else expect(() => parseDescribe(payload, sizes)).toThrow(MigrateError);
      }
    }
  });

  // [FIND-1]
  test("is refused of a chunk that is not of the offer", () => {
    const sizes = [0, 2 * chunkBytes];
    const payload = (file: number, chunk: number) =>
      payloadOf(encodeDescribe(file, chunk, tag, Buffer.alloc(blocksPerChunk * blockHashBytes)));
    expect(parseDescribe(payload(1, 1), sizes)).toMatchObject({ file: 1, chunk: 1 });
    for (const [file, chunk] of [
      [0, 0],
      [1, 2],
      [1, 0xffff_ffff],
      [2, 0],
      [0xffff_ffff, 0],
    ] as const) {
      expect(() => parseDescribe(payload(file, chunk), sizes)).toThrow("a chunk");
    }
  });
});

describe("what is wanted", () => {
  const wants = (count: number): Want[] =>
    Array.from({ length: count }, (_, i) => ({ file: i % 3, chunk: 0xffff_ffff - i, found: 0xffff - i }));

  test("is read back as it was written, in its order, as much as can be waited for", () => {
    for (const count of [1, 2, describedChunks]) {
      const frame = encodeWant(wants(count));
      expect(frame[4]).toBe(frameTypes.want);
      expect(frame.length - frameHeaderBytes).toBeLessThanOrEqual(payloadLimit("want", "lane-source")!);
      expect(parseWant(payloadOf(frame))).toEqual(wants(count));
    }
  });

  test("is refused where it is cut short, runs on, or wants nothing", () => {
    const payload = payloadOf(encodeWant(wants(3)));
    for (let length = 0; length < payload.length; length++) {
      if (length === 10 || length === 20)
        expect(parseWant(payload.subarray(0, length))).toHaveLength(length / 10);
      else expect(() => parseWant(payload.subarray(0, length))).toThrow(MigrateError);
    }
    expect(() => parseWant(Buffer.concat([payload, Buffer.alloc(1)]))).toThrow(MigrateError);
  });
});
