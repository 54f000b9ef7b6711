import { describe, expect, test } from "bun:test";
import { limits } from "../../../src/protocol/limits.ts";
import { SourceTags } from "../../../src/transfer/chunks/source-tags.ts";
import { zeroTag } from "../../../src/transfer/chunks/tag-table.ts";
import { seeded } from "../../support/system/random.ts";

describe("the source's tags", () => {
  test("know which were computed, also of chunks of zeros", () => {
    const random = seeded("the source's tags");
    const tags = new SourceTags(77 * limits.chunkBytes - 5);
    const known = new Set<number>();
    for (let i = 0; i < 40; i++) {
      const index = random.below(tags.chunks);
      tags.set(index, random.chance(0.5) ? zeroTag : Buffer.alloc(limits.tagBytes, 1));
      known.add(index);
      for (let chunk = 0; chunk < tags.chunks; chunk++) expect(tags.isKnown(chunk)).toBe(known.has(chunk));
    }
  });

  test("know nothing at first, nothing of an empty file, and nothing outside of one", () => {
    const tags = new SourceTags(limits.chunkBytes);
    expect(tags.isKnown(0)).toBe(false);
    expect(() => tags.set(1, zeroTag)).toThrow(RangeError);
    expect(tags.isKnown(1)).toBe(false);
    expect(new SourceTags(0).isKnown(0)).toBe(false);
  });
});
