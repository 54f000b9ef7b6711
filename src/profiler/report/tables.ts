/**
 * The thesis's tables, of this run: 6.3 (CPU time without disk) and 6.4 (with disk), each for (a) the
 * source and (b) the destination, and 6.5 (total migration time). Rows are RAM sizes, columns suites,
 * as in the thesis; below each mean stand its median, its ratio to insecure and the thesis's ratio. Pure.
 */

import { meanSeconds, nothing, percent, ratioText, seconds, withInterval } from "../notation/notation.ts";
import type { Table } from "../notation/table.ts";
import {
  type Cell,
  cellAt,
  cpuMs,
  inMiB,
  namedOperations,
  type Setting,
  type SideName,
  settingSuffix,
  settingsOf,
  settingWords,
  shareOf,
} from "../statistics/cells.ts";
import type { Sample, Samples, SuiteName } from "../statistics/samples.ts";
import {
  difference,
  type Estimate,
  fewestRuns,
  holdsOne,
  mean,
  ratio,
  summarise,
} from "../statistics/statistics.ts";
import { costTables, setupTable } from "./cost-tables.ts";
import { zerosNotSent } from "./report-facts.ts";
import { type ThesisPlace, thesisAddedPart, thesisRatio, thesisRatioRange, thesisTwin } from "./thesis.ts";

/** The part of a side's CPU time that named operations must account for; below it, the table shows how much is missing. */
const accountedPart = 0.9;

/** Every table of a profile, in reading order. Some are left out if nothing was measured for them. */
export function profileTables(samples: Samples): Table[] {
  const settings = settingsOf(samples.samples);
  const common = commonNotes(samples);
  return [
    ...settings.flatMap((setting) => [
      cpuTable(setting, "source", common),
      cpuTable(setting, "destination", common),
    ]),
    ...settings.map((setting) => totalTimeTable(setting, common)),
    ...settings.flatMap((setting) => costTables(setting, samples.environment)),
    ...[...Map.groupBy(settings, ({ engine }) => engine).values()].map(setupTable),
  ];
}

/** Table 6.3 (without disk) or 6.4 (with disk) for one side: seconds of CPU time. `common` notes stand last. */
function cpuTable(setting: Setting, side: SideName, common: readonly string[]): Table {
  const withDisk = setting.diskBytes > 0;
  const place: ThesisPlace = { side, withDisk };
  const cost = (sample: Sample) => cpuMs(sample[side]);
  const rows = setting.ramBytes.flatMap((ramBytes) => [
    ...measuredRows(setting, ramBytes, "CPU s", cost),
    ...thesisRow(setting, (suite) => thesisRatioText(place, suite, ramBytes)),
    ...optionalRow(setting, "unaccounted", (suite) => {
      const cell = cellAt(setting, ramBytes, suite);
      const part =
        cell === undefined ? 1 : mean(cell.samples.map((one) => shareOf(one[side], namedOperations)));
      return part < accountedPart ? percent(1 - part) : undefined;
    }),
  ]);
  const unaccounted = rows.some((row) => row[1] === "unaccounted");
  return {
    id: `${withDisk ? "6.4" : "6.3"}-${side}${settingSuffix(setting)}`,
    title: `Table ${withDisk ? "6.4" : "6.3"} (${side === "source" ? "a" : "b"}): CPU time of the ${side} ${settingWords(setting)}, seconds`,
    columns: columnsOf(setting),
    rows,
    notes: [
      ...measureNotes(setting),
      ...(setting.suites.includes("tls") && setting.suites.includes("insecure")
        ? ["The thesis had no TLS 1.3: in brackets beside tls stands what its AES-128 cost."]
        : []),
      ...(setting.suites.includes("insecure") && setting.ramBytes.some((ram) => !isThesisSize(place, ram))
        ? ["For a RAM size that the thesis has not, its least and largest ratio are shown (low…high)."]
        : []),
      "Connection set-up is not in these times; it has a table of its own.",
      ...(unaccounted
        ? [
            `"unaccounted" is the part of the CPU time outside the named operations, shown if they make up less than ${percent(accountedPart)}.`,
          ]
        : []),
      ...common,
    ],
  };
}

/** Table 6.5: seconds from the source's start to the destination's acknowledged end, suspend and resume apart. */
function totalTimeTable(setting: Setting, common: readonly string[]): Table {
  const total = (sample: Sample) => sample.totalMs;
  const known: Readonly<Record<string, number>> =
    setting.diskBytes > 0 ? thesisAddedPart.withDisk : thesisAddedPart.withoutDisk;
  const rows = setting.ramBytes.flatMap((ramBytes) => [
    ...measuredRows(setting, ramBytes, "total s", total),
    ...optionalRow(setting, "added s", (suite) => {
      const added = compared(setting, ramBytes, suite, total, difference);
      return added === undefined ? undefined : withInterval(added, (ms) => seconds(ms, 1000));
    }),
    ...optionalRow(setting, "thesis ×", (suite) => {
      const part = known[inMiB(ramBytes)];
      return suite === "rc4" && part !== undefined ? `about ${ratioText(1 + part)}` : undefined;
    }),
  ]);
  const all = setting.cells.flatMap((cell) => cell.samples);
  const apart = (of: (sample: Sample) => number) => seconds(mean(all.map(of)));
  return {
    id: `6.5${settingSuffix(setting)}`,
    title: `Table 6.5: total migration time ${settingWords(setting)}, seconds`,
    columns: columnsOf(setting),
    rows,
    notes: [
      ...measureNotes(setting),
      "The thesis's own numbers of this table are not known here; for the sizes at which it names what RC4 adds, that is shown.",
      all.every((one) => one.suspendMs + one.resumeMs === 0)
        ? "Nothing was suspended or resumed: the files were made up."
        : `Not counted: suspending (${apart((one) => one.suspendMs)} s on average) and resuming (${apart((one) => one.resumeMs)} s).`,
      ...common,
    ],
  };
}

