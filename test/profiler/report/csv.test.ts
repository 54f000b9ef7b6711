import { describe, expect, test } from "bun:test";
import { samplesCsv } from "../../../src/profiler/report/csv.ts";
import { syntheticSamples } from "../../support/files/synthetic-samples.ts";

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
