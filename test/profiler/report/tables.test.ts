/** The tables: golden ones from recorded samples, and what each must say when something is amiss. */
import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { Table } from "../../../src/profiler/notation/table.ts";
import { profileAdvice } from "../../../src/profiler/report/advice.ts";
import { claimsTitle, judgeClaims } from "../../../src/profiler/report/claims.ts";
import { setupTable } from "../../../src/profiler/report/cost-tables.ts";
import { type Judgement, verdictRule } from "../../../src/profiler/report/judgement.ts";
import { profileTables } from "../../../src/profiler/report/tables.ts";
import { parseSamples } from "../../../src/profiler/runs/parse-samples.ts";
import { settingsOf } from "../../../src/profiler/statistics/cells.ts";
import type { Sample, Samples } from "../../../src/profiler/statistics/samples.ts";
import { mean } from "../../../src/profiler/statistics/statistics.ts";
import { expectGolden } from "../../support/files/golden.ts";
import { markdownTable } from "../../support/files/markdown-table.ts";
import {
  type SyntheticOptions,
  syntheticCosts,
  syntheticSamples,
} from "../../support/files/synthetic-samples.ts";

const recorded = parseSamples(
  readFileSync(join(import.meta.dir, "../../../docs/thesis-run.json"), "utf8"),
  "../../../docs/thesis-run.json",
);

const small: SyntheticOptions = { ramMiB: [128, 1024], diskMiB: [0] };

function tableOf(samples: Samples, id: string): Table {
  const found = profileTables(samples).find((one) => one.id === id);
  if (found === undefined) throw new Error(`no table ${id}`);
  return found;
}

const table = (id: string, options: SyntheticOptions): Table => tableOf(syntheticSamples(options), id);

/** The judgements as a table, with the rule of each as a note. */
function claimsTable(judgements: readonly Judgement[]): Table {
  return {
    id: "claims",
    title: claimsTitle,
    columns: [
      { title: "claim", align: "left" },
      { title: "verdict", align: "left" },
      { title: "why", align: "left" },
    ],
    rows: judgements.map(({ claim, verdict, sentence }) => [claim, verdict, sentence]),
    notes: [verdictRule, ...judgements.map(({ id, rule }) => `${id}: ${rule}`)],
  };
}

/** The cell of a suite in the row of a RAM size and a measure ("CPU s", "median" …); undefined without such a row. */
function cell(of: Table, ramMiB: string, measure: string, suite: string): string | undefined {
  const first = of.rows.findIndex((row) => row[0] === ramMiB);
  const next = of.rows.findIndex((row, index) => index > first && row[0] !== "");
  const rows = of.rows.slice(first, next === -1 ? undefined : next);
  const column = of.columns.findIndex(({ title }) => title === suite);
  return rows.find((row) => row[1] === measure)?.[column];
}

describe("the tables of recorded samples", () => {
  test("are those that were looked at", () => {
    expectGolden("tables.md", profileTables(recorded).map(markdownTable).join("\n"));
  });

  test("and the judgements on them, and the advice, are those that were looked at", () => {
    expectGolden("claims.md", markdownTable(claimsTable(judgeClaims(recorded))));
    expectGolden("advice.txt", `${profileAdvice(recorded).join("\n\n")}\n`);
  });

  test("have an identifier each, and as many cells in a row as columns", () => {
    const tables = profileTables(recorded);
    expect(new Set(tables.map(({ id }) => id)).size).toBe(tables.length);
    for (const { columns, rows } of tables) {
      expect(rows.length).toBeGreaterThan(0);
      for (const row of rows) expect(row.length).toBe(columns.length);
    }
  });
});

