import { describe, expect, test } from "bun:test";
import { bandwidthShares } from "../../../src/transfer/streams/bandwidth-share.ts";

/** Shares of 30 bytes a second: each stream as [used, allowed]. */
function shares(...streams: [number, number][]): number[] {
  return bandwidthShares(
    30,
    streams.map(([usedBytesPerSec, shareBytesPerSec]) => ({ usedBytesPerSec, shareBytesPerSec })),
  );
}

describe("a bandwidth is divided among streams", () => {
  test("evenly, where all have more to say than they may, or none has", () => {
    expect(shares([10, 10], [9, 10], [10, 10])).toEqual([10, 10, 10]);
    expect(shares([0, 10], [1, 10], [2, 10])).toEqual([10, 10, 10]);
    expect(shares([0, 30])).toEqual([30]);
    expect(shares()).toEqual([]);
  });

  test("so that what the quiet ones leave is for those that have more to say", () => {
    expect(shares([0, 10], [1, 10], [10, 10])).toEqual([10, 10, 29]);
    expect(shares([0, 7.5], [7, 7.5], [7, 7.5], [1, 7.5])).toEqual([7.5, 14.5, 14.5, 7.5]);
  });

  test("and again evenly, once a quiet one uses all that it may", () => {
    expect(shares([29, 29], [10, 10], [1, 10])).toEqual([14.5, 14.5, 10]);
    expect(shares([14, 14.5], [14, 14.5], [10, 10])).toEqual([10, 10, 10]);
  });

  test("and one that needs more than an even part, but not all of its share, is not held back", () => {
    expect(shares([12, 20], [10, 10], [1, 10])).toEqual([17, 17, 10]);
  });

  test("in few rounds, to its whole and never to more, whatever they have to say", () => {
    const seed = Number(Bun.env.TEST_SEED ?? Math.floor(Math.random() * 2 ** 31));
    let random = seed;
    const next = () => {
      random = (Math.imul(random, 1103515245) + 12345) & 0x7fffffff;
      return random / 0x7fffffff;
    };
    for (let step = 0; step < 500; step++) {
      const demands = Array.from({ length: 1 + Math.floor(next() * 8) }, () => next() ** 4 * 100);
      let allowed = demands.map(() => 100 / demands.length);
      const sent = () => demands.map((demand, at) => Math.min(demand, allowed[at]!));
      for (let round = 0; round < 6; round++) {
        const used = sent();
        allowed = bandwidthShares(
          100,
          used.map((usedBytesPerSec, at) => ({ usedBytesPerSec, shareBytesPerSec: allowed[at]! })),
        );
      }
      const all = sent().reduce((total, one) => total + one, 0);
      const wanted = demands.reduce((total, one) => total + one, 0);
      const wrong = all > 100.001 || all < Math.min(100, wanted) * 0.8;
      if (wrong) throw new Error(`${all} of 100 are sent, seed ${seed}: ${demands}; ${allowed}`);
    }
  });
});
