/** What "auto" takes, against every fixed level and against none, in virtual time and thus exactly. */
import { describe, expect, test } from "bun:test";
import type { Compression } from "../../../src/transfer/compression/compression.ts";
import { type Kind, move, type VirtualMove } from "./virtual-lane.ts";

const fixed: Compression[] = ["off", 1, 3, 6, 9, 13, 16, 18, 19];
const chunks = 2000;
const rounds: Kind[] = ["text", "random", "modules", "ram", "friendly"];

const inputs: Record<string, (i: number) => Kind> = {
  random: () => "random",
  text: () => "text",
  "kernel modules": () => "modules",
  "guest RAM": () => "ram",
  "a mixture that changes every 50 chunks": (i) => rounds[Math.floor(i / 50) % rounds.length]!,
  "random chunks between compressible ones": (i) => (i % 2 === 0 ? "random" : "modules"),
};
/** What "auto" may pay for finding out, at the beginning, where a chunk takes next to no time. */
const friendly = { kind: (): Kind => "friendly", beginningMs: 300 };

const fastLinks = { "40 Gbit/s": 40_000, "10 Gbit/s": 10_000 };
const slowLinks = { "2.5 Gbit/s": 2_500, "1 Gbit/s": 1_000, "100 Mbit/s": 100, "10 Mbit/s": 10 };
const half = (before: number, after: number) => (i: number) => (i < chunks / 2 ? before : after);
const changes = {
  "1 Gbit/s to 100 Mbit/s": half(1_000, 100),
  "100 Mbit/s to 1 Gbit/s": half(100, 1_000),
  "100 Mbit/s to 10 Mbit/s": half(100, 10),
  "10 Mbit/s to 100 Mbit/s": half(10, 100),
  "10 Gbit/s to 1 Gbit/s": half(10_000, 1_000),
  "1 Gbit/s to 10 Gbit/s": half(1_000, 10_000),
};

const bestFixedMs = (plan: VirtualMove) => Math.min(...fixed.map((setting) => move(setting, plan).ms));

for (const rttMs of [0.1, 20]) {
  describe(`a way of ${rttMs} ms there and back`, () => {
    for (const [name, kind] of Object.entries({ ...inputs, friendly: friendly.kind })) {
      for (const [link, rate] of Object.entries(fastLinks)) {
        test(`${name} at ${link} takes at most 3 % longer than without compression`, () => {
          const plan = { chunks, kind, mbitPerSec: () => rate, rttMs };
          expect(move("auto", plan).ms).toBeLessThanOrEqual(move("off", plan).ms * 1.03);
        });
      }
    }

    for (const [name, kind] of Object.entries(inputs)) {
      for (const [link, rate] of Object.entries(slowLinks)) {
        test(`${name} at ${link} takes at most 10 % longer than at the best fixed level`, () => {
          const plan = { chunks, kind, mbitPerSec: () => rate, rttMs };
          expect(move("auto", plan).ms).toBeLessThanOrEqual(bestFixedMs(plan) * 1.1);
        });
      }
      for (const [change, mbitPerSec] of Object.entries(changes)) {
        test(`${name} at a rate that goes from ${change} takes at most 10 % longer than at the best fixed level`, () => {
          const plan = { chunks, kind, mbitPerSec, rttMs };
          expect(move("auto", plan).ms).toBeLessThanOrEqual(bestFixedMs(plan) * 1.1);
        });
      }
    }

    for (const [link, rate] of Object.entries(slowLinks)) {
      test(`data that all but vanishes at ${link} is compressed at once`, () => {
        const plan = { chunks, kind: friendly.kind, mbitPerSec: () => rate, rttMs };
        expect(move("auto", plan).ms).toBeLessThanOrEqual(bestFixedMs(plan) * 1.1 + friendly.beginningMs);
      });
    }
  });
}