describe("tables 6.3 and 6.4", () => {
  test("give the mean and median of the samples, and the ratio to insecure beside the thesis's", () => {
    const samples = syntheticSamples(small);
    const found = tableOf(samples, "6.3-source");
    const cpu = (suite: string) =>
      samples.samples
        .filter((one) => one.suite === suite && one.ramBytes === 2 ** 30)
        .map(({ source }) => source.userMs + source.systemMs - source.clockMs);
    expect(cell(found, "1024", "CPU s", "aes-128")).toStartWith(
      `${(mean(cpu("aes-128")) / 1000).toFixed(2)} ± `,
    );
    expect(cell(found, "1024", "× insecure", "aes-128")).toStartWith(
      (mean(cpu("aes-128")) / mean(cpu("insecure"))).toFixed(2),
    );
    // 25.76 / 13.08 and 2.58 / 1.69, as the thesis has them.
    expect(cell(found, "1024", "thesis ×", "aes-128")).toBe("1.97");
    expect(cell(found, "128", "thesis ×", "rc4")).toBe("1.53");
    expect(cell(found, "1024", "thesis ×", "tls")).toBe("(1.97)");
    expect(cell(found, "1024", "thesis ×", "insecure")).toBe("–");
  });

  test("are apart for source and destination, without and with a disk, and for the product's own engine", () => {
    const ids = (options: SyntheticOptions) => profileTables(syntheticSamples(options)).map(({ id }) => id);
    expect(ids({ ramMiB: [128], diskMiB: [0, 512] })).toEqual([
      "6.3-source",
      "6.3-destination",
      "6.4-source-512",
      "6.4-destination-512",
      "6.5",
      "6.5-512",
      "shares-source",
      "shares-destination",
      "shares-source-512",
      "shares-destination-512",
      "setup",
    ]);
    expect(ids({ ...small, engine: "full" })).toContain("6.3-source-full");
    expect(cell(table("6.4-destination-512", { diskMiB: [512] }), "1024", "thesis ×", "aes-128")).toBe(
      "1.92",
    );
  });

  test("show the thesis's span where it has not the RAM size", () => {
    const found = table("6.3-source", { ramMiB: [32], diskMiB: [0] });
    expect(cell(found, "32", "thesis ×", "3des")).toBe("5.89…6.85");
    expect(found.notes.join()).toContain("least and largest ratio");
  });

  test("say that there is no significant difference where there is none", () => {
    const same = { ...syntheticCosts.insecure, setupWallMs: 24 };
    const found = table("6.3-source", { ...small, costs: { tls: same } });
    expect(cell(found, "1024", "× insecure", "tls")).toEndWith("] ~");
    expect(cell(found, "1024", "× insecure", "rc4")).toEndWith("]");
    expect(found.notes.join()).toContain("~ no significant difference");
  });

  test("give a warning in place of an interval for fewer than five runs", () => {
    const found = table("6.3-source", { ...small, runs: 3 });
    expect(cell(found, "1024", "CPU s", "tls")).toMatch(/^0\.\d+ \(3 runs\)$/);
    expect(cell(found, "1024", "× insecure", "tls")).toMatch(/^1\.\d+$/);
    expect(found.notes[0]).toStartWith("Warning: fewer than 5 runs");
  });

  test("say how much is unaccounted for where the named operations are below 90 %, and only there", () => {
    const { insecure } = syntheticCosts;
    const costs = { insecure: { ...insecure, source: { "file-read": 100, "socket-write": 500, rest: 200 } } };
    const found = table("6.3-source", { ...small, costs });
    expect(cell(found, "1024", "unaccounted", "insecure")).toBe("25 %");
    expect(cell(found, "1024", "unaccounted", "tls")).toBe("–");
    expect(found.notes.join()).toContain('"unaccounted" is');
    const fine = table("6.3-source", small);
    expect(cell(fine, "1024", "unaccounted", "insecure")).toBeUndefined();
    expect(fine.notes.join()).not.toContain("unaccounted");
  });

  test("say whether zero bytes were sent, and that a profile was cut short", () => {
    const notes = (options: SyntheticOptions) =>
      table("6.3-source", { ...small, ...options }).notes.join(" ");
    expect(notes({})).toContain("Zero bytes were sent like all others, as in the thesis.");
    expect(notes({ zeroBytesSent: false })).toContain("Zero bytes were not sent, unlike in the thesis");
    expect(notes({ partial: true })).toContain("cut short");
    expect(notes({})).not.toContain("cut short");
  });

  test("do without insecure, and without a suite at one size", () => {
    const alone = table("6.3-source", { ...small, suites: ["rc4"] });
    expect(alone.rows.map((row) => row[1])).toEqual(["CPU s", "median", "CPU s", "median"]);
    const samples = syntheticSamples(small);
    samples.samples = samples.samples.filter(
      ({ suite, ramBytes }) => suite !== "rc4" || ramBytes === 2 ** 30,
    );
    const gap = tableOf(samples, "6.3-source");
    expect(cell(gap, "128", "CPU s", "rc4")).toBe("–");
    expect(cell(gap, "128", "× insecure", "rc4")).toBe("–");
  });
});

