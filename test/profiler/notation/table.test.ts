/** Tables and samples as text for files. */
import { describe, expect, test } from "bun:test";
import { csvLines, csvTable, splitTable, type Table } from "../../../src/profiler/notation/table.ts";
import { samplesCsv } from "../../../src/profiler/report/csv.ts";
import { syntheticSamples } from "../../support/files/synthetic-samples.ts";

const table: Table = {
  id: "t",
  title: "A | title",
  columns: [
    { title: "key", align: "left" },
    { title: "one", align: "right" },
    { title: "two", align: "right" },
    { title: "three", align: "right" },
  ],
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

describe("samples as CSV", () => {
  const samples = syntheticSamples({ ramMiB: [128], diskMiB: [0], runs: 2 });
  const [head = "", ...lines] = samplesCsv(samples).trimEnd().split("\n");
  const titles = head.split(",");
  const value = (line: string, title: string) => line.split(",")[titles.indexOf(title)];

  test("has a line a run in the order of measurement, with every figure in full", () => {
    expect(lines.length).toBe(samples.samples.length);
    expect(new Set(titles).size).toBe(titles.length);
    for (const [index, line] of lines.entries()) {
      const sample = samples.samples.find(({ order }) => order === index)!;
      expect(line.split(",").length).toBe(titles.length);
      expect(value(line, "order")).toBe(String(index));
      expect(value(line, "suite")).toBe(sample.suite);
      expect(Number(value(line, "total_ms"))).toBe(sample.totalMs);
      expect(Number(value(line, "source_file_read_ms"))).toBe(sample.source.operationsMs["file-read"]);
      expect(Number(value(line, "destination_user_ms"))).toBe(sample.destination.userMs);
    }
  });

  test("leaves a field empty that was not measured", () => {
    expect(value(lines[0]!, "source_thread_user_ms")).toBe("");
  });

  test("has every number that a sample has", () => {
    const count = (value: unknown): number =>
      typeof value === "object" && value !== null
        ? Object.values(value).reduce((sum: number, one) => sum + count(one), 0)
        : 1;
    // The two times of the working thread on either side are absent here.
    expect(titles.length).toBe(count(samples.samples[0]) + 4);
  });
});
