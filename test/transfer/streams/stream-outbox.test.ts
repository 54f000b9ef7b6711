import { describe, expect, test } from "bun:test";
import { randomBytes } from "node:crypto";
import { MigrateError } from "../../../src/protocol/errors.ts";
import { frameTypes } from "../../../src/protocol/frames.ts";
import { limits } from "../../../src/protocol/limits.ts";
import type { CompressedStream } from "../../../src/transfer/streams/stream-compressor.ts";
import { parseData, parseDataEnd } from "../../../src/transfer/streams/stream-frame.ts";
import { bytesOf, type StreamFrame, StreamOutbox } from "../../../src/transfer/streams/stream-outbox.ts";
import { slowDigest, slowTag } from "./stream-slow.ts";

const key = randomBytes(16);
const newOutbox = (compressed?: CompressedStream) => new StreamOutbox(3, key, compressed);
const whole = ({ head, bytes }: StreamFrame) =>
  Buffer.concat([head, bytes ?? Buffer.alloc(0)]).subarray(limits.frameHeaderBytes);
const ends = (outbox: StreamOutbox) => outbox.unacknowledged.map(({ end }) => end);

/** Compresses the pieces that are named, and notes down what it hears. */
class Played implements CompressedStream {
  readonly heard: (string | number[])[] = [];
  readonly #isZstd: (piece: number) => boolean;
  #pieces = 0;

  constructor(isZstd: (piece: number) => boolean = () => true) {
    this.#isZstd = isZstd;
  }

  compress(bytes: Buffer): Buffer | null {
    return this.#isZstd(this.#pieces++) ? Bun.zstdCompressSync(bytes) : null;
  }
  begin(): void {
    this.heard.push("begin");
  }
  worked(): void {
    this.heard.push("worked");
  }
  acknowledged(programBytes: number, sentBytes: number): void {
    this.heard.push([programBytes, sentBytes]);
  }
  close(): void {
    this.heard.push("close");
  }
}

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

  // [STREAM-2] [STREAM-5] [STREAM-6] [STREAM-9]
  test("is numbered, tagged and digested as what it is, whether it goes out as zstd or not", () => {
    const pieces = [Buffer.alloc(9000, 1), Buffer.alloc(1, 2), Buffer.alloc(limits.dataBytes, 3)];
    const outboxOf = (isZstd: (i: number) => boolean) => {
      const outbox = newOutbox(new Played(isZstd));
      const frames = pieces.map((bytes) => outbox.add(bytes));
      return { outbox, frames, end: outbox.finish() };
    };
    const plain = outboxOf(() => false);
    for (const isZstd of [() => true, (i: number) => i === 1, (i: number) => i !== 1]) {
      const { outbox, frames, end } = outboxOf(isZstd);
      expect(end).toEqual(plain.end);
      expect(outbox.bytes).toBe(plain.outbox.bytes);
      expect(outbox.digest!.equals(plain.outbox.digest!)).toBe(true);
      expect(ends(outbox)).toEqual(ends(plain.outbox));
      for (const [i, frame] of frames.entries()) {
        expect(frame.head.readUInt8(4)).toBe(frameTypes[isZstd(i) ? "dataZstd" : "data"]);
        expect(frame.head.readUInt32BE(0)).toBe(whole(frame).length);
        const { offset, tag, bytes } = parseData(whole(frame));
        const inPlain = parseData(whole(plain.frames[i]!));
        expect([offset, tag]).toEqual([inPlain.offset, inPlain.tag]);
        expect(tag.equals(slowTag(key, 3, offset, pieces[i]!))).toBe(true);
        expect((isZstd(i) ? Bun.zstdDecompressSync(bytes) : bytes).equals(pieces[i]!)).toBe(true);
      }
    }
  });

  // [STREAM-4] [STREAM-9]
  test("is kept as the zstd that it went out as, and said again as that", () => {
    const outbox = newOutbox(new Played((piece) => piece !== 1));
    const frames = [5000, 10, 6000].map((length) => outbox.add(Buffer.alloc(length, 7)));
    const sent = frames.map((frame) => Buffer.from(whole(frame)));
    outbox.acknowledge(5000);
    expect(outbox.begin().map(whole)).toEqual(sent.slice(1));
    expect(outbox.unacknowledged[1]!.bytes!.equals(Bun.zstdCompressSync(Buffer.alloc(6000, 7)))).toBe(true);
    // What has been delivered is the program's bytes, and never the zstd's.
    expect([outbox.bytes, outbox.deliveredBytes]).toEqual([11_010, 5000]);
  });

  // [STREAM-9]
  test("is acknowledged in bytes of the program; what compresses hears what was sent for them, without heads", () => {
    const played = new Played((piece) => piece !== 1);
    const outbox = newOutbox(played);
    const zstdBytes = Bun.zstdCompressSync(Buffer.alloc(limits.dataBytes)).length;
    const headBytes = limits.frameHeaderBytes + limits.dataHeaderBytes;
    for (const length of [limits.dataBytes, 100, limits.dataBytes]) outbox.add(Buffer.alloc(length));
    expect(outbox.unacknowledged.map(bytesOf)).toEqual([
      headBytes + zstdBytes,
      headBytes + 100,
      headBytes + zstdBytes,
    ]);
    outbox.acknowledge(limits.dataBytes + 100);
    const end = outbox.finish();
    expect(bytesOf(end)).toBe(end.head.length);
    outbox.acknowledge(outbox.bytes);
    outbox.acknowledge(outbox.bytes + 1);
    expect(played.heard).toEqual([
      [limits.dataBytes + 100, zstdBytes + 100],
      [limits.dataBytes, zstdBytes],
      [0, 0],
    ]);
    expect(outbox.delivered).toBe(true);
  });

  test("tells what compresses of connections, of work that is done, and of the end", () => {
    const played = new Played();
    const outbox = newOutbox(played);
    expect(outbox.begin()).toEqual([]);
    const frame = outbox.add(Buffer.alloc(9000));
    outbox.worked();
    expect(outbox.begin()).toEqual([frame]);
    outbox.close();
    expect(played.heard).toEqual(["begin", "worked", "begin", "close"]);
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

  // [STREAM-4]
  test("has a window of the program's bytes, however few of them it goes out as", () => {
    const outbox = newOutbox(new Played());
    const bytes = Buffer.alloc(limits.dataBytes);
    const hasRoom = () => outbox.hasRoom;
    while (hasRoom()) outbox.add(bytes);
    expect(outbox.bytes).toBe(Number(limits.streamWindowBytes));
    outbox.acknowledge(limits.dataBytes);
    expect(hasRoom()).toBe(true);
  });
});