/** Mean with interval, median, and ratio to insecure of one RAM size. */
function measuredRows(
  setting: Setting,
  ramBytes: number,
  what: string,
  of: (sample: Sample) => number,
): string[][] {
  const summary = (suite: SuiteName) => {
    const cell = cellAt(setting, ramBytes, suite);
    return cell === undefined ? undefined : summarise(cell.samples.map(of));
  };
  const line = (text: (suite: SuiteName) => string | undefined) =>
    setting.suites.map((suite) => text(suite) ?? nothing);
  return [
    [inMiB(ramBytes), what, ...line((suite) => mapped(summary(suite), meanSeconds))],
    ["", "median", ...line((suite) => mapped(summary(suite), (one) => seconds(one.median)))],
    ...optionalRow(setting, "× insecure", (suite) =>
      mapped(
        compared(setting, ramBytes, suite, of, ratio),
        (found) => `${withInterval(found)}${sameMark(found)}`,
      ),
    ),
  ];
}

/** A suite against insecure at one RAM size; undefined for insecure itself and if one was not measured. */
function compared(
  setting: Setting,
  ramBytes: number,
  suite: SuiteName,
  of: (sample: Sample) => number,
  by: (values: readonly number[], base: readonly number[]) => Estimate,
): Estimate | undefined {
  const values = (cell: Cell | undefined) => cell?.samples.map(of);
  const over = values(cellAt(setting, ramBytes, suite));
  const under = values(cellAt(setting, ramBytes, "insecure"));
  if (suite === "insecure" || over === undefined || under === undefined || mean(under) === 0)
    return undefined;
  return by(over, under);
}

/** " ~" if the interval of a ratio holds 1: no significant difference. */
function sameMark(estimate: Estimate): string {
  return holdsOne(estimate) ? " ~" : "";
}

function thesisRow(setting: Setting, text: (suite: SuiteName) => string | undefined): string[][] {
  return setting.suites.includes("insecure") ? optionalRow(setting, "thesis ×", text) : [];
}

function thesisRatioText(place: ThesisPlace, suite: SuiteName, ramBytes: number): string | undefined {
  const twin = thesisTwin(suite);
  if (twin === undefined || suite === "insecure") return undefined;
  const exact = thesisRatio(place, twin, Number(inMiB(ramBytes)));
  const { low, high } = thesisRatioRange(twin, place);
  const text = exact === undefined ? `${ratioText(low)}…${ratioText(high)}` : ratioText(exact);
  return twin === suite ? text : `(${text})`;
}

function isThesisSize(place: ThesisPlace, ramBytes: number): boolean {
  return thesisRatio(place, "rc4", Number(inMiB(ramBytes))) !== undefined;
}

/** A row below the one that names the RAM size; none if no suite has a text for it. */
function optionalRow(
  setting: Setting,
  what: string,
  text: (suite: SuiteName) => string | undefined,
): string[][] {
  const cells = setting.suites.map(text);
  return cells.every((cell) => cell === undefined)
    ? []
    : [["", what, ...cells.map((cell) => cell ?? nothing)]];
}

function columnsOf(setting: Setting): Table["columns"] {
  return [
    { title: "RAM MiB", align: "right" },
    { title: "", align: "left" },
    ...setting.suites.map((suite) => ({ title: suite, align: "right" }) as const),
  ];
}

function measureNotes(setting: Setting): string[] {
  const few = setting.cells.some((cell) => cell.samples.length < fewestRuns);
  return [
    ...(few
      ? [`Warning: fewer than ${fewestRuns} runs have no interval; with "(n runs)" the spread is not known.`]
      : []),
    "Means ± 95 % Student intervals; ratios of means with Fieller's 95 % interval in square brackets; ~ no significant difference from insecure (each ratio taken by itself).",
  ];
}

function commonNotes(samples: Samples): string[] {
  return [
    samples.zeroBytesSent ? "Zero bytes were sent like all others, as in the thesis." : zerosNotSent,
    ...(samples.partial ? ["This profile was cut short: runs are missing."] : []),
  ];
}

function mapped<From, To>(value: From | undefined, to: (value: From) => To): To | undefined {
  return value === undefined ? undefined : to(value);
}
