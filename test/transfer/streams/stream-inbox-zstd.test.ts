/** What comes in on a stream as zstd: the same bytes, or nothing at all, and no room for what cannot be. */
import { afterEach, describe, expect, mock, spyOn, test } from "bun:test";
import { randomBytes } from "node:crypto";
import { MigrateError } from "../../../src/protocol/errors.ts";
import { limits } from "../../../src/protocol/limits.ts";
import { StreamTagger } from "../../../src/transfer/streams/stream-frame.ts";
import { StreamInbox } from "../../../src/transfer/streams/stream-inbox.ts";
import { allocations } from "../../protocol/allocations.ts";
import { seeded } from "../../support/system/random.ts";
import { dataPayload, endPayload, slowDigest, slowTag } from "./stream-slow.ts";

const key = randomBytes(16);
const stream = 2;
const { dataBytes, streamWindowBytes } = limits;
const tagger = new StreamTagger(key, stream);

afterEach(() => mock.restore());

/** A program that takes everything, or nothing until it is told to. */
function make(takes = true) {
  const taken: Buffer[] = [];
  const program = {
    takes,
    isShut: false,
    write: (bytes: Buffer) => {
      if (!program.takes) return 0;
      taken.push(Buffer.from(bytes));
      return bytes.length;
    },
    shutdown: () => {
      program.isShut = true;
    },
    heard: () => Buffer.concat(taken),
  };
  return { program, inbox: new StreamInbox(stream, key, program) };
}

function failure(act: () => unknown): { code: string; message: string } {
  try {
    act();
  } catch (thrown) {
    if (thrown instanceof MigrateError) return { code: thrown.code, message: thrown.message };
    throw thrown;
  }
  return { code: "none", message: "" };
}

const zstd = (bytes: Uint8Array) => Bun.zstdCompressSync(bytes, { level: 1 });
const plain = (offset: number, bytes: Uint8Array) => dataPayload(key, stream, offset, bytes);
/** A DATA-ZSTD payload of these bytes, or with another frame in its place. */
const packed = (offset: number, bytes: Buffer, frame: Uint8Array = zstd(bytes), tag?: Buffer) =>
  dataPayload(key, stream, offset, frame, tag ?? tagger.tag(offset, bytes));

/** Text that shrinks, other each time. */
const text = (bytes: number) =>
  Buffer.from(randomBytes(Math.ceil(bytes / 2)).toString("hex")).subarray(0, bytes);

describe("what comes as zstd", () => {
  // [STREAM-9]
  test("is handed on, counted and digested as the same bytes that come as they are", () => {
    const pieces = [text(5000), text(1), text(dataBytes), text(70_000)];
    const total = pieces.reduce((sum, { length }) => sum + length, 0);
    const offsets = pieces.map((_, i) => pieces.slice(0, i).reduce((sum, { length }) => sum + length, 0));
    const tags = pieces.map((bytes, i) => slowTag(key, stream, offsets[i]!, bytes));
    const digest = slowDigest(stream, tags, total);
    for (const compressed of [0b0000, 0b1111, 0b0101, 0b1010]) {
      const { program, inbox } = make();
      for (const [i, bytes] of pieces.entries()) {
        const isZstd = ((compressed >> i) & 1) === 1;
        inbox.data(dataPayload(key, stream, offsets[i]!, isZstd ? zstd(bytes) : bytes, tags[i]), isZstd);
        expect(inbox.received).toBe(offsets[i]! + bytes.length);
      }
      inbox.end(endPayload(total, digest));
      expect(inbox.received).toBe(total + 1);
      expect(inbox.digest!.equals(digest)).toBe(true);
      expect(program.isShut).toBe(true);
      expect(program.heard().equals(Buffer.concat(pieces))).toBe(true);
    }
  });

  // [STREAM-4] [STREAM-9]
  test("comes again on another connection and is handed on once, whichever way it came before", () => {
    const [one, two] = [text(9000), text(11_000)];
    for (const [before, after] of [
      [true, true],
      [true, false],
      [false, true],
    ] as const) {
      const { program, inbox } = make(false);
      const send = (offset: number, bytes: Buffer, isZstd: boolean) =>
        inbox.data(isZstd ? packed(offset, bytes) : plain(offset, bytes), isZstd);
      send(0, one, before);
      send(one.length, two, before);
      expect(inbox.begin()).toBe(0);
      send(0, one, after);
      send(one.length, two, after);
      program.takes = true;
      inbox.drained();
      expect(program.heard().equals(Buffer.concat([one, two]))).toBe(true);
      const tags = [slowTag(key, stream, 0, one), slowTag(key, stream, one.length, two)];
      inbox.end(endPayload(20_000, slowDigest(stream, tags, 20_000)));
      expect(inbox.ended).toBe(true);
    }
  });

  // [STREAM-4] [STREAM-9]
  test("arrives whole and once over many connections, some of it compressed", () => {
    const random = seeded("a compressed stream over many connections");
    for (let round = 0; round < 10; round++) {
      const { program, inbox } = make(false);
      const frames: { offset: number; bytes: Buffer; payload: Buffer; isZstd: boolean }[] = [];
      let total = 0;
      for (let i = 0; i < 30; i++) {
        const bytes = text(1 + random.below(5000));
        const isZstd = random.chance(0.5);
        const payload = isZstd ? packed(total, bytes) : plain(total, bytes);
        frames.push({ offset: total, bytes, payload, isZstd });
        total += bytes.length;
      }
      const tags = frames.map(({ offset, bytes }) => tagger.tag(offset, bytes));
      for (let connections = 0; !inbox.ended; connections++) {
        expect(connections).toBeLessThan(1000);
        const received = inbox.begin();
        const first = frames.findIndex(({ offset }) => offset === received);
        const rest = first < 0 ? [] : frames.slice(first);
        const count = random.below(rest.length + 2);
        for (const { payload, isZstd } of rest.slice(0, count)) {
          inbox.data(payload, isZstd);
          program.takes = random.chance(0.4);
          inbox.drained();
        }
        program.takes = random.chance(0.5);
        if (count > rest.length) inbox.end(endPayload(total, slowDigest(stream, tags, total)));
        inbox.drained();
      }
      expect(program.heard().equals(Buffer.concat(frames.map(({ bytes }) => bytes)))).toBe(true);
    }
  });

  // [STREAM-5] [STREAM-9]
  test("is not handed on where its tag is of other bytes, of its zstd frame, or of another place", () => {
    const bytes = text(5000);
    const frame = zstd(bytes);
    const tags = [
      tagger.tag(0, frame),
      tagger.tag(1, bytes),
      slowTag(key, stream + 1, 0, bytes),
      Buffer.alloc(16),
    ];
    for (const tag of tags) {
      const { program, inbox } = make();
      expect(failure(() => inbox.data(packed(0, bytes, frame, tag), true)).code).toBe("integrity");
      expect(program.heard().length).toBe(0);
      expect(inbox.received).toBe(0);
    }
  });
});

