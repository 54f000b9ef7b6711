/**
 * Two profiles side by side: what differs by more than chance, and what makes the comparison doubtful. Pure.
 *
 * Every cell (engine, disk, RAM, suite) that both have is compared in three figures by Welch's test. With
 * dozens of tests, one in twenty would "differ" by chance, so p is raised by Holm's method over all of them:
 * if nothing differs, one comparison in twenty reports any difference at all, not one figure in twenty.
 */
import { MigrateError } from "../../protocol/errors.ts";
import { meanSeconds, nothing, percent, withInterval } from "../notation/notation.ts";
import type { Table } from "../notation/table.ts";
import { cellKey, cellsOf, cpuMs, inMiB } from "../statistics/cells.ts";
import type { Sample, Samples } from "../statistics/samples.ts";
import { fewestRuns, holm, ratio, summarise, welchTest } from "../statistics/statistics.ts";

/** Below this p two means differ significantly. */
const significance = 0.05;

export type ComparisonVerdict = "~" | "less" | "more" | "too few runs";

export interface ComparedFigure {
  engine: Sample["engine"];
  suite: Sample["suite"];
  ramBytes: number;
  diskBytes: number;
  figure: "source CPU" | "destination CPU" | "total time";
  /** B's figure against A's; "~" is "no significant difference", which is not "equal". */
  verdict: ComparisonVerdict;
  /** Raised for the number of tests; undefined if the runs are too few. */
  p: number | undefined;
}

export interface Comparison {
  figures: ComparedFigure[];
  table: Table;
  /** What a reader must know before believing the table. */
  warnings: string[];
}

/** A profile with what the tables call it: a file name, for one. */
export interface NamedSamples {
  name: string;
  samples: Samples;
}

const figures: readonly { name: ComparedFigure["figure"]; of: (sample: Sample) => number }[] = [
  { name: "source CPU", of: (sample) => cpuMs(sample.source) },
  { name: "destination CPU", of: (sample) => cpuMs(sample.destination) },
  { name: "total time", of: (sample) => sample.totalMs },
];

/** Compares B with A (the base). Throws MigrateError "usage" if the two have no cell in common. */
export function compareSamples(a: NamedSamples, b: NamedSamples): Comparison {
  const cellsA = new Map(cellsOf(a.samples.samples).map((cell) => [cellKey(cell), cell]));
  const cellsB = cellsOf(b.samples.samples);
  const both = cellsB.flatMap((cell) => {
    const base = cellsA.get(cellKey(cell));
    return base === undefined ? [] : [{ base, cell }];
  });
  if (both.length === 0)
    throw new MigrateError(
      "usage",
      `${a.name} and ${b.name} have nothing in common: no suite at the same RAM and disk size`,
      { hint: "measure both with the same --ram, --disk, --suites and --engine" },
    );
  const tested = both.flatMap(({ base, cell }) =>
    figures.map(({ name, of }) => {
      const [before, after] = [base.samples.map(of), cell.samples.map(of)];
      return { cell, name, before, after, p: welchTest(before, after)?.p };
    }),
  );
  const certain = tested.filter(({ p }) => p !== undefined);
  const raised = holm(certain.map(({ p }) => p ?? 1));
  const severalEngines = new Set(both.map(({ cell }) => cell.engine)).size > 1;
  const compared = tested.map((test) => {
    const { cell, name, before, after } = test;
    const { engine, suite, ramBytes, diskBytes } = cell;
    const change = ratio(after, before);
    const raisedP = raised[certain.indexOf(test)];
    const verdict = verdictOf(raisedP, change.value);
    const row = [
      suite,
      inMiB(ramBytes),
      diskBytes > 0 ? inMiB(diskBytes) : nothing,
      ...(severalEngines ? [engine] : []),
      name,
      meanSeconds(summarise(before)),
      meanSeconds(summarise(after)),
      withInterval(change, changeText),
      raisedP === undefined ? nothing : pText(raisedP),
      verdict,
    ];
    return { figure: { engine, suite, ramBytes, diskBytes, figure: name, verdict, p: raisedP }, row };
  });
  return {
    figures: compared.map(({ figure }) => figure),
    table: {
      id: "comparison",
      title: `${b.name} against ${a.name}, seconds`,
      columns: [
        { title: "suite", align: "left" },
        { title: "RAM MiB", align: "right" },
        { title: "disk MiB", align: "right" },
        ...(severalEngines ? [{ title: "engine", align: "left" } as const] : []),
        { title: "figure", align: "left" },
        { title: "A", align: "right" },
        { title: "B", align: "right" },
        { title: "B against A", align: "right" },
        { title: "p", align: "right" },
        { title: "B is", align: "left" },
      ],
      rows: compared.map(({ row }) => row),
      notes: [
        `A is ${a.name}, B is ${b.name}. ~ no significant difference (which is not the same as equal); "less" and "more" differ at p < ${significance}.`,
        `Welch's test of unequal deviations; p is raised by Holm's method for ${certain.length} tests at once. Square brackets: the 95 % interval of that change alone.`,
        "A and B were measured at different times: what changed on the hosts between them is in the difference, but not in its interval.",
      ],
    },
    warnings: warningsOf(a, b, tested),
  };
}

