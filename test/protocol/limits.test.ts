import { describe, expect, test } from "bun:test";
import {
  chunkBodyBytes,
  chunkCount,
  chunkLength,
  deadlines,
  limits,
  pagesPerChunk,
  runsPerChunk,
} from "../../src/protocol/limits.ts";

const sizes = [
  0,
  1,
  4095,
  4096,
  4097,
  limits.chunkBytes - 1,
  limits.chunkBytes,
  limits.chunkBytes + 1,
  limits.vmBytes,
];

describe("chunks", () => {
  for (const bytes of sizes) {
    test(`of a file of ${bytes} bytes are full but for the last, and are all of it`, () => {
      const count = chunkCount(bytes);
      if (count === 0) {
        expect(bytes).toBe(0);
        return;
      }
      const last = chunkLength(bytes, count - 1);
      expect((count - 1) * limits.chunkBytes + last).toBe(bytes);
      expect(last).toBeGreaterThan(0);
      expect(last).toBeLessThanOrEqual(limits.chunkBytes);
      if (count > 1) expect(chunkLength(bytes, 0)).toBe(limits.chunkBytes);
    });
  }
});

describe("limits", () => {
  test("fit each other", () => {
    expect(limits.chunkBytes % limits.pageBytes).toBe(0);
    expect(pagesPerChunk * limits.pageBytes).toBe(limits.chunkBytes);
    // Every second page is the most runs, since runs are kept apart by a page.
    expect(runsPerChunk).toBe(Math.ceil(pagesPerChunk / 2));
    // A page's number and the count of runs are 16 bits, a chunk's number and a body's length 32.
    expect(pagesPerChunk).toBeLessThan(2 ** 16);
    expect(chunkCount(limits.vmBytes)).toBeLessThan(2 ** 32);
    expect(chunkBodyBytes).toBeLessThan(2 ** 32);
    // Sums of sizes stay whole numbers.
    expect(limits.vmBytes * 2 * limits.files).toBeLessThan(Number.MAX_SAFE_INTEGER);
    // A link is not taken for dead before it had several chances to say something.
    expect(deadlines.silenceMs).toBeGreaterThanOrEqual(3 * deadlines.pingMs);
  });
});