/** Bits of Frame_Header_Descriptor, RFC 8878, section 3.1.1.1.1. */
const singleSegment = 0x20;
const fourByteSize = 0x80;
const u32 = (n: number) => [n & 0xff, (n >>> 8) & 0xff, (n >>> 16) & 0xff, (n >>> 24) & 0xff];

/** A frame that declares `declares` bytes (or nothing) and holds `blocks` times 128 KiB of zeros. */
function zeros(blocks: number, declares?: number): Buffer {
  const head = declares === undefined ? [0, 0x38] : [singleSegment | fourByteSize, ...u32(declares)];
  // A block of type 1 is one byte that is repeated.
  const block = (i: number) => [
    ...u32((i === blocks - 1 ? 1 : 0) | (1 << 1) | ((128 * 1024) << 3)).slice(0, 3),
    0,
  ];
  return Buffer.from([
    0x28,
    0xb5,
    0x2f,
    0xfd,
    ...head,
    ...Array.from({ length: blocks }, (_, i) => block(i)).flat(),
  ]);
}

const good = zstd(text(3000));
const skippable = Buffer.from([0x50, 0x2a, 0x4d, 0x18, ...u32(4), 1, 2, 3, 4]);
const unknown = Buffer.alloc(1);

describe("nothing is decoded, and no room made, for", () => {
  // [STREAM-10]
  test.each([
    [
      "a frame that declares one byte more than a frame may have",
      zeros(4, dataBytes + 1),
      "declares 524289 bytes",
    ],
    ["a frame that declares 4 GiB and holds one block", zeros(1, 0xffff_ffff), "declares 4294967295 bytes"],
    [
      "a frame that declares 256 MiB and holds it",
      zeros(2048, 2048 * 128 * 1024),
      "declares 268435456 bytes",
    ],
    ["a frame that declares no size", zeros(1), "does not declare its size"],
    ["a frame that declares no size and holds 512 MiB", zeros(4096), "does not declare its size"],
    ["two frames", Buffer.concat([good, good]), "behind its end"],
    ["a frame and a byte", Buffer.concat([good, unknown]), "behind its end"],
    ["a frame and a skippable one", Buffer.concat([good, skippable]), "behind its end"],
    ["a skippable frame", skippable, "is no zstd frame"],
    ["a skippable frame in front of a good one", Buffer.concat([skippable, good]), "is no zstd frame"],
    ["bytes that are no zstd", randomBytes(4096).fill(0x11, 0, 4), "is no zstd frame"],
    ["half a frame", good.subarray(0, good.length >> 1), "is cut short"],
    ["one byte", unknown, "is cut short"],
  ])("%s", (_what, frame, sentence) => {
    const { program, inbox } = make();
    const payload = packed(0, unknown, frame);
    const decoder = spyOn(Bun, "zstdDecompressSync");
    const asked = allocations();
    expect(failure(() => inbox.data(payload, true))).toEqual({
      code: "protocol",
      message: expect.stringContaining(sentence),
    });
    expect(decoder).not.toHaveBeenCalled();
    expect(asked.sum()).toBeLessThan(4096);
    expect([program.heard().length, inbox.received]).toEqual([0, 0]);
  });

  // [STREAM-4] [STREAM-10]
  test("what reaches beyond the window, by what it declares", () => {
    const { inbox } = make(false);
    const bytes = Buffer.alloc(dataBytes);
    const frame = zstd(bytes);
    let at = 0;
    // One byte less than what may be under way, so that the last frame ends one byte beyond.
    inbox.data(packed(0, unknown), true);
    for (at = 1; at + dataBytes <= streamWindowBytes; at += dataBytes)
      inbox.data(packed(at, bytes, frame), true);
    inbox.data(packed(at, bytes, frame), true);
    at += dataBytes;
    const left = streamWindowBytes + dataBytes - at;
    expect(left).toBe(dataBytes - 1);
    const last = packed(at, bytes, frame);
    const decoder = spyOn(Bun, "zstdDecompressSync");
    const asked = allocations();
    expect(failure(() => inbox.data(last, true))).toEqual({
      code: "protocol",
      message: expect.stringContaining(`declares ${dataBytes} bytes; ${left} are possible`),
    });
    expect(decoder).not.toHaveBeenCalled();
    expect(asked.sum()).toBeLessThan(4096);
    // What just fits is taken, and behind it not a byte.
    const fits = bytes.subarray(1);
    inbox.data(packed(at, fits), true);
    decoder.mockClear();
    expect(failure(() => inbox.data(packed(at + fits.length, unknown), true)).message).toContain(
      "did not wait",
    );
    expect(decoder).not.toHaveBeenCalled();
  });
});