function verdictOf(p: number | undefined, change: number): ComparisonVerdict {
  if (p === undefined) return "too few runs";
  if (p >= significance) return "~";
  return change < 1 ? "less" : "more";
}

function warningsOf(
  a: NamedSamples,
  b: NamedSamples,
  tested: readonly { before: readonly number[]; after: readonly number[] }[],
): string[] {
  const few = tested.some(({ before, after }) => Math.min(before.length, after.length) < fewestRuns);
  const same =
    a.samples.startedAt === b.samples.startedAt &&
    a.samples.seed === b.samples.seed &&
    JSON.stringify(a.samples.samples) === JSON.stringify(b.samples.samples);
  return [
    ...(same ? ["A and B are the same profile."] : []),
    ...environmentWarnings(a.samples, b.samples),
    ...[a, b]
      .filter(({ samples }) => samples.partial)
      .map(({ name }) => `${name} was cut short: runs are missing.`),
    ...(few
      ? [`Some figures have fewer than ${fewestRuns} runs: nothing can be said of their difference.`]
      : []),
    ...onlyIn(a, b),
    ...onlyIn(b, a),
  ];
}

const environmentWords = {
  cpu: "the CPU",
  cores: "the number of cores",
  kernel: "the kernel",
  bun: "the version of Bun",
  migrate: "the version of migrate",
  link: "the link",
} as const;

/** One sentence for each thing that was not the same: a difference may come from it alone. */
function environmentWarnings(a: Samples, b: Samples): string[] {
  const keys = Object.keys(environmentWords) as (keyof typeof environmentWords)[];
  return [
    ...keys
      .filter((key) => a.environment[key] !== b.environment[key])
      .map(
        (key) =>
          `Not the same: ${environmentWords[key]} (A: ${a.environment[key]}; B: ${b.environment[key]}).`,
      ),
    ...(a.zeroBytesSent === b.zeroBytesSent
      ? []
      : [
          `Not the same: ${a.zeroBytesSent ? "A" : "B"} sent zero bytes like all others, ${a.zeroBytesSent ? "B" : "A"} did not.`,
        ]),
  ];
}

/** The cells of one profile that the other has not. */
function onlyIn(one: NamedSamples, other: NamedSamples): string[] {
  const known = new Set(cellsOf(other.samples.samples).map(cellKey));
  const alone = cellsOf(one.samples.samples).filter((cell) => !known.has(cellKey(cell)));
  if (alone.length === 0) return [];
  const shown = alone.slice(0, 5).map(({ suite, ramBytes, diskBytes }) => {
    return `${suite} ${inMiB(ramBytes)} MiB${diskBytes > 0 ? ` with ${inMiB(diskBytes)} MiB of disk` : ""}`;
  });
  const more = alone.length > shown.length ? ` and ${alone.length - shown.length} more` : "";
  return [`Only in ${one.name}, so not compared: ${shown.join("; ")}${more}.`];
}

/** A ratio as a change: 1.05 is "+5.0 %". */
function changeText(value: number): string {
  return `${value >= 1 ? "+" : ""}${percent(value - 1)}`;
}

function pText(p: number): string {
  return p < 0.001 ? "<0.001" : p.toFixed(3);
}
