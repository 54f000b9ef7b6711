/** One zstd frame: what our own compressor writes is read again, and its header says how much it holds. */
import { describe, expect, test } from "bun:test";
import { randomBytes } from "node:crypto";
import { decompressBody, zstdContentBytes } from "../../../src/transfer/compression/zstd-frame.ts";

const sizes = [0, 1, 255, 256, 300, 65_535, 65_791, 65_792, 70_000, 1024 * 1024, 1024 * 1024 + 514];

/** Bytes that shrink, and not to nothing. */
function compressible(bytes: number): Buffer {
  const words = randomBytes(64);
  const content = Buffer.alloc(bytes);
  for (let at = 0; at < bytes; at += 7) words.copy(content, at, (at * at) % 57);
  return content;
}

describe("a frame of our own compressor", () => {
  for (const level of [1, 3, 6, 9, 16, 18, 19]) {
    test(`at level ${level} declares its content, whatever the size, and gives it back`, () => {
      for (const size of sizes) {
        const content = compressible(size);
        const frame = Bun.zstdCompressSync(content, { level });
        expect(zstdContentBytes(frame)).toBe(size);
        expect(decompressBody(frame, size).equals(content)).toBe(true);
      }
    });
  }

  test("of data that does not shrink is read as well", () => {
    const content = randomBytes(300_000);
    expect(decompressBody(Bun.zstdCompressSync(content), content.length).equals(content)).toBe(true);
  });
});