describe("table 6.5", () => {
  test("gives the total time, what is added to insecure's, and what is known of the thesis's", () => {
    const bend = (sample: Sample) => ({ ...sample, totalMs: sample.suite === "rc4" ? 13_000 : 10_000 });
    const found = table("6.5", { ...small, bend });
    expect(cell(found, "1024", "total s", "rc4")).toBe("13.00 ± 0.00");
    expect(cell(found, "1024", "added s", "rc4")).toBe("3.00 [3.00, 3.00]");
    expect(cell(found, "1024", "× insecure", "rc4")).toBe("1.30 [1.30, 1.30]");
    expect(cell(found, "128", "thesis ×", "rc4")).toBe("about 1.32");
    expect(cell(found, "1024", "thesis ×", "tls")).toBe("–");
  });

  test("keeps suspending and resuming apart", () => {
    const notes = (bend: (sample: Sample) => Sample) => table("6.5", { ...small, bend }).notes.join(" ");
    expect(notes((sample) => ({ ...sample, suspendMs: 120, resumeMs: 40 }))).toContain(
      "suspending (0.120 s on average) and resuming (0.040 s)",
    );
    expect(notes((sample) => ({ ...sample, suspendMs: 0, resumeMs: 0 }))).toContain("files were made up");
  });
});

describe("where the time went", () => {
  test("the shares of all operations and the rest make up the whole", () => {
    for (const side of ["source", "destination"] as const) {
      const { rows } = table(`shares-${side}`, small);
      const parts = rows.slice(0, -1).map((row) => Number.parseFloat(row[2]!) || 0);
      expect(parts.reduce((sum, part) => sum + part, 0)).toBeGreaterThan(98);
      expect(parts.reduce((sum, part) => sum + part, 0)).toBeLessThan(102);
    }
    expect(table("shares-source", small).rows.map((row) => row[0])).toEqual([
      "file-read",
      "encrypt",
      "mac",
      "socket-write",
      "rest",
      "all but the rest",
    ]);
  });

  test("the shares say how the cryptography of tls was told from its socket calls, and with what error", () => {
    const tlsShare = { source: { share: 0.31, error: 0.02 }, destination: { share: 0.27, error: 0.03 } };
    const notes = (options: SyntheticOptions) =>
      table("shares-source", { ...small, ...options }).notes.join(" ");
    expect(notes({ environment: { tlsShare } })).toContain("31 % of their CPU time (standard error 2.0 %)");
    expect(notes({})).toContain("could not be told apart");
    expect(notes({ suites: ["insecure", "rc4"] })).not.toContain("cryptography of tls");
  });

  test("the line has the slope and intercept that the samples were made with", () => {
    const found = table("lines", { ...small, noise: 0, fixedCpuMs: 30 });
    const row = found.rows.find(([side, suite]) => side === "source" && suite === "rc4")!;
    expect(row.slice(2)).toEqual(["3.630 [3.630, 3.630]", "0.030 [0.030, 0.030]", "1.0000", "19.6"]);
  });

  test("set-up counts every run of an engine, whatever its size", () => {
    const settings = settingsOf(syntheticSamples({ ...small, diskMiB: [0, 512], runs: 2, noise: 0 }).samples);
    expect(setupTable(settings).rows[1]).toEqual(["tls", "24.0 ± 0.0", "9.0 ± 0.0", "9.0 ± 0.0"]);
  });
});
