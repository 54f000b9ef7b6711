/**
 * Where the CPU time went and how it grows: shares of the operations, straight lines against RAM size,
 * connection set-up. Pure.
 */

import {
  meanMilliseconds,
  nothing,
  percent,
  preciseText,
  ratioText,
  withInterval,
} from "../notation/notation.ts";
import type { Table } from "../notation/table.ts";
import {
  cellAt,
  cpuMs,
  inMiB,
  namedOperations,
  operationMs,
  type Setting,
  type SideName,
  settingSuffix,
  settingWords,
  shareOf,
  sideNames,
} from "../statistics/cells.ts";
import {
  type Operation,
  operations,
  type Sample,
  type Samples,
  type SuiteName,
  suiteNames,
  type TlsShare,
} from "../statistics/samples.ts";
import { fitLine, type LineFit, mean, summarise } from "../statistics/statistics.ts";
import { thesisFit, thesisTwin } from "./thesis.ts";

const gibibyte = 1024 ** 3;

/** The tables of one setting: shares on either side, and lines if there are two sizes. */
export function costTables(setting: Setting, environment: Samples["environment"]): Table[] {
  return [
    ...sideNames.map((side) => shareTable(setting, side, environment.tlsShare?.[side])),
    ...(setting.ramBytes.length > 1 ? [lineTable(setting)] : []),
  ];
}

/** Each operation's part of a side's CPU time at the largest RAM size (means over the runs). `tlsShare` is that side's. */
function shareTable(setting: Setting, side: SideName, tlsShare?: TlsShare): Table {
  const ramBytes = setting.ramBytes.at(-1) ?? 0;
  const samplesOf = (suite: SuiteName) => cellAt(setting, ramBytes, suite)?.samples ?? [];
  const share = (suite: SuiteName, of: readonly Operation[]) => {
    const samples = samplesOf(suite);
    const part = samples.length === 0 ? 0 : mean(samples.map((one) => shareOf(one[side], of)));
    return part === 0 ? nothing : percent(part);
  };
  const done = operations.filter(
    (operation) =>
      operation === "rest" ||
      setting.suites.some((suite) => samplesOf(suite).some((one) => operationMs(one[side], operation) > 0)),
  );
  return {
    id: `shares-${side}${settingSuffix(setting)}`,
    title: `What the CPU time of the ${side} went into, ${inMiB(ramBytes)} MiB of RAM ${settingWords(setting)}`,
    columns: [
      { title: "operation", align: "left" },
      ...setting.suites.map((suite) => ({ title: suite, align: "right" }) as const),
    ],
    rows: [
      ...done.map((operation) => [operation, ...setting.suites.map((suite) => share(suite, [operation]))]),
      ["all but the rest", ...setting.suites.map((suite) => share(suite, namedOperations))],
    ],
    notes: [
      "The rest is what no named operation accounts for: other threads, garbage collection, the program around the calls.",
      ...(setting.suites.includes("tls") ? [tlsNote(tlsShare)] : []),
      `Reading the CPU clock took ${percent(clockPart(setting, side))} of the CPU time and is subtracted.`,
    ],
  };
}

/** How the operations of tls were told apart, with the error of that. */
function tlsNote(tlsShare: TlsShare | undefined): string {
  return tlsShare === undefined
    ? "The cryptography of tls runs inside its socket calls and could not be told apart from them here."
    : `The cryptography of tls runs inside its socket calls: ${percent(tlsShare.share)} of their CPU time (standard error ${percent(tlsShare.error)}) was told to be cryptography.`;
}

/** The straight line of each suite's CPU time against RAM size, on either side, with the thesis's slope beside. */
function lineTable(setting: Setting): Table {
  const withDisk = setting.diskBytes > 0;
  const rows = sideNames.flatMap((side) =>
    setting.suites.flatMap((suite) => {
      const fit = cpuLine(setting, side, suite);
      if (fit === undefined) return [];
      const twin = thesisTwin(suite);
      const thesis = twin === undefined ? undefined : thesisFit({ side, withDisk }, twin);
      const theirs = thesis === undefined ? nothing : ratioText(thesis.slope.value);
      return [
        [
          side,
          suite,
          withInterval(fit.slope, preciseText),
          withInterval(fit.intercept, preciseText),
          fit.rSquared.toFixed(4),
          twin === suite || twin === undefined ? theirs : `(${theirs})`,
        ],
      ];
    }),
  );
  return {
    id: `lines${settingSuffix(setting)}`,
    title: `How CPU time grows with RAM ${settingWords(setting)}: a straight line through all runs`,
    columns: [
      { title: "side", align: "left" },
      { title: "suite", align: "left" },
      { title: "s per GiB", align: "right" },
      { title: "s at 0 GiB", align: "right" },
      { title: "R²", align: "right" },
      { title: "thesis s per GiB", align: "right" },
    ],
    rows,
    notes: [
      "Least squares, 95 % intervals in square brackets. The thesis's slope goes through its five means; beside tls stands, in brackets, its AES-128.",
    ],
  };
}

/** The line of CPU seconds against GiB of RAM through every run; undefined with one size alone. */
function cpuLine(setting: Setting, side: SideName, suite: SuiteName): LineFit | undefined {
  return fitLine(
    setting.cells
      .filter((cell) => cell.suite === suite)
      .flatMap((cell) =>
        cell.samples.map((sample) => ({ x: cell.ramBytes / gibibyte, y: cpuMs(sample[side]) / 1000 })),
      ),
  );
}

/** Connection set-up by suite, over all runs of some settings: it depends on neither RAM nor disk. */
export function setupTable(settings: readonly Setting[]): Table {
  const samples = settings.flatMap(({ cells }) => cells.flatMap((cell) => cell.samples));
  const full = settings[0]?.engine === "full";
  const cell = (suite: SuiteName, of: (sample: Sample) => number) =>
    meanMilliseconds(summarise(samples.filter((sample) => sample.suite === suite).map(of)));
  return {
    id: full ? "setup-full" : "setup",
    title: `Connection set-up, milliseconds${full ? " (the product's own engine)" : ""}`,
    columns: [
      { title: "suite", align: "left" },
      { title: "wall", align: "right" },
      { title: "CPU, source", align: "right" },
      { title: "CPU, destination", align: "right" },
    ],
    rows: suiteNames
      .filter((suite) => samples.some((sample) => sample.suite === suite))
      .map((suite) => [
        suite,
        cell(suite, ({ setup }) => setup.wallMs),
        cell(suite, ({ setup }) => setup.sourceCpuMs),
        cell(suite, ({ setup }) => setup.destinationCpuMs),
      ]),
    notes: ["From the first SYN to keys on both sides, over all RAM sizes; means ± 95 % Student intervals."],
  };
}

/** The part of the CPU time that reading the clock took, over all runs of a setting. */
function clockPart(setting: Setting, side: SideName): number {
  const figures = setting.cells.flatMap(({ samples }) => samples.map((sample) => sample[side]));
  const sum = (of: (figure: Sample["source"]) => number) =>
    figures.reduce((total, figure) => total + of(figure), 0);
  const whole = sum((figure) => figure.userMs + figure.systemMs);
  return whole === 0 ? 0 : sum((figure) => figure.clockMs) / whole;
}
