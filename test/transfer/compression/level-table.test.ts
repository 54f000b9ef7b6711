/** What is known of the levels, and how it follows the data. */
import { describe, expect, test } from "bun:test";
import { LevelTable, levels } from "../../../src/transfer/compression/level-table.ts";

/** A table that has seen that many chunks, all of them alike. */
function fed(
  chunks: number,
  ...chunk: [level: (typeof levels)[number], part: number, ms: number]
): LevelTable {
  const table = new LevelTable();
  for (let n = 0; n < chunks; n++) table.compressed(...chunk);
  return table;
}

test("each higher level is taken to leave less and to take longer", () => {
  const table = new LevelTable();
  for (const [i, level] of levels.entries()) {
    const lower = levels[i - 1];
    if (lower === undefined) continue;
    expect(table.part(level)).toBeLessThan(table.part(lower));
    expect(table.msPerMiB(level)).toBeGreaterThan(table.msPerMiB(lower));
  }
});

describe("what one level did to the data", () => {
  test("says what the others would do", () => {
    const table = new LevelTable();
    const [part, ms] = [table.part(9), table.msPerMiB(9)];
    for (let i = 0; i < 10; i++) table.compressed(1, 0.7, 4);
    expect(table.part(1)).toBeCloseTo(0.7, 2);
    expect(table.msPerMiB(1)).toBeCloseTo(4, 1);
    expect(table.part(9)).toBeCloseTo(part * 2, 2);
    expect(table.msPerMiB(9)).toBeCloseTo(ms * 2, 1);
  });

  test("is the same picture whichever level it was", () => {
    const table = fed(10, 6, 0.5, 10);
    expect(table.part(6)).toBeCloseTo(0.5, 2);
    expect(table.msPerMiB(6)).toBeCloseTo(10, 1);
    expect(table.part(1)).toBeGreaterThan(0.5);
    expect(table.msPerMiB(1)).toBeLessThan(10);
  });

  test("is turned by three chunks of another kind", () => {
    const table = fed(100, 1, 0.1, 1);
    for (let i = 0; i < 3; i++) table.compressed(1, 0.9, 3);
    expect(table.part(1)).toBeGreaterThan(0.75);
    expect(table.msPerMiB(1)).toBeGreaterThan(2.5);
  });
});

test("levels that meet on neighbouring chunks correct how they differ", () => {
  const table = new LevelTable();
  for (let i = 0; i < 30; i++) {
    table.compressed(1, 0.4, 2);
    table.compressed(9, 0.1, 30);
  }
  expect([table.seen(3), table.seen(9)]).toEqual([0, 30]);
  expect(table.part(1)).toBeCloseTo(0.4, 2);
  expect(table.part(9)).toBeCloseTo(0.1, 2);
  expect(table.msPerMiB(9)).toBeCloseTo(30, 0);
});

test("a chunk during which the thread was held up does not spoil the picture", () => {
  const table = fed(10, 1, 0.4, 2);
  table.compressed(1, 0.4, 5_000);
  expect(table.msPerMiB(1)).toBeLessThan(6);
  const [before] = [table.msPerMiB(9)];
  table.compressed(9, 0.3, 50_000);
  expect(table.msPerMiB(9)).toBeLessThan(before * 4);
});

test("a piece weighs by its size: four of a quarter as one of 1 MiB", () => {
  const [pieces, whole] = [new LevelTable(), new LevelTable()];
  for (let i = 0; i < 4; i++) pieces.compressed(1, 0.7, 4, 0.25);
  whole.compressed(1, 0.7, 4);
  expect(pieces.part(1)).toBeCloseTo(whole.part(1), 9);
  expect(pieces.msPerMiB(1)).toBeCloseTo(whole.msPerMiB(1), 9);
});

test("a sample shifts the data and leaves the levels as they differ", () => {
  const table = new LevelTable();
  const factor = table.part(6) / table.part(1);
  for (let i = 0; i < 10; i++) table.sampled(0.2, 1);
  expect(table.part(1)).toBeCloseTo(0.2, 2);
  expect(table.msPerMiB(1)).toBeCloseTo(1, 1);
  expect(table.part(6) / table.part(1)).toBeCloseTo(factor, 6);
});
