/** When streams are compressed, in virtual time: by the link that they share, and not by when there was none. */
import { describe, expect, test } from "bun:test";
import { randomBytes } from "node:crypto";
import { limits } from "../../../src/protocol/limits.ts";
import { decompressBody } from "../../../src/transfer/compression/zstd-frame.ts";
import { StreamCompressor } from "../../../src/transfer/streams/stream-compressor.ts";
import type { Kind } from "../compression/virtual-lane.ts";
import { type Carried, carry, type VirtualProgram } from "./virtual-streams.ts";

const mebibyte = 1024 * 1024;
const fixed = [1, 3, 6, 9] as const;
const kinds: Kind[] = ["ram", "modules", "text"];
const link = (rate: number) => ({ mbitPerSec: () => rate });
const fast = link(10_000);
const slow = link(100);

/** So many programs with as much to say altogether. */
const programs = (count: number, kind: Kind, mebibytes: number): VirtualProgram[] =>
  Array.from({ length: count }, () => ({ kind, says: [{ mebibytes: mebibytes / count }] }));

/** MiB of a stream, or of all, that went out in this time at a level that counts. */
function carriedAt(
  { pieces }: Carried,
  levelCounts: (level: number) => boolean,
  { stream, fromMs = 0, toMs = Infinity }: { stream?: number; fromMs?: number; toMs?: number } = {},
): number {
  const counted = pieces.filter(
    (piece) =>
      levelCounts(piece.level) &&
      piece.atMs >= fromMs &&
      piece.atMs < toMs &&
      (stream === undefined || piece.stream === stream),
  );
  return counted.reduce((sum, { bytes }) => sum + bytes, 0) / mebibyte;
}

const asItIs = (level: number) => level === 0;
const compressed = (level: number) => level > 0;

describe("streams that share a thread", () => {
  for (const kind of kinds) {
    for (const count of [1, 4]) {
      test(`take at most 10 % longer with auto than with off on a fast link: ${count} with ${kind}`, () => {
        const said = programs(count, kind, 1024);
        const auto = carry("auto", said, fast);
        expect(auto.ms).toBeLessThanOrEqual(1.1 * carry("off", said, fast).ms);
        expect(carriedAt(auto, compressed)).toBeLessThan(10);
      });

      test(`take at most 10 % longer with auto than at the best level on 1 Gbit/s: ${count} with ${kind}`, () => {
        const said = programs(count, kind, 1024);
        const bestMs = Math.min(...fixed.map((level) => carry(level, said, link(1000)).ms));
        expect(carry("auto", said, link(1000)).ms).toBeLessThanOrEqual(1.1 * bestMs);
      });
    }
  }

  test("send random bytes as they are on a slow link, too", () => {
    expect(carriedAt(carry("auto", programs(2, "random", 64), slow), compressed)).toBe(0);
  });

  test("do not forget what the first has learned when one more gets its first connection", () => {
    const opensAtMs = 2000;
    const said: VirtualProgram[] = [
      ...programs(1, "ram", 128),
      { opensAtMs, kind: "ram", says: [{ mebibytes: 16 }] },
    ];
    const auto = carry("auto", said, slow);
    expect(carriedAt(auto, (level) => level > 3, { fromMs: opensAtMs })).toBeGreaterThan(80);
    // Whoever knows nothing begins at level 1; now and then a level is tried again.
    expect(carriedAt(auto, (level) => level < 3, { fromMs: opensAtMs })).toBeLessThan(1);
  });

  test("count no more once they have closed", () => {
    const closesAtMs = 100;
    const said: VirtualProgram[] = [
      { ...programs(1, "ram", 128)[0]!, closesAtMs },
      { kind: "ram", says: [{ mebibytes: 256, mebibytesPerSec: 50 }] },
    ];
    const auto = carry("auto", said, fast);
    // A window of the first was under way and will never be acknowledged.
    expect(carriedAt(auto, compressed, { stream: 1, fromMs: closesAtMs })).toBe(0);
  });
});

describe("a program", () => {
  for (const rate of [10, 100]) {
    test(`with 1 MiB under way is near the best level on ${rate} Mbit/s`, () => {
      const said: VirtualProgram[] = [
        { kind: "text", says: [{ mebibytes: 128 }], mostUnderWayBytes: mebibyte },
      ];
      const bestMs = Math.min(...fixed.map((level) => carry(level, said, link(rate)).ms));
      expect(carry("auto", said, link(rate)).ms).toBeLessThanOrEqual(1.1 * bestMs);
    });
  }

  test("is compressed when it has much to say after it had little for long", () => {
    const says = [{ mebibytes: 50, mebibytesPerSec: 5 }, { mebibytes: 40 }];
    const auto = carry("auto", [{ kind: "ram", says }], link(1000));
    expect(carriedAt(auto, compressed, { fromMs: 10_000 })).toBeGreaterThan(30);
  });

  test("is not forgotten what its link is like while it says little", () => {
    const says = [{ mebibytes: 20 }, { mebibytes: 1, mebibytesPerSec: 0.1 }, { mebibytes: 30 }];
    const auto = carry("auto", [{ kind: "ram", says }], link(200));
    expect(carriedAt(auto, asItIs, { fromMs: 8000 })).toBe(0);
  });

  test("is left as it is while it is slower than its link", () => {
    const says = [{ mebibytes: 256, mebibytesPerSec: 50 }];
    expect(carriedAt(carry("auto", [{ kind: "ram", says }], link(1000)), compressed)).toBeLessThan(10);
  });
});

