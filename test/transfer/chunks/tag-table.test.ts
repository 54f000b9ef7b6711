import { afterEach, describe, expect, mock, test } from "bun:test";
import { sha256 } from "@noble/hashes/sha2.js";
import { limits } from "../../../src/protocol/limits.ts";
import { TagTable, vmDigest, zeroTag } from "../../../src/transfer/chunks/tag-table.ts";
import { allocations } from "../../protocol/allocations.ts";
import { seeded } from "../../support/system/random.ts";

afterEach(() => mock.restore());

const { chunkBytes, tagBytes, vmBytes } = limits;
const tagOf = (n: number) => Buffer.alloc(tagBytes, n);

/** The digest as SPEC.md writes it, over a plain list of tags. */
function slowDigest(bytes: number, tags: readonly Uint8Array[]): string {
  const size = Buffer.alloc(8);
  size.writeBigUInt64BE(BigInt(bytes));
  return `sha256:${Buffer.from(sha256(Buffer.concat([Buffer.from("migrate file v1\0"), size, ...tags]))).toString("hex")}`;
}

describe("a tag table", () => {
  // [DIGEST-1]
  test("is what a plain list of tags would be", () => {
    const random = seeded("tag tables against a list");
    for (let round = 0; round < 30; round++) {
      const bytes = random.below(round < 25 ? 20 * chunkBytes : 9000 * chunkBytes);
      const table = new TagTable(bytes);
      const list = Array.from({ length: table.chunks }, () => zeroTag);
      for (let change = 0; table.chunks > 0 && change < 50; change++) {
        const index = random.below(table.chunks);
        const tag = random.chance(0.2) ? zeroTag : random.bytes(tagBytes);
        table.set(index, tag);
        list[index] = tag;
      }
      expect(table.digest()).toBe(slowDigest(bytes, list));
      const first = random.below(table.chunks + 1);
      const count = random.below(table.chunks - first + 1);
      expect(table.range(first, count).equals(Buffer.concat(list.slice(first, first + count)))).toBe(true);
      for (let index = 0; index < Math.min(50, table.chunks); index++) {
        expect(table.get(index)).toEqual(list[index]!);
        expect(table.isZero(index)).toBe(list[index]!.equals(zeroTag));
      }
    }
  });

  test("of the largest VM costs nothing until it holds something", () => {
    const asked = allocations();
    const table = new TagTable(vmBytes);
    table.set(table.chunks - 1, tagOf(1));
    table.set(0, zeroTag);
    expect([...table.stretches()]).toEqual([{ first: table.chunks - 4096, count: 4096 }]);
    expect(asked.sum()).toBeLessThan(1024 ** 2);
  });

  test("names the stretches that may hold more than zeros, in order and within the file", () => {
    const table = new TagTable(10_000 * chunkBytes - 1);
    table.set(9999, tagOf(9));
    table.set(5, tagOf(1));
    expect([...table.stretches()]).toEqual([
      { first: 0, count: 4096 },
      { first: 8192, count: 10_000 - 8192 },
    ]);
    expect([...new TagTable(0).stretches()]).toEqual([]);
  });

  test("takes no tag outside the file or of another length", () => {
    const table = new TagTable(2 * chunkBytes);
    expect(() => table.set(2, tagOf(1))).toThrow(RangeError);
    expect(() => table.set(-1, tagOf(1))).toThrow(RangeError);
    expect(() => table.set(0, Buffer.alloc(15))).toThrow(RangeError);
    expect(() => new TagTable(0).set(0, tagOf(1))).toThrow(RangeError);
    expect(table.digest()).toBe(new TagTable(2 * chunkBytes).digest());
  });

  test("never changes what stands for zeros", () => {
    const table = new TagTable(2 * chunkBytes);
    table.set(0, tagOf(1));
    new TagTable(chunkBytes).get(0);
    expect(zeroTag).toEqual(Buffer.alloc(tagBytes));
    expect(new TagTable(chunkBytes).isZero(0)).toBe(true);
  });

  test("has another digest for another size, even where the tags are the same", () => {
    const digests = [1, 4096, chunkBytes - 1, chunkBytes].map((bytes) => new TagTable(bytes).digest());
    expect(new Set(digests).size).toBe(4);
  });
});

describe("a VM's digest", () => {
  const file = (kind: string, name: string, digest = "sha256:00") => ({ kind, name, digest });

  // [DIGEST-2]
  test("tells apart all that could be put together in two ways", () => {
    const digests = [
      vmDigest("a", [file("ram", "b")]),
      vmDigest("ar", [file("am", "b")]),
      vmDigest("a", [file("ram", "bsha256:", "00")]),
      vmDigest("a", []),
      vmDigest("", [file("a", "ram", "b")]),
      vmDigest("a", [file("ram", "b"), file("ram", "b")]),
      vmDigest("a", [file("disk", "b")]),
      vmDigest("a", [file("ram", "c")]),
      vmDigest("a", [file("ram", "b", "sha256:01")]),
    ];
    expect(new Set(digests).size).toBe(digests.length);
  });
});