describe("a destination that is slower than the link", () => {
  const kinds: Kind[] = ["text", "modules", "ram"];
  // Milliseconds for a chunk as it is, and for one that it has to decompress.
  for (const [rawMs, compressedMs] of [
    [1.5, 2.5],
    [3.3, 5.3],
    [10, 11],
  ] as const) {
    test(`with ${rawMs} ms for a chunk gains nothing by compression, and costs nothing for having tried`, () => {
      for (const kind of kinds) {
        const plan: VirtualMove = {
          chunks,
          kind: () => kind,
          mbitPerSec: () => 40_000,
          rttMs: 0.1,
          destinationMs: (compressed) => (compressed ? compressedMs : rawMs),
        };
        const auto = move("auto", plan);
        expect(auto.ms).toBeLessThanOrEqual(move("off", plan).ms * 1.03);
        expect(auto.levels.get(0)).toBeGreaterThan(chunks * 0.9);
      }
    });
  }

  test("whose speed is such that compressing looks worth it once is found out", () => {
    const plan: VirtualMove = {
      chunks,
      kind: () => "text",
      mbitPerSec: () => 10_000,
      rttMs: 0.1,
      destinationMs: (compressed) => (compressed ? 6.69 : 6),
    };
    const auto = move("auto", plan);
    expect(auto.ms).toBeLessThanOrEqual(move("off", plan).ms * 1.03);
    expect(auto.levels.get(0)).toBeGreaterThan(chunks * 0.95);
  });

  test("is not relieved at the cost of processors that are all busy", () => {
    const plan = (idleShare: number): VirtualMove => ({
      chunks,
      kind: () => "modules",
      mbitPerSec: () => 40_000,
      rttMs: 0.1,
      destinationMs: () => 4,
      idleShare,
    });
    expect(move("auto", plan(0.05)).levels.get(0)).toBeGreaterThan(chunks * 0.99);
    // It is the processors alone: with idle ones compression is given a try.
    expect(move("auto", plan(0.9)).levels.get(0)).toBeLessThan(chunks * 0.99);
  });
});

describe("the levels that are chosen", () => {
  const plan = (kind: (i: number) => Kind, mbitPerSec: number): VirtualMove => ({
    chunks,
    kind,
    mbitPerSec: () => mbitPerSec,
    rttMs: 0.1,
  });

  test("random data goes out as it is, also between compressible data", () => {
    const random = move(
      "auto",
      plan(() => "random", 100),
    );
    expect(random.levels.get(0)).toBe(chunks);
    const mixed = move("auto", plan(inputs["random chunks between compressible ones"]!, 100));
    expect(mixed.levels.get(0)).toBeGreaterThanOrEqual(chunks / 2);
    expect(mixed.levels.get(0)).toBeLessThan(chunks / 2 + 10);
  });

  test("the slower the link, the higher the level", () => {
    const mean = (mbitPerSec: number) => {
      const { levels } = move(
        "auto",
        plan(() => "text", mbitPerSec),
      );
      return [...levels].reduce((sum, [level, count]) => sum + level * count, 0) / chunks;
    };
    const means = [10_000, 1_000, 100, 10, 3].map(mean);
    expect(means).toEqual([...means].sort((a, b) => a - b));
    expect(means[0]).toBeLessThan(0.1);
    expect(means[4]).toBeGreaterThan(12);
  });

  test("no level is tried where the thread has no time to spare", () => {
    const { levels } = move(
      "auto",
      plan(() => "modules", 1_000),
    );
    expect(levels.get(0)! + levels.get(1)!).toBeGreaterThanOrEqual(chunks - 3);
  });

  test("where it has time, others are tried, and the best is found", () => {
    // Level 9 leaves all but what level 6 does, and takes more than twice as long.
    const { levels } = move(
      "auto",
      plan(() => "modules", 200),
    );
    expect(levels.get(3)).toBeGreaterThanOrEqual(3);
    expect(levels.get(6)).toBeGreaterThan(chunks * 0.9);
  });

  test("a link that becomes a hundred times as fast costs three seconds of finding out at most", () => {
    const part = (count: number, mbitPerSec: (i: number) => number) =>
      move("auto", { chunks: count, kind: () => "modules", mbitPerSec, rttMs: 0.1 }).ms;
    const apart = part(100, () => 10) + part(500, () => 1_000);
    expect(part(600, (i) => (i < 100 ? 10 : 1_000))).toBeLessThan(apart + 3_000);
  });

  test("nothing goes out as it is at the beginning of a move on a slow link", () => {
    const { levels } = move("auto", { ...plan(() => "ram", 3), chunks: 40 });
    expect(levels.get(0)).toBeUndefined();
  });

  test("random chunks in between leave time for a higher level on the others", () => {
    const { levels } = move(
      "auto",
      plan((i) => (i % 2 === 0 ? "text" : "random"), 300),
    );
    expect(levels.get(6)).toBeGreaterThan(chunks / 2 - 10);
  });

  test("the same move takes the same way each time", () => {
    const mixture = plan(inputs["a mixture that changes every 50 chunks"]!, 300);
    expect(move("auto", mixture)).toEqual(move("auto", mixture));
  });
});
