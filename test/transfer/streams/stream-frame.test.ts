import { describe, expect, test } from "bun:test";
import { randomBytes } from "node:crypto";
import { frameTypes } from "../../../src/protocol/frames.ts";
import { limits } from "../../../src/protocol/limits.ts";
import {
  dataHead,
  encodeDataAck,
  encodeDataEnd,
  parseData,
  parseDataAck,
  parseDataEnd,
  StreamDigest,
  StreamTagger,
  streamKey,
} from "../../../src/transfer/streams/stream-frame.ts";
import { codeOf } from "../../support/system/refusals.ts";
import { slowDigest, slowKey, slowTag } from "./stream-slow.ts";

const tagKey = randomBytes(16);
const instance = randomBytes(16).toString("hex");
/** Around where 32 bits end, and the last number that is exact. */
const numbers = [0, 1, 255, 2 ** 32 - 1, 2 ** 32, 2 ** 32 + 1, 2 ** 52 + 12345, Number.MAX_SAFE_INTEGER];

const payload = (frame: Buffer) => frame.subarray(limits.frameHeaderBytes);

describe("a stream's tags", () => {
  // [STREAM-5]
  test("are those of another implementation, for either direction and at every offset", () => {
    for (const sender of ["source", "destination"] as const) {
      const key = streamKey(tagKey, instance, sender);
      expect(key.equals(slowKey(tagKey, instance, sender))).toBe(true);
      for (const stream of [0, 15, 79]) {
        const tagger = new StreamTagger(key, stream);
        for (const offset of numbers) {
          const bytes = randomBytes(100);
          expect(tagger.tag(offset, bytes).equals(slowTag(key, stream, offset, bytes))).toBe(true);
        }
      }
    }
  });

  // [STREAM-5]
  test("have another key for each direction and each instance", () => {
    const other = randomBytes(16).toString("hex");
    const keys = [instance, other].flatMap((id) => [
      streamKey(tagKey, id, "source").toString("hex"),
      streamKey(tagKey, id, "destination").toString("hex"),
    ]);
    expect(new Set(keys).size).toBe(4);
  });

  // [STREAM-6]
  test("come to the digest of another implementation", () => {
    for (const count of [0, 1, 5]) {
      const tags = Array.from({ length: count }, () => randomBytes(16));
      const digest = new StreamDigest(7);
      for (const tag of tags) digest.add(tag);
      expect(digest.finish(2 ** 33 + count).equals(slowDigest(7, tags, 2 ** 33 + count))).toBe(true);
    }
  });
});

describe("a stream's frames", () => {
  test("are read back as they were written", () => {
    const tag = randomBytes(16);
    const digest = randomBytes(32);
    for (const number of numbers) {
      const bytes = randomBytes(3);
      for (const name of ["data", "dataZstd"] as const) {
        const frame = Buffer.concat([dataHead(name, number, tag, bytes.length), bytes]);
        expect(frame.readUInt8(4)).toBe(frameTypes[name]);
        expect(frame.readUInt32BE(0)).toBe(frame.length - limits.frameHeaderBytes);
        expect(parseData(payload(frame))).toEqual({ offset: number, tag, bytes });
      }
      expect(parseDataAck(payload(encodeDataAck(number)))).toBe(number);
      expect(parseDataEnd(payload(encodeDataEnd(number, digest)))).toEqual({ bytes: number, digest });
    }
  });

  test("of another length, or with a number that is not exact, are refused", () => {
    const beyond = Buffer.from("0020000000000000", "hex");
    for (const act of [
      () => parseData(Buffer.alloc(0)),
      () => parseData(Buffer.alloc(limits.dataHeaderBytes)),
      () => parseData(Buffer.concat([beyond, Buffer.alloc(17)])),
      () => parseDataAck(Buffer.alloc(7)),
      () => parseDataAck(Buffer.alloc(9)),
      () => parseDataAck(beyond),
      () => parseDataEnd(Buffer.alloc(39)),
      () => parseDataEnd(Buffer.alloc(41)),
      () => parseDataEnd(Buffer.concat([beyond, Buffer.alloc(32)])),
    ]) {
      expect(codeOf(act)).toBe("protocol");
    }
  });
});
