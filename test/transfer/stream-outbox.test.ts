import { describe, expect, test } from "bun:test";
import { randomBytes } from "node:crypto";
import { MigrateError } from "../../src/protocol/errors.ts";
import { limits } from "../../src/protocol/limits.ts";
import { parseData, parseDataEnd } from "../../src/transfer/stream-frame.ts";
import { type StreamFrame, StreamOutbox } from "../../src/transfer/stream-outbox.ts";
import { slowDigest, slowTag } from "./stream-slow.ts";

const key = randomBytes(16);
const newOutbox = () => new StreamOutbox(3, key);
const whole = ({ head, bytes }: StreamFrame) =>
  Buffer.concat([head, bytes ?? Buffer.alloc(0)]).subarray(limits.frameHeaderBytes);
const ends = (outbox: StreamOutbox) => outbox.unacknowledged.map(({ end }) => end);

describe("what goes out on a stream", () => {
  // [STREAM-2] [STREAM-5] [STREAM-6]
  test("is numbered by its place, tagged, and closed with the digest over all tags", () => {
    const outbox = newOutbox();
    const pieces = [randomBytes(10), randomBytes(1), randomBytes(500)];
    const tags = pieces.map((bytes, i) => {
      const offset = pieces.slice(0, i).reduce((sum, { length }) => sum + length, 0);
      const frame = parseData(whole(outbox.add(bytes)));
      expect(frame.offset).toBe(offset);
      expect(frame.bytes.equals(bytes)).toBe(true);
      expect(frame.tag.equals(slowTag(key, 3, offset, bytes))).toBe(true);
      return frame.tag;
    });
    const end = parseDataEnd(whole(outbox.finish()));
    expect(end).toEqual({ bytes: 511, digest: slowDigest(3, tags, 511) });
    expect(outbox.digest!.equals(end.digest)).toBe(true);
    expect(ends(outbox)).toEqual([10, 11, 511, 512]);
  });

  // [STREAM-4]
  test("is kept until it is acknowledged, each frame as it was", () => {
    const outbox = newOutbox();
    const frames = [4, 5, 6].map((length) => outbox.add(randomBytes(length)));
    outbox.acknowledge(4);
    expect(outbox.unacknowledged).toEqual(frames.slice(1));
    outbox.acknowledge(4);
    outbox.acknowledge(15);
    expect(outbox.unacknowledged).toEqual([]);
    expect(outbox.deliveredBytes).toBe(15);
    const end = outbox.finish();
    expect(outbox.delivered).toBe(false);
    expect(outbox.unacknowledged).toEqual([end]);
    outbox.acknowledge(16);
    expect(outbox.delivered).toBe(true);
    expect(outbox.deliveredBytes).toBe(15);
  });

  // [STREAM-3]
  test("is not acknowledged backwards, beyond what there is, or within a frame", () => {
    const wrong = (act: (outbox: StreamOutbox) => void) => {
      const outbox = newOutbox();
      outbox.add(randomBytes(10));
      outbox.add(randomBytes(10));
      outbox.acknowledge(10);
      try {
        act(outbox);
      } catch (thrown) {
        return thrown instanceof MigrateError ? thrown.code : String(thrown);
      }
      return "none";
    };
    for (const received of [0, 9, 11, 19, 21, 2 ** 40]) {
      expect(wrong((outbox) => outbox.acknowledge(received))).toBe("protocol");
    }
    expect(wrong((outbox) => outbox.acknowledge(20))).toBe("none");
  });

  // [STREAM-4]
  test("has no room for another read beyond the window, and none for endless small frames", () => {
    const outbox = newOutbox();
    const bytes = Buffer.alloc(limits.dataBytes);
    const hasRoom = (box: StreamOutbox) => box.hasRoom;
    while (hasRoom(outbox)) outbox.add(bytes);
    expect(outbox.bytes).toBe(Number(limits.streamWindowBytes));
    outbox.acknowledge(limits.dataBytes);
    expect(hasRoom(outbox)).toBe(true);
    const small = newOutbox();
    while (hasRoom(small)) small.add(Buffer.of(1));
    expect(small.unacknowledged.length).toBeLessThanOrEqual(4096);
    small.acknowledge(1);
    expect(hasRoom(small)).toBe(true);
  });
});
