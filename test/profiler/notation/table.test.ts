/** Tables as text for files, and in pieces. */
import { describe, expect, test } from "bun:test";
import { csvLines, csvTable, splitTable, type Table } from "../../../src/profiler/notation/table.ts";

const table: Table = {
  id: "t",
  title: "A | title",
  columns: ["key", "one", "two", "three"].map((title, n) => ({ title, align: n === 0 ? "left" : "right" })),
  rows: [
    ["a", "1", "22", "333"],
    ["b|c", "<b>", 'say "x", y', "[l](u)"],
  ],
  notes: ["a note"],
};

describe("a table as CSV", () => {
  test("quotes what must be quoted and nothing else", () => {
    expect(csvTable(table)).toBe('key,one,two,three\na,1,22,333\nb|c,<b>,"say ""x"", y",[l](u)\n');
    expect(csvLines([["two\nlines"], []])).toBe('"two\nlines"\n\n');
  });
});

describe("a table for a narrow terminal", () => {
  test("is split into pieces that fit, each with the key columns", () => {
    const simple: Table = { ...table, rows: [["a", "1", "22", "333"]] };
    // key 3, one 3, two 3, three 5, two columns between.
    expect(splitTable(simple, 20, 1).map(({ columns }) => columns.map(({ title }) => title))).toEqual([
      ["key", "one", "two", "three"],
    ]);
    const pieces = splitTable(simple, 19, 1);
    expect(pieces.map(({ columns }) => columns.map(({ title }) => title))).toEqual([
      ["key", "one", "two"],
      ["key", "three"],
    ]);
    expect(pieces.map(({ rows }) => rows)).toEqual([[["a", "1", "22"]], [["a", "333"]]]);
    expect(pieces.map(({ notes }) => notes)).toEqual([[], ["a note"]]);
    expect(pieces.map(({ title }) => title)).toEqual(["A | title", "A | title, continued"]);
  });

  test("keeps a column that is wider than the terminal, alone", () => {
    expect(splitTable(table, 1, 1).map(({ columns }) => columns.length)).toEqual([2, 2, 2]);
  });
});
