import { expect, test } from "bun:test";
import { randomBytes } from "node:crypto";
import { gcm } from "@noble/ciphers/aes.js";
import { limits } from "../../../../src/protocol/limits.ts";
import {
  BlockHasher,
  blockLength,
  blocksOf,
  isNoBlockHash,
} from "../../../../src/transfer/reuse/store/block-hash.ts";

const key = randomBytes(16);
const hasher = new BlockHasher(key);
const { blockBytes, chunkBytes } = limits;

test("a block hash is the first 8 bytes of AES-128-GMAC under a nonce of zeros, as another library has it", () => {
  for (const bytes of [1, 15, 16, 4097, blockBytes]) {
    const block = randomBytes(bytes);
    const tag = gcm(key, new Uint8Array(12), block).encrypt(new Uint8Array(0));
    expect(hasher.hash(block).toString("hex")).toBe(Buffer.from(tag.subarray(0, 8)).toString("hex"));
  }
});

test("a chunk has a block hash for each block, zeros for a block of zeros, and one for a last part", () => {
  const data = Buffer.concat([
    randomBytes(blockBytes),
    Buffer.alloc(blockBytes),
    Buffer.alloc(blockBytes - 1),
    Buffer.of(1),
    randomBytes(5000),
  ]);
  const hashes = hasher.hashes(data);
  expect(hashes.length).toBe(4 * 8);
  expect([0, 1, 2, 3].map((i) => isNoBlockHash(hashes, i))).toEqual([false, true, false, false]);
  expect(hasher.matches(data.subarray(0, blockBytes), hashes, 0)).toBe(true);
  expect(hasher.matches(data.subarray(3 * blockBytes), hashes, 3)).toBe(true);
  expect(hasher.matches(data.subarray(3 * blockBytes), hashes, 0)).toBe(false);
});

test("a last part of zeros has no block hash either, and one with data is not that of the part and zeros", () => {
  expect(isNoBlockHash(hasher.hashes(Buffer.alloc(100)), 0)).toBe(true);
  const part = Buffer.alloc(100, 3);
  const whole = Buffer.concat([part, Buffer.alloc(blockBytes - 100)]);
  expect(hasher.hash(part).equals(hasher.hash(whole))).toBe(false);
});

test("a hash that is zero in one half alone is one", () => {
  expect(isNoBlockHash(Buffer.from("0000000000000001", "hex"), 0)).toBe(false);
  expect(isNoBlockHash(Buffer.from("0100000000000000", "hex"), 0)).toBe(false);
});

test("blocks are counted, and the last one is as long as what is left", () => {
  expect([0, 1, blockBytes, blockBytes + 1, chunkBytes].map(blocksOf)).toEqual([0, 1, 1, 2, 16]);
  expect(blockLength(blockBytes + 7, 0)).toBe(blockBytes);
  expect(blockLength(blockBytes + 7, 1)).toBe(7);
});

test("another key gives other block hashes, and a key of another length is refused", () => {
  const block = randomBytes(blockBytes);
  expect(new BlockHasher(randomBytes(16)).hash(block).equals(hasher.hash(block))).toBe(false);
  expect(() => new BlockHasher(randomBytes(32))).toThrow(RangeError);
});
