import { expect, test } from "bun:test";
import { randomBytes } from "node:crypto";
import { mostPendingHashes, PendingHashes } from "../../../../src/transfer/reuse/store/pending-hashes.ts";

const hashes = randomBytes(3000 * 8);

function filled(): PendingHashes {
  const pending = new PendingHashes();
  for (let i = 0; i < 3000; i++) pending.add(hashes, i * 8, 7_000_000 + i);
  return pending;
}

test("what was added comes back once, each with its block, in the order of the leading bits", () => {
  const pending = filled();
  const taken = [...pending.take(1024)];
  expect(taken.map(({ length }) => length)).toEqual([1024, 1024, 952]);
  const all = taken.flat();
  for (const { hash, block } of all) {
    const at = (block - 7_000_000) * 8;
    expect(hash.equals(hashes.subarray(at, at + 8))).toBe(true);
  }
  expect(new Set(all.map(({ block }) => block)).size).toBe(3000);
  const leading = all.map(({ hash }) => hash.readUInt16BE(0));
  expect(leading).toEqual([...leading].sort((a, b) => a - b));
});

test("taken or cleared, nothing is left", () => {
  const pending = filled();
  for (const _ of pending.take(1024));
  expect([...pending.take(1024)]).toEqual([]);
  const cleared = filled();
  cleared.clear();
  expect(cleared.room).toBe(mostPendingHashes);
  expect([...cleared.take(1024)]).toEqual([]);
});

test("there is room for a quarter of a million, and no more", () => {
  const pending = new PendingHashes();
  for (let i = 0; i < mostPendingHashes; i++) pending.add(hashes, (i % 3000) * 8, i);
  expect(pending.room).toBe(0);
  expect(() => pending.add(hashes, 0, 0)).toThrow(RangeError);
});