describe("a frame that is not what it says is refused, and nothing of it handed on:", () => {
  // [STREAM-9] [STREAM-10]
  test.each([
    ["it holds more than it declares", zeros(2, 128 * 1024)],
    ["it holds less than it declares", zeros(1, 2 * 128 * 1024)],
    ["it holds nothing, and says so", zstd(Buffer.alloc(0))],
    ["it declares nothing, and holds something", zeros(1, 0)],
  ])("%s", (_what, frame) => {
    const { program, inbox } = make();
    const asked = allocations();
    const payload = packed(0, Buffer.alloc(0), frame);
    expect(failure(() => inbox.data(payload, true)).code).toBe("protocol");
    expect(asked.largest()).toBeLessThanOrEqual(dataBytes);
    expect([program.heard().length, inbox.received]).toEqual([0, 0]);
  });

  // [STREAM-9]
  test("it has no bytes at all behind its tag", () => {
    expect(failure(() => make().inbox.data(packed(0, unknown, Buffer.alloc(0)), true)).code).toBe("protocol");
  });

  // [STREAM-9]
  test("its bits are altered, wherever that is", () => {
    const bytes = text(3000);
    const frame = zstd(bytes);
    const altered = () => Buffer.from(frame);
    for (let i = 0; i < 1500; i++) {
      const wrong = altered();
      wrong[(i * 131) % wrong.length]! ^= 1 << (i % 8);
      const { program, inbox } = make();
      const { code } = failure(() => inbox.data(packed(0, bytes, wrong), true));
      // A bit that decodes to the same all the same is none that matters.
      if (code === "none") expect(program.heard().equals(bytes)).toBe(true);
      else expect(["protocol", "integrity"]).toContain(code);
      if (code !== "none") expect(program.heard().length).toBe(0);
    }
  });
});

describe("what waits for a program that takes nothing", () => {
  test("costs about as much as came, however much it decodes to", () => {
    const { program, inbox } = make(false);
    const bytes = Buffer.alloc(dataBytes, "next to nothing");
    const frames = streamWindowBytes / dataBytes;
    for (let i = 0; i < frames; i++) inbox.data(packed(i * dataBytes, bytes), true);
    // Each is decoded once, to be checked, and not kept so.
    expect(inbox.waitingBytes).toBeLessThan(64 * 1024);
    program.takes = true;
    inbox.drained();
    expect(inbox.received).toBe(frames * dataBytes);
    const heard = program.heard();
    for (let i = 0; i < frames; i++)
      expect(heard.subarray(i * dataBytes, (i + 1) * dataBytes).equals(bytes)).toBe(true);
    expect(inbox.waitingBytes).toBe(0);
    inbox.close();
  });

  test("is too much once all streams together keep 32 MiB, for those that keep more than a frame", () => {
    const streams = Array.from({ length: 5 }, () => make(false).inbox);
    const honest = make(false).inbox;
    const random = randomBytes(dataBytes);
    honest.data(plain(0, random.subarray(0, 1000)));
    for (const inbox of streams) {
      for (let at = 0; at < streamWindowBytes; at += dataBytes) inbox.data(plain(at, random));
    }
    expect(streams.map((inbox) => inbox.isCrowding)).toEqual([true, true, true, true, true]);
    expect(honest.isCrowding).toBe(false);
    for (const inbox of streams.slice(2)) inbox.close();
    expect(streams[0]!.isCrowding).toBe(false);
    for (const inbox of [...streams, honest]) inbox.close();
  });
});
