import { describe, expect, test } from "bun:test";
import { randomBytes } from "node:crypto";
import { limits } from "../../../src/protocol/limits.ts";
import { StreamTagger } from "../../../src/transfer/streams/stream-frame.ts";
import { StreamInbox } from "../../../src/transfer/streams/stream-inbox.ts";
import { seeded } from "../../support/system/random.ts";
import { codeOf } from "../../support/system/refusals.ts";
import { dataPayload, endPayload, slowDigest, slowTag } from "./stream-slow.ts";

const key = randomBytes(16);
const stream = 2;

/** A program that takes so many bytes and then no more until it is given more patience. */
class Program {
  taken: Buffer[] = [];
  patience: number;
  isShut = false;

  constructor(patience = Number.POSITIVE_INFINITY) {
    this.patience = patience;
  }

  write(bytes: Buffer): number {
    const count = Math.min(bytes.length, this.patience);
    this.patience -= count;
    this.taken.push(Buffer.from(bytes.subarray(0, count)));
    return count;
  }

  shutdown(): void {
    this.isShut = true;
  }

  get bytes(): Buffer {
    return Buffer.concat(this.taken);
  }
}

function make(patience?: number) {
  const program = new Program(patience);
  return { program, inbox: new StreamInbox(stream, key, program) };
}

const frame = (offset: number, bytes: Uint8Array) => dataPayload(key, stream, offset, bytes);
const tagged = (offset: number, bytes: Uint8Array) => slowTag(key, stream, offset, bytes);

describe("what comes in on a stream", () => {
  // [STREAM-3]
  test("is handed on in order, and counted once the program has it", () => {
    const { program, inbox } = make(15);
    const [one, two] = [randomBytes(10), randomBytes(10)];
    inbox.data(frame(0, one));
    expect(inbox.received).toBe(10);
    inbox.data(frame(10, two));
    // Half of a frame is none: what is said always lies between two.
    expect(inbox.received).toBe(10);
    program.patience = 100;
    inbox.drained();
    expect(inbox.received).toBe(20);
    expect(program.bytes.equals(Buffer.concat([one, two]))).toBe(true);
    const digest = slowDigest(stream, [tagged(0, one), tagged(10, two)], 20);
    inbox.end(endPayload(20, digest));
    expect(inbox.received).toBe(21);
    expect(inbox.digest!.equals(digest)).toBe(true);
    expect(program.isShut).toBe(true);
  });

  test("ends for the program only after everything was handed on", () => {
    const { program, inbox } = make(0);
    const bytes = randomBytes(10);
    inbox.data(frame(0, bytes));
    inbox.end(endPayload(10, slowDigest(stream, [tagged(0, bytes)], 10)));
    expect([program.isShut, inbox.ended, inbox.received]).toEqual([false, false, 0]);
    program.patience = 10;
    inbox.drained();
    expect([program.isShut, inbox.ended, inbox.received]).toEqual([true, true, 11]);
  });

  // [STREAM-2]
  test("may leave nothing out, come twice, be empty, or follow its end", () => {
    const bytes = randomBytes(10);
    for (const offset of [1, 2 ** 40])
      expect(codeOf(() => make().inbox.data(frame(offset, bytes)))).toBe("protocol");
    const { inbox } = make();
    inbox.data(frame(0, bytes));
    expect(codeOf(() => inbox.data(frame(0, bytes)))).toBe("protocol");
    expect(codeOf(() => inbox.data(frame(10, Buffer.alloc(0))))).toBe("protocol");
    inbox.end(endPayload(10, slowDigest(stream, [tagged(0, bytes)], 10)));
    expect(codeOf(() => inbox.data(frame(10, bytes)))).toBe("protocol");
    expect(codeOf(() => inbox.end(endPayload(10, Buffer.alloc(32))))).toBe("protocol");
  });

  // [STREAM-5]
  test("is not handed on where its tag is wrong", () => {
    const { program, inbox } = make();
    const bytes = randomBytes(10);
    for (const tag of [Buffer.alloc(16), tagged(1, bytes), slowTag(key, stream + 1, 0, bytes)]) {
      expect(codeOf(() => make().inbox.data(dataPayload(key, stream, 0, bytes, tag)))).toBe("integrity");
    }
    expect(codeOf(() => inbox.data(dataPayload(key, stream, 0, bytes, Buffer.alloc(16, 1))))).toBe(
      "integrity",
    );
    expect(program.bytes.length).toBe(0);
  });

  // [STREAM-6]
  test("fails where its end says another digest, or another count", () => {
    const bytes = randomBytes(10);
    const digest = slowDigest(stream, [tagged(0, bytes)], 10);
    for (const [count, end, expected] of [
      [10, slowDigest(stream, [], 10), "integrity"],
      [10, slowDigest(stream + 1, [tagged(0, bytes)], 10), "integrity"],
      [9, digest, "protocol"],
      [11, digest, "protocol"],
    ] as const) {
      const { inbox, program } = make();
      inbox.data(frame(0, bytes));
      expect(codeOf(() => inbox.end(endPayload(count, end)))).toBe(expected);
      expect(program.isShut).toBe(false);
    }
  });

  // [STREAM-4]
  test("may run ahead of what was acknowledged by a window and a frame, whatever the program does", () => {
    const { inbox } = make(0);
    const tagger = new StreamTagger(key, stream);
    const bytes = Buffer.alloc(limits.dataBytes);
    let at = 0;
    const next = () => {
      inbox.data(dataPayload(key, stream, at, bytes, tagger.tag(at, bytes)));
      at += bytes.length;
    };
    while (at < limits.streamWindowBytes + limits.dataBytes) next();
    expect(codeOf(next)).toBe("protocol");
  });

  test("in tiny pieces is kept in few, so that each does not cost more room than it has bytes", () => {
    const { inbox, program } = make(0);
    const tagger = new StreamTagger(key, stream);
    const count = 200_000;
    for (let at = 0; at < count; at++) {
      const bytes = Buffer.of(at & 0xff);
      inbox.data(dataPayload(key, stream, at, bytes, tagger.tag(at, bytes)));
    }
    program.taken = [];
    program.patience = count;
    inbox.drained();
    expect(inbox.received).toBe(count);
    expect(program.taken.length).toBeLessThan(10);
    expect(program.bytes.every((byte, at) => byte === (at & 0xff))).toBe(true);
  });
});