describe("a destination that is slower than the link", () => {
  for (const destinationMsPerMiB of [2.5, 3.3, 5, 8, 16.7]) {
    test(`with ${destinationMsPerMiB} ms for 1 MiB costs auto at most 2 % over off`, () => {
      for (const kind of kinds) {
        const said = programs(1, kind, 1024);
        const way = { ...fast, destinationMsPerMiB };
        expect(carry("auto", said, way).ms).toBeLessThanOrEqual(1.02 * carry("off", said, way).ms);
      }
    });
  }
});

describe("on another connection", () => {
  const cut = (atMs: number, forMs: number): VirtualProgram => ({
    kind: "ram",
    says: [{ mebibytes: 512 }],
    cut: { atMs, forMs },
  });
  const changing = (before: number, after: number, atMs: number) => ({
    mbitPerSec: (nowMs: number) => (nowMs < atMs ? before : after),
  });

  test("a link that was away for ten seconds is not taken for a slow one", () => {
    for (const count of [1, 2]) {
      const said = Array.from({ length: count }, () => cut(200, 10_000));
      const auto = carry("auto", said, fast);
      expect(auto.ms).toBeLessThanOrEqual(1.02 * carry("off", said, fast).ms);
      expect(carriedAt(auto, compressed)).toBeLessThan(10);
    }
  });

  test("a stream begins as if it were the first, however long there was none", () => {
    let nowMs = 0;
    const engine = (body: Buffer) => {
      nowMs += 3;
      return body.subarray(0, body.length / 4);
    };
    const stream = new StreamCompressor("auto", { nowMs: () => nowMs, engine, idleShare: () => 1 }).stream();
    const begin = () => {
      stream.begin();
      return Array.from({ length: 8 }, () => {
        const isCompressed = stream.compress(Buffer.alloc(limits.dataBytes)) !== null;
        stream.worked();
        return isCompressed;
      });
    };
    const first = begin();
    nowMs += 10_000;
    expect(begin()).toEqual(first);
  });

  test("streams are compressed where it is a slow one, and what is sent again says nothing of it", () => {
    // Whatever was under way when it broke: little of all three goes out as it is.
    const moves = [250, 300, 310].map((atMs) => carry("auto", [cut(atMs, 200)], changing(10_000, 400, 400)));
    const sum = (figures: number[]) => figures.reduce((total, figure) => total + figure, 0);
    expect(sum(moves.map((auto) => carriedAt(auto, compressed, { toMs: 400 })))).toBeLessThan(20);
    expect(sum(moves.map((auto) => carriedAt(auto, asItIs, { fromMs: 450 })))).toBeLessThan(15);
  });

  test("streams are as they are where it is a fast one", () => {
    const auto = carry("auto", [cut(1000, 200)], changing(100, 10_000, 1100));
    expect(carriedAt(auto, asItIs, { toMs: 1000 })).toBeLessThan(10);
    expect(carriedAt(auto, compressed, { fromMs: 1200 })).toBeLessThan(10);
  });
});

describe("a setting that is no auto holds on every link:", () => {
  test.each(["off", 1, 3] as const)("%s", (setting) => {
    for (const way of [fast, slow]) {
      const cut = { atMs: 100, forMs: 5000 };
      const { pieces } = carry(setting, [{ kind: "text", says: [{ mebibytes: 32 }], cut }], way);
      expect(pieces.every(({ level }) => level === (setting === "off" ? 0 : setting))).toBe(true);
    }
  });

  test("off does not look at what is said", () => {
    const engine = () => {
      throw new Error("it was looked at");
    };
    const stream = new StreamCompressor("off", { engine }).stream();
    stream.begin();
    expect(stream.compress(Buffer.alloc(limits.dataBytes))).toBeNull();
  });
});

test("a frame holds what was said", () => {
  const text = Buffer.from(randomBytes(limits.dataBytes / 2).toString("hex"));
  const stream = new StreamCompressor(3).stream();
  stream.begin();
  const frame = stream.compress(text)!;
  expect(frame.length).toBeLessThan(0.6 * text.length);
  expect(decompressBody(frame, limits.dataBytes).equals(text)).toBe(true);
  expect(stream.compress(randomBytes(limits.dataBytes))).toBeNull();
});
