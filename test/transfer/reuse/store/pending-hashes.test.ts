import { expect, test } from "bun:test";
import { randomBytes } from "node:crypto";
import { PendingPrints, pendingPrints } from "../../../../src/transfer/reuse/store/pending-hashes.ts";

const prints = randomBytes(3000 * 8);

function filled(): PendingPrints {
  const pending = new PendingPrints();
  for (let i = 0; i < 3000; i++) pending.add(prints, i * 8, 7_000_000 + i);
  return pending;
}

test("what was added comes back once, each with its block, in the order of the leading bits", () => {
  const pending = filled();
  const taken = [...pending.take(1024)];
  expect(taken.map(({ length }) => length)).toEqual([1024, 1024, 952]);
  const all = taken.flat();
  for (const { print, block } of all) {
    const at = (block - 7_000_000) * 8;
    expect(print.equals(prints.subarray(at, at + 8))).toBe(true);
  }
  expect(new Set(all.map(({ block }) => block)).size).toBe(3000);
  const leading = all.map(({ print }) => print.readUInt16BE(0));
  expect(leading).toEqual([...leading].sort((a, b) => a - b));
});

test("taken or cleared, nothing is left", () => {
  const pending = filled();
  for (const _ of pending.take(1024));
  expect([...pending.take(1024)]).toEqual([]);
  const cleared = filled();
  cleared.clear();
  expect(cleared.room).toBe(pendingPrints);
  expect([...cleared.take(1024)]).toEqual([]);
});

test("there is room for a quarter of a million, and no more", () => {
  const pending = new PendingPrints();
  for (let i = 0; i < pendingPrints; i++) pending.add(prints, (i % 3000) * 8, i);
  expect(pending.room).toBe(0);
  expect(() => pending.add(prints, 0, 0)).toThrow(RangeError);
});
