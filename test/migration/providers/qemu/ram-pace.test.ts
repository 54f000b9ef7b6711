/** How much more QEMU may send than crosses the link if the RAM is compressed on its way. */
import { describe, expect, test } from "bun:test";
import { RamPace } from "../../../../src/migration/providers/qemu/ram-pace.ts";

const mebibyte = 1024 ** 2;
const bandwidthBytesPerSec = 40 * mebibyte;

/**
 * Calls `look` `times` times while each MiB on the link carries so many of the RAM; returns QEMU's limits,
 * oldest first.
 */
function tolds(pace: RamPace, ratios: readonly number[], sentEach = 8 * mebibyte): number[] {
  const told: number[] = [];
  let [carried, sent] = [0, 0];
  for (const ratio of ratios) {
    carried += ratio * sentEach;
    sent += sentEach;
    const now = pace.look(carried, sent);
    if (now !== null) told.push(now / bandwidthBytesPerSec);
  }
  return told;
}

const times = (ratio: number, count: number): number[] => Array.from({ length: count }, () => ratio);

describe("where the bandwidth is limited", () => {
  test("QEMU is told nothing while its RAM goes as it is", () => {
    expect(tolds(new RamPace(bandwidthBytesPerSec), times(1, 20))).toEqual([]);
    // The headers of frames, and frames that were sent again, must not change the limit either.
    expect(tolds(new RamPace(bandwidthBytesPerSec), times(0.9, 20))).toEqual([]);
  });

  test("it may say more the more is left out of it, and soon as much as that makes room for", () => {
    const told = tolds(new RamPace(bandwidthBytesPerSec), times(3, 12));
    expect(told.length).toBeGreaterThan(0);
    expect(told).toEqual(told.toSorted((a, b) => a - b));
    expect(told.at(-1)!).toBeGreaterThan(2.6);
    expect(told.at(-1)!).toBeLessThanOrEqual(3);
  });

  test("it is slowed down again where its RAM shrinks no more", () => {
    const told = tolds(new RamPace(bandwidthBytesPerSec), [...times(3, 12), ...times(1, 12)]);
    expect(told.at(-1)!).toBeLessThan(1.1);
  });

  test("it is told of no small change, and of nothing before much has gone", () => {
    expect(tolds(new RamPace(bandwidthBytesPerSec), times(1.08, 50))).toEqual([]);
    const pace = new RamPace(bandwidthBytesPerSec);
    expect(pace.look(10 * mebibyte, 1000)).toBeNull();
    expect(pace.look(10 * mebibyte, 2000)).toBeNull();
  });

  test("RAM that is next to nothing on the link does not let it say what nobody could take", () => {
    const told = tolds(new RamPace(bandwidthBytesPerSec), times(5000, 30));
    expect(told.at(-1)!).toBeLessThanOrEqual(16);
  });
});
