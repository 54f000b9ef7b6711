/** Figures 6.1 to 6.4: the CPU time of one side as bars stacked by operation, with the total's interval. Pure. */

import { list, percent, seconds } from "../notation/notation.ts";
import type { Table } from "../notation/table.ts";
import type { Setting, SideName } from "../statistics/cells.ts";
import { type Operation, operations, type SuiteName } from "../statistics/samples.ts";
import { fewestRuns } from "../statistics/statistics.ts";
import { barChart } from "./bar-chart.ts";
import { type CpuBar, cpuBar, endMs, partMs } from "./cpu-bar.ts";
import { type Figure, fromTo, meanText, widestSpan } from "./figure.ts";

/** The figure of one side in one setting; undefined if nothing took any CPU time. */
export function cpuFigure(
  setting: Setting,
  side: SideName,
  { id, title }: { id: string; title: string },
): Figure | undefined {
  const bars = setting.cells.map((cell) => cpuBar(cell, side));
  if (Math.max(...bars.map(endMs)) === 0) return undefined;
  const used = operations.filter((operation) => bars.some((bar) => partMs(bar, operation) > 0));
  const near = nearSuites(setting, bars);
  return {
    id,
    title,
    description: describe(bars, side),
    note: notes(setting, bars, near),
    table: table(bars, used, { id: `${id}-table`, title: `The numbers of ${title}` }),
    spec: barChart({ side, bars, suites: setting.suites, near, operations: used }),
  };
}

/** The suites within widestSpan of the cheapest at every size; undefined if all are, or if it is alone. */
function nearSuites({ suites }: Setting, bars: readonly CpuBar[]): SuiteName[] | undefined {
  const cheapestMs = (size: string) =>
    Math.min(...bars.filter((bar) => bar.size === size).map(({ totalMs }) => totalMs));
  const near = suites.filter((suite) =>
    bars
      .filter((bar) => bar.suite === suite)
      .every(({ size, totalMs }) => totalMs <= widestSpan * cheapestMs(size)),
  );
  return near.length === suites.length || near.length < 2 ? undefined : near;
}

function table(
  bars: readonly CpuBar[],
  used: readonly Operation[],
  { id, title }: { id: string; title: string },
): Table {
  const numbers = ["runs", ...used, "total", "95 % interval"];
  return {
    id,
    title: `${title}: means in seconds`,
    columns: [
      { title: "RAM", align: "left" },
      { title: "suite", align: "left" },
      ...numbers.map((title) => ({ title, align: "right" as const })),
    ],
    rows: bars.map((bar, place) => [
      bar.size === bars[place - 1]?.size ? "" : bar.size,
      bar.suite,
      String(bar.runs),
      ...used.map((operation) => seconds(partMs(bar, operation), bar.totalMs)),
      seconds(bar.totalMs),
      fromTo(bar.interval, bar.totalMs),
    ]),
    notes: [],
  };
}

function describe(bars: readonly CpuBar[], side: SideName): string {
  const sizes = [...new Set(bars.map(({ size }) => size))];
  const largest = sizes.at(-1);
  const sentences = bars
    .filter(({ size }) => size === largest)
    .map((bar) => {
      const top = bar.parts.reduce((most, part) => (part.meanMs > most.meanMs ? part : most));
      const whole = bar.parts.reduce((sum, { meanMs }) => sum + meanMs, 0);
      const share = whole === 0 ? "" : `, ${percent(top.meanMs / whole)} of it ${top.operation}`;
      return `${bar.suite} ${meanText(bar.totalMs, bar.interval)}${share}`;
    });
  return `Stacked bars of the mean CPU time of the ${side} by operation, for ${list(sizes)} of RAM. At ${largest}: ${sentences.join("; ")}.`;
}

function notes({ suites }: Setting, bars: readonly CpuBar[], near: readonly SuiteName[] | undefined): string {
  const sentences = [
    "Bars are means of runs, each with its total; the whisker is the 95 % interval of that mean.",
  ];
  if (bars.some(({ interval }) => interval === undefined))
    sentences.push(`A bar without a whisker has fewer than ${fewestRuns} runs.`);
  if (near !== undefined) {
    const far = suites.filter((suite) => !near.includes(suite));
    sentences.push(`On the right the same bars without ${list(far)}: mind the longer scale.`);
  }
  return sentences.join(" ");
}
