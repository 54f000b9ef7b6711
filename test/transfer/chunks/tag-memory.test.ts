/** The tags of many large sparse VMs: they take no more memory than they may, and stay what they are. */
import { afterEach, beforeEach, expect, test } from "bun:test";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { limits } from "../../../src/protocol/limits.ts";
import { TagTable } from "../../../src/transfer/chunks/tag-table.ts";
import { seeded } from "../../support/system/random.ts";

const { tagBytes, vmBytes, chunkBytes, inventoryTags } = limits;
let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "migrate-tags-"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

test("eight VMs of 8 TiB with a page here and there do not take a gigabyte of tags", async () => {
  const random = seeded("tags of sparse VMs");
  const tables = Array.from({ length: 8 }, () => new TagTable(vmBytes, folder));
  Bun.gc(true);
  const before = process.memoryUsage.rss();
  const known = new Map<string, Buffer>();
  for (let slab = 0; slab < vmBytes / chunkBytes / inventoryTags; slab++) {
    for (const [i, table] of tables.entries()) {
      const index = slab * inventoryTags + random.below(inventoryTags);
      const tag = random.bytes(tagBytes);
      table.set(index, tag);
      if (slab % 97 === 0) known.set(`${i}:${index}`, Buffer.from(tag));
    }
  }
  Bun.gc(true);
  expect(process.memoryUsage.rss() - before).toBeLessThan(128 * 1024 * 1024);
  expect(readdirSync(folder)).toEqual([]);
  for (const [place, tag] of known) {
    const [i, index] = place.split(":").map(Number);
    expect(tables[i!]!.get(index!).equals(tag)).toBe(true);
  }
  expect(tables[0]!.heldBytes).toBe((vmBytes / chunkBytes / inventoryTags) * chunkBytes);
  for (const table of tables) table.close();
});

test("what was written out is the same as what was not, after any changes", async () => {
  const random = seeded("tags written out and not");
  const bytes = 2000 * inventoryTags * chunkBytes;
  const one = new TagTable(bytes, folder);
  const crowd = new TagTable(bytes, folder);
  const plain = new TagTable(bytes);
  for (let round = 0; round < 4000; round++) {
    const index = random.below(2000) * inventoryTags + random.below(3);
    const tag = random.chance(0.2) ? Buffer.alloc(tagBytes) : random.bytes(tagBytes);
    one.set(index, tag);
    plain.set(index, tag);
    crowd.set(random.below(plain.chunks), random.bytes(tagBytes));
    if (round % 10 === 0) expect(one.get(index).equals(plain.get(index))).toBe(true);
  }
  expect(one.heldBytes).toBe(plain.heldBytes);
  expect(await one.digestInTurns()).toBe(plain.digest());
  const firsts = (table: TagTable) => [...table.stretches()].map(({ first }) => first);
  for (const first of firsts(plain).slice(0, 50))
    expect(one.range(first, 10).equals(plain.range(first, 10))).toBe(true);
  one.close();
  crowd.close();
});
