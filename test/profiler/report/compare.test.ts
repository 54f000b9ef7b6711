/** Two profiles: what differs is found, what does not is left alone, and what makes it doubtful is said. */
import { describe, expect, test } from "bun:test";
import { compareSamples } from "../../../src/profiler/report/compare.ts";
import type { Samples } from "../../../src/profiler/statistics/samples.ts";
import { holm } from "../../../src/profiler/statistics/statistics.ts";
import { MigrateError } from "../../../src/protocol/errors.ts";
import {
  type SyntheticOptions,
  syntheticCosts,
  syntheticSamples,
} from "../../support/files/synthetic-samples.ts";

const small: SyntheticOptions = { ramMiB: [128], diskMiB: [0] };
const base = syntheticSamples({ ...small, seed: 1 });

const compared = (b: Samples, a: Samples = base) =>
  compareSamples({ name: "a.json", samples: a }, { name: "b.json", samples: b });

const verdicts = (b: Samples, a?: Samples) =>
  compared(b, a).figures.map(({ suite, figure, verdict }) => `${suite} ${figure}: ${verdict}`);

describe("comparing two profiles", () => {
  test("finds the suite and the side that cost less, and nothing else", () => {
    const source = { ...syntheticCosts.tls.source, encrypt: 120 };
    const found = verdicts(
      syntheticSamples({ ...small, seed: 2, costs: { tls: { ...syntheticCosts.tls, source } } }),
    );
    expect(found.length).toBe(15);
    expect(found.filter((line) => !line.endsWith("~"))).toEqual(["tls source CPU: less"]);
  });

  test("tells more from less, from B's side", () => {
    const dearer = syntheticSamples({
      ...small,
      seed: 3,
      bend: (sample) => ({ ...sample, totalMs: sample.totalMs * 1.5 }),
    });
    expect(verdicts(dearer).filter((line) => line.endsWith(": more"))).toEqual(
      ["insecure", "tls", "aes-128", "rc4", "3des"].map((suite) => `${suite} total time: more`),
    );
    expect(verdicts(base, dearer).filter((line) => line.endsWith(": less")).length).toBe(5);
  });

  /**
   * 200 pairs of profiles that differ by chance alone, 15 figures each. By Holm's method at most one pair in
   * twenty shows a difference anywhere: 10 of 200, with a standard deviation of 3.1; 26 is five of them
   * away. Without it about half of the pairs would.
   */
  test("cries wolf over equal profiles in at most one comparison of twenty", () => {
    const seed = Number(Bun.env.TEST_SEED ?? Math.floor(Math.random() * 2 ** 31));
    let wolves = 0;
    for (let pair = 0; pair < 200; pair++) {
      const a = syntheticSamples({ ...small, seed: seed + 2 * pair });
      const b = syntheticSamples({ ...small, seed: seed + 2 * pair + 1 });
      if (compared(b, a).figures.some(({ verdict }) => verdict !== "~")) wolves++;
    }
    if (wolves > 26) throw new Error(`${wolves} of 200 equal pairs differ, TEST_SEED=${seed}`);
  });

  test("gives no verdict for fewer than five runs, on either side, and warns", () => {
    const few = syntheticSamples({ ...small, seed: 2, runs: 4 });
    for (const found of [compared(few), compared(base, few)]) {
      expect(found.figures.every(({ verdict, p }) => verdict === "too few runs" && p === undefined)).toBe(
        true,
      );
      expect(found.warnings.join()).toContain("fewer than 5 runs");
      expect(found.table.rows[0]!.at(-1)).toBe("too few runs");
    }
  });

  test("warns of each thing in the environment that was not the same, and of nothing that was", () => {
    expect(compared(syntheticSamples({ ...small, seed: 2 })).warnings).toEqual([]);
    const other = syntheticSamples({
      ...small,
      seed: 2,
      partial: true,
      zeroBytesSent: false,
      environment: {
        cpu: "Other CPU",
        cores: 8,
        kernel: "Linux 7",
        bun: "1.5.0",
        migrate: "9",
        link: "10.0.0.2",
      },
    });
    const warnings = compared(other).warnings.join("\n");
    for (const word of [
      "the CPU (A: Synthetic CPU at 2.00GHz; B: Other CPU)",
      "cores",
      "kernel",
      "Bun",
      "migrate",
      "link",
    ])
      expect(warnings).toContain(word);
    expect(warnings).toContain("A sent zero bytes like all others, B did not");
    expect(warnings).toContain("b.json was cut short");
  });

  test("says what only one of them has, and compares the rest", () => {
    const other = syntheticSamples({
      ramMiB: [128, 256],
      diskMiB: [0],
      seed: 2,
      suites: ["insecure", "tls"],
    });
    const found = compared(other);
    expect(found.figures.length).toBe(6);
    expect(found.warnings).toEqual([
      "Only in a.json, so not compared: aes-128 128 MiB; rc4 128 MiB; 3des 128 MiB.",
      "Only in b.json, so not compared: insecure 256 MiB; tls 256 MiB.",
    ]);
  });

  test("of a profile with itself says so and finds nothing", () => {
    const found = compared(base);
    expect(found.warnings).toEqual(["A and B are the same profile."]);
    expect(found.figures.every(({ verdict }) => verdict === "~")).toBe(true);
  });

  test("keeps the two engines apart", () => {
    const full = syntheticSamples({ ...small, engine: "full" });
    expect(() => compared(full)).toThrow(MigrateError);
    const both = { ...full, samples: [...base.samples, ...full.samples] };
    expect(compared(both, both).table.columns.map(({ title }) => title)).toContain("engine");
  });

  test("of profiles with nothing in common is refused with what to do", () => {
    try {
      compared(syntheticSamples({ ramMiB: [64], diskMiB: [0] }));
      throw new Error("it was compared");
    } catch (thrown) {
      expect(thrown).toMatchObject({
        code: "usage",
        message: "a.json and b.json have nothing in common: no suite at the same RAM and disk size",
        hint: expect.stringContaining("--ram"),
      });
    }
  });

  test("has a row a figure, as many cells as columns", () => {
    const { table, figures } = compared(syntheticSamples({ ...small, seed: 2 }));
    expect(table.rows.length).toBe(figures.length);
    for (const row of table.rows) expect(row.length).toBe(table.columns.length);
    expect(table.notes.join()).toContain("not in its interval");
  });
});

test("Holm's method raises each p by the number of tests still open, and never turns their order round", () => {
  // The example of R's p.adjust(c(0.01, 0.04, 0.03, 0.005), "holm").
  expect(holm([0.01, 0.04, 0.03, 0.005]).map((p) => Number(p.toFixed(6)))).toEqual([0.03, 0.06, 0.06, 0.02]);
  expect(holm([0.9, 0.8])).toEqual([1, 1]);
  expect(holm([])).toEqual([]);
});
