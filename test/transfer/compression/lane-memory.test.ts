import { describe, expect, test } from "bun:test";
import { ChunkCompressor } from "../../../src/transfer/compression/chunk-compressor.ts";
import { highestLevelOf, mostLanes } from "../../../src/transfer/compression/lane-memory.ts";

describe("lanes that compress", () => {
  test("are fewer the higher their level is, and as many as there may be without one", () => {
    expect([1, 3, 4, 6, 7, 9, 10, 12, 13, 19].map(mostLanes)).toEqual([8, 8, 5, 5, 3, 3, 3, 3, 2, 2]);
    expect((["off", "auto"] as const).map(mostLanes)).toEqual([16, 8]);
  });

  test("keep to lower levels the more of them there are", () => {
    expect([1, 2, 3, 4, 5, 8, 9, 16].map(highestLevelOf)).toEqual([19, 19, 12, 6, 6, 3, 3, 3]);
  });

  test("never choose a level above their highest, however slow the link is", () => {
    let nowMs = 0;
    const levels = new Set<number>();
    const engine = (data: Buffer, level: number) => {
      levels.add(level);
      nowMs += level / 10;
      return data.subarray(0, data.length / (2 + Math.ceil(level / 3)));
    };
    const tools = { nowMs: () => nowMs, engine, idleShare: () => 1 };
    const reached = (mostLevel: number) => {
      levels.clear();
      const compressor = new ChunkCompressor("auto", { ...tools, mostLevel });
      for (let chunk = 0; chunk < 400; chunk++) {
        const frame = compressor.compress(Buffer.alloc(1024 * 1024, 1));
        nowMs += 500;
        compressor.acknowledged(frame?.length ?? 1024 * 1024);
        compressor.waited(500);
      }
      return Math.max(...levels);
    };
    expect(reached(3)).toBe(3);
    expect(reached(19)).toBeGreaterThan(6);
  });
});
