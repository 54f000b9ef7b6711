import { describe, expect, test } from "bun:test";
import { LaneSpread } from "../../../src/transfer/lanes/lane-spread.ts";

describe("lanes that land on the threads of a destination", () => {
  test("stay where each thread has its share, and connect again where one has more", () => {
    const spread = new LaneSpread(4);
    const on = (door: number) => spread.stays({ door, doors: 2 }, 1);
    expect([on(0), on(0), on(0), on(1), on(0), on(1)]).toEqual([true, true, false, true, false, true]);
  });

  test("stay where there are more of them than threads, each with a few", () => {
    const spread = new LaneSpread(3);
    const on = (door: number) => spread.stays({ door, doors: 2 }, 1);
    expect([on(1), on(1), on(1), on(0)]).toEqual([true, true, false, true]);
  });

  test("stay anywhere after a few tries, and where the destination does not tell", () => {
    const spread = new LaneSpread(2);
    expect(spread.stays({ door: 0, doors: 2 }, 1)).toBe(true);
    expect([2, 3, 4, 5].map((tries) => spread.stays({ door: 0, doors: 2 }, tries))).not.toContain(true);
    expect(spread.stays({ door: 0, doors: 2 }, 6)).toBe(true);
    expect(spread.stays(null, 1)).toBe(true);
  });

  test("stay where another connection would be one too many for the destination, which may count a closed one still", () => {
    const spread = new LaneSpread(14);
    const tries = Array.from({ length: 20 }, () => spread.stays({ door: 0, doors: 2 }, 1));
    expect(tries.filter((stays) => !stays).length).toBe(2);
    const all = new LaneSpread(16);
    expect(Array.from({ length: 16 }, () => all.stays({ door: 0, doors: 2 }, 1))).not.toContain(false);
  });

  test("stay where a destination tells nonsense", () => {
    const spread = new LaneSpread(2);
    expect(spread.stays({ door: 7, doors: 0 }, 1)).toBe(true);
  });
});
