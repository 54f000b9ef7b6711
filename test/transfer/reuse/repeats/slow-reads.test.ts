import { afterEach, beforeEach, expect, spyOn, test } from "bun:test";
import { SlowReads } from "../../../../src/transfer/reuse/repeats/slow-reads.ts";

let nowMs: number;
let clock: ReturnType<typeof spyOn<Performance, "now">>;
beforeEach(() => {
  nowMs = 0;
  clock = spyOn(performance, "now").mockImplementation(() => nowMs);
});
afterEach(() => clock.mockRestore());

const reads = new SlowReads();
/** Reads of so many milliseconds each. */
const read = (times: number, ms: number) => {
  for (let i = 0; i < times; i++) reads.read(() => (nowMs += ms) > 0);
};

test("eight reads of a chunk that take as long as a disk's are too many, quick ones in between or not", () => {
  reads.begin();
  read(200, 0.002);
  read(7, 0.1);
  read(50, 0.002);
  expect(reads.areTooMany).toBe(false);
  read(1, 0.1);
  expect(reads.areTooMany).toBe(true);
  reads.begin();
  expect(reads.areTooMany).toBe(false);
});

test("a thread that is interrupted for long, once or twice, has no slow disk", () => {
  reads.begin();
  read(3, 40);
  read(250, 0.004);
  expect(reads.areTooMany).toBe(false);
});

test("what a read gives is given on", () => {
  expect(reads.read(() => true)).toBe(true);
  expect(reads.read(() => false)).toBe(false);
});
