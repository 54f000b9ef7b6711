/** The samples as Markdown, ready for the README. */
import type { Contender } from "./contender.ts";
import type { Input } from "./inputs.ts";
import type { Link } from "./link.ts";
import type { Sample, SideCost } from "./sample.ts";
import { median } from "./statistics.ts";

const mib = 2 ** 20;
/** What each process of ours may take at most, whatever the VM's size. */
export const mostPeakBytes = 256 * mib;

/**
 * The table of one input on one link: a row a contender that ran, medians over its rounds, times as
 * multiples of ours. A figure that breaks the limit of memory stands out.
 */
export function inputTable(
  input: Input,
  link: Pick<Link, "name" | "title">,
  contenders: readonly Contender[],
  samples: readonly Sample[],
): string {
  const here = samples.filter((s) => s.input === input.name && s.link === link.name);
  const of = (name: string): Sample[] => here.filter((s) => s.contender === name);
  const ours = of("ours").length === 0 ? undefined : median(of("ours").map((s) => s.seconds));
  const head = [
    "",
    "seconds (least–most)",
    "MiB/s",
    ...(ours === undefined ? [] : ["time / ours"]),
    "CPU s source",
    "CPU s destination",
    "MiB on the wire",
    "peak MiB source",
    "peak MiB destination",
  ];
  const rows = contenders
    .filter(({ name }) => of(name).length > 0)
    .map((contender) => contenderRow(contender, input, of(contender.name), ours));
  const rule = ["---", ...head.slice(1).map(() => "---:")];
  const lines = [head, rule, ...rows].map((cells) => `| ${cells.join(" | ")} |`);
  const before = input.before === undefined ? "" : `; the destination has ${input.before.title}`;
  const heading = `**${input.name}, ${link.name}**: ${input.title}; ${(input.bytes / mib).toFixed(0)} MiB, ${link.title}${before}`;
  const indexing = indexingNote(here);
  return [heading, "", ...lines, ...(indexing === undefined ? [] : ["", indexing])].join("\n");
}

function contenderRow(
  { title, role }: Contender,
  input: Input,
  own: readonly Sample[],
  ours: number | undefined,
): string[] {
  const seconds = own.map((s) => s.seconds);
  const costs = {
    source: own.map((s) => s.source),
    destination: own.flatMap((s) => s.destination ?? []),
  };
  const cpu = (sides: readonly SideCost[]): string =>
    sides.length === 0 ? "–" : figures(median(sides.map(({ cpuMs }) => cpuMs / 1000)));
  const peak = (sides: readonly SideCost[]): string => {
    // A process that is over in a moment may never have been looked at.
    if (sides.every(({ peakBytes }) => peakBytes === 0)) return "–";
    // The aim holds for every run, so it is the greatest peak that is held against it.
    const greatest = Math.max(...sides.map(({ peakBytes }) => peakBytes));
    if (role === "ours" && greatest >= mostPeakBytes)
      return `**${figures(greatest / mib)} (over ${mostPeakBytes / mib})**`;
    return figures(median(sides.map(({ peakBytes }) => peakBytes / mib)));
  };
  return [
    title,
    `${figures(median(seconds))} (${figures(Math.min(...seconds))}–${figures(Math.max(...seconds))})`,
    (input.bytes / mib / median(seconds)).toFixed(0),
    ...(ours === undefined ? [] : [(median(seconds) / ours).toFixed(2)]),
    cpu(costs.source),
    cpu(costs.destination),
    costs.destination.length > 0 ? (median(own.map((s) => s.wireBytes)) / mib).toFixed(0) : "–",
    peak(costs.source),
    peak(costs.destination),
  ];
}

/** What it took the destination to index what it has, ahead of the clock; undefined where nothing was. */
function indexingNote(samples: readonly Sample[]): string | undefined {
  const costs = samples.flatMap(({ indexing }) => indexing ?? []);
  if (costs.length === 0) return undefined;
  const seconds = figures(median(costs.map((cost) => cost.seconds)));
  const cpuSeconds = figures(median(costs.map(({ cpuMs }) => cpuMs / 1000)));
  return `Ahead of the clock, and in no row: migrate serve indexed what it has in ${seconds} s with ${cpuSeconds} s of CPU.`;
}

/** Three figures are all that such a measurement bears. */
export function figures(value: number): string {
  return value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2);
}