describe("on a new connection", () => {
  // [STREAM-3] [STREAM-4]
  test("the peer begins behind what was handed on, and what waits already is not handed on twice", () => {
    const random = seeded("a stream over many connections");
    for (let round = 0; round < 30; round++) {
      const { program, inbox } = make(0);
      const frames: { offset: number; bytes: Buffer }[] = [];
      let total = 0;
      for (let i = 0; i < 40; i++) {
        const bytes = random.bytes(1 + random.below(3000));
        frames.push({ offset: total, bytes });
        total += bytes.length;
      }
      const digest = slowDigest(
        stream,
        frames.map(({ offset, bytes }) => tagged(offset, bytes)),
        total,
      );
      let said = 0;
      for (let connections = 0; !inbox.ended; connections++) {
        expect(connections).toBeLessThan(1000);
        const received = inbox.begin();
        expect(received).toBeGreaterThanOrEqual(said);
        said = received;
        const first = frames.findIndex(({ offset }) => offset === received);
        // What is said always lies between two frames.
        if (first < 0) expect(received).toBe(total);
        const rest = first < 0 ? [] : frames.slice(first);
        const count = random.below(rest.length + 2);
        for (const { offset, bytes } of rest.slice(0, count)) {
          inbox.data(frame(offset, bytes));
          if (random.chance(0.3)) {
            program.patience += random.below(4000);
            inbox.drained();
          }
        }
        if (count > rest.length) inbox.end(endPayload(total, digest));
      }
      expect(program.bytes.equals(Buffer.concat(frames.map(({ bytes }) => bytes)))).toBe(true);
      expect(inbox.digest!.equals(digest)).toBe(true);
    }
  });

  // [STREAM-4]
  test("frames that were cut otherwise than before are refused", () => {
    const { inbox } = make(0);
    const bytes = randomBytes(20);
    inbox.data(frame(0, bytes));
    expect(inbox.begin()).toBe(0);
    inbox.data(frame(0, bytes.subarray(0, 15)));
    expect(codeOf(() => inbox.data(frame(15, randomBytes(10))))).toBe("protocol");
  });

  test("nothing follows an end that came on the one before", () => {
    for (const patience of [0, 100]) {
      const { inbox } = make(patience);
      const bytes = randomBytes(10);
      const end = endPayload(10, slowDigest(stream, [tagged(0, bytes)], 10));
      inbox.data(frame(0, bytes));
      inbox.end(end);
      const received = inbox.begin();
      expect(received).toBe(patience === 0 ? 0 : 11);
      if (received === 0) {
        inbox.data(frame(0, bytes));
        expect(codeOf(() => inbox.end(endPayload(10, Buffer.alloc(32))))).toBe("integrity");
      }
      expect(codeOf(() => inbox.data(frame(10, bytes)))).toBe("protocol");
    }
  });
});

describe("a program that is gone", () => {
  // [STREAM-7]
  test("fails the stream where bytes waited for it, or come for it; an end alone is fine", () => {
    const bytes = randomBytes(10);
    const waiting = make(5).inbox;
    waiting.data(frame(0, bytes));
    expect(codeOf(() => waiting.broken())).toBe("qemu-failed");
    const idle = make().inbox;
    idle.broken();
    expect(codeOf(() => idle.data(frame(0, bytes)))).toBe("qemu-failed");
    const ending = make().inbox;
    ending.data(frame(0, bytes));
    ending.broken();
    ending.end(endPayload(10, slowDigest(stream, [tagged(0, bytes)], 10)));
    expect(ending.ended).toBe(true);
  });
});
