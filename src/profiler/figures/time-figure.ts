/** Total migration time by RAM size: a line for each suite, with the interval of each mean. Pure. */

import { list, seconds } from "../notation/notation.ts";
import type { Setting } from "../statistics/cells.ts";
import { fewestRuns, summarise } from "../statistics/statistics.ts";
import { type Figure, fromTo, meanText, sizeText, widestSpan } from "./figure.ts";
import { type TimePoint, timeChart } from "./time-chart.ts";

/** The figure of one setting; undefined if no run took any time. */
export function timeFigure(
  setting: Setting,
  { id, title }: { id: string; title: string },
): Figure | undefined {
  const points = setting.cells.map(({ suite, ramBytes, samples }): TimePoint => {
    const { mean, interval, runs } = summarise(samples.map(({ totalMs }) => totalMs));
    return { suite, ramMiB: ramBytes / 1024 ** 2, runs, meanMs: mean, interval };
  });
  if (points.every(({ meanMs }) => meanMs === 0)) return undefined;
  const logarithmic = spreadsWide(points);
  const sizes = setting.ramBytes.map(sizeText);
  return {
    id,
    title,
    description: describe(points, sizes),
    note: notes(points, sizes.length > 1, logarithmic),
    table: {
      id: `${id}-table`,
      title: `The numbers of ${title}, in seconds`,
      columns: [
        { title: "RAM", align: "left" },
        { title: "suite", align: "left" },
        { title: "runs", align: "right" },
        { title: "mean", align: "right" },
        { title: "95 % interval", align: "right" },
      ],
      rows: points.map((point, place) => rowOf(point, points[place - 1]?.ramMiB)),
      notes: [],
    },
    spec: timeChart({ points, suites: setting.suites, logarithmic }),
  };
}

function rowOf({ ramMiB, suite, runs, meanMs, interval }: TimePoint, above: number | undefined): string[] {
  const size = ramMiB === above ? "" : sizeText(ramMiB * 1024 ** 2);
  return [size, suite, String(runs), seconds(meanMs), fromTo(interval, meanMs)];
}

/** Whether some suite takes so much longer than another that only logarithms show both; all must be above 0. */
function spreadsWide(points: readonly TimePoint[]): boolean {
  if (points.some(({ meanMs, interval }) => meanMs <= 0 || (interval?.low ?? meanMs) <= 0)) return false;
  const fastest = (ramMiB: number) =>
    Math.min(...points.filter((point) => point.ramMiB === ramMiB).map(({ meanMs }) => meanMs));
  return points.some(({ ramMiB, meanMs }) => meanMs > widestSpan * fastest(ramMiB));
}

function describe(points: readonly TimePoint[], sizes: readonly string[]): string {
  const largest = Math.max(...points.map(({ ramMiB }) => ramMiB));
  const sentences = points
    .filter(({ ramMiB }) => ramMiB === largest)
    .map(({ suite, meanMs, interval }) => `${suite} ${meanText(meanMs, interval)}`);
  return `The mean total migration time of each suite, for ${list(sizes)} of RAM. At ${sizes.at(-1)}: ${sentences.join("; ")}.`;
}

function notes(points: readonly TimePoint[], asLines: boolean, logarithmic: boolean): string {
  const sentences = ["Points are means of runs, whiskers their 95 % intervals."];
  if (asLines)
    sentences.push("The points of one size stand beside each other, so that they can be told apart.");
  if (points.some(({ interval }) => interval === undefined))
    sentences.push(`A point without a whisker has fewer than ${fewestRuns} runs.`);
  if (logarithmic)
    sentences.push(
      `${asLines ? "Both scales are" : "The scale is"} logarithmic: equal distances are equal ratios, not equal times.`,
    );
  return sentences.join(" ");
}
