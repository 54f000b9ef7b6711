/** What the thesis claims of total time and of threads, as questions to a run's data. See judgement.ts. Pure. */

import { percent, ratioText, withInterval } from "../notation/notation.ts";
import {
  type Cell,
  cellAt,
  inMiB,
  type Setting,
  settingsOf,
  settingWords,
  sideNames,
} from "../statistics/cells.ts";
import type { Sample, Samples } from "../statistics/samples.ts";
import { difference, type Estimate, mean, ratio, subtract, summarise } from "../statistics/statistics.ts";
import type { Observation, Question } from "./judgement.ts";
import { thesisAddedPart, thesisAddedSeconds } from "./thesis-figures.ts";

/** "About": from half to one and a half times the thesis's figure. */
const about = { low: 0.5, high: 1.5 } as const;
/** "Falls": by at least this part of insecure's time (the thesis's falls by 0.22 and 0.13). */
const leastFall = 0.05;
/** "Much of it": at least this part of what is added. */
const muchOfIt = 0.5;

const missingPair = "It takes both rc4 and insecure.";

export const timeQuestions: readonly Question[] = [
  {
    id: "added-time",
    claim: `Total migration time is ${thesisAddedSeconds.low} s to ${thesisAddedSeconds.high} s higher with RC4 than insecure, whatever the RAM size.`,
    rule: `The mean total time of rc4 minus that of insecure lies between ${thesisAddedSeconds.low} s and ${thesisAddedSeconds.high} s, at every size, without and with disk.`,
    observe: (samples) =>
      pairs(samples).map(({ where, secure, plain }) => ({
        where,
        estimate: addedSeconds(secure, plain),
        region: thesisAddedSeconds,
      })),
    missing: missingPair,
    write: secondsText,
  },
  {
    id: "setup-share",
    claim: "Much of what RC4 adds to the total time is secure connection set-up.",
    rule: "Set-up makes up at least half of the added time, at every size; that the added time is above 0 must be certain (the set-up's own spread is not counted: it is small).",
    observe: (samples) =>
      pairs(samples).map(({ where, secure, plain }) => ({
        where: `${where}, where rc4 adds ${withInterval(addedSeconds(secure, plain), secondsText)}`,
        estimate: setupPart(secure, plain),
        region: { low: muchOfIt },
      })),
    missing: missingPair,
    write: percent,
  },
  {
    id: "overhead-falls",
    claim: "The overhead in total time falls as RAM grows, without and with disk.",
    rule: "What rc4 adds to insecure's total time, in percent of it, is at least 5 points less at the largest RAM size than at the smallest.",
    observe: (samples) => {
      const bySetting = Map.groupBy(pairs(samples), ({ setting }) => setting);
      return [...bySetting].flatMap(([setting, ofSetting]): Observation[] => {
        const first = ofSetting[0];
        const last = ofSetting.at(-1);
        if (first === undefined || last === undefined || first === last) return [];
        return [
          {
            where: `the fall from ${inMiB(first.secure.ramBytes)} to ${inMiB(last.secure.ramBytes)} MiB ${settingWords(setting)}`,
            estimate: subtract(overhead(first.secure, first.plain), overhead(last.secure, last.plain)),
            region: { low: leastFall },
          },
        ];
      });
    },
    missing: "It takes rc4 and insecure at two RAM sizes.",
    write: percent,
  },
  {
    id: "overhead-size",
    claim:
      "The overhead in total time is about 32 percent (128 MB) and about 10 percent (1024 MB) without disk, about 20 and about 7 percent with disk.",
    rule: "What rc4 adds to insecure's total time is half to one and a half times the thesis's figure, at each of these sizes that was measured.",
    observe: (samples) =>
      pairs(samples).flatMap(({ where, setting, secure, plain }) => {
        const parts: Readonly<Record<string, number>> =
          setting.diskBytes > 0 ? thesisAddedPart.withDisk : thesisAddedPart.withoutDisk;
        const theirs = parts[inMiB(secure.ramBytes)];
        if (theirs === undefined) return [];
        const region = { low: theirs * about.low, high: theirs * about.high };
        return [{ where, estimate: overhead(secure, plain), region }];
      }),
    missing: "It takes rc4 and insecure at 128 or 1024 MiB of RAM.",
    write: percent,
  },
  {
    id: "threads",
    claim: "The migration modules are multi-threaded.",
    rule: "With the product's own engine, the busier side of tls (else of the first suite measured) at the largest RAM size keeps more than one core busy: CPU time over total time is above 1. Moving several VMs at once is not measured here.",
    observe: (samples) => {
      // One cell chosen beforehand: the busiest of many would be above 1 by chance alone.
      const setting = settingsOf(samples.samples).find(({ engine }) => engine === "full");
      const largest = setting?.cells.filter(({ ramBytes }) => ramBytes === setting.ramBytes.at(-1)) ?? [];
      const cell = largest.find(({ suite }) => suite === "tls") ?? largest[0];
      if (setting === undefined || cell === undefined) return [];
      return busyCores(setting, cell)
        .toSorted((a, b) => b.estimate.value - a.estimate.value)
        .slice(0, 1);
    },
    missing: "The thesis's engine has one thread by its nature; `--engine full` measures the product's own.",
    write: ratioText,
  },
];

function secondsText(value: number): string {
  return `${ratioText(value)} s`;
}

interface Pair {
  where: string;
  setting: Setting;
  secure: Cell;
  plain: Cell;
}

/** rc4 and insecure at each size of the thesis's engine where both were measured, sizes ascending. */
function pairs(samples: Samples): Pair[] {
  return settingsOf(samples.samples)
    .filter(({ engine }) => engine === "thesis")
    .flatMap((setting) =>
      setting.ramBytes.flatMap((ramBytes) => {
        const secure = cellAt(setting, ramBytes, "rc4");
        const plain = cellAt(setting, ramBytes, "insecure");
        if (secure === undefined || plain === undefined) return [];
        return [{ where: `${inMiB(ramBytes)} MiB ${settingWords(setting)}`, setting, secure, plain }];
      }),
    );
}

const total = (cell: Cell) => cell.samples.map(({ totalMs }) => totalMs);

function addedSeconds(secure: Cell, plain: Cell): Estimate {
  return scaled(difference(total(secure), total(plain)), 1 / 1000);
}

/** What the secure suite adds, as a part of insecure's total time. */
function overhead(secure: Cell, plain: Cell): Estimate {
  const { value, interval } = ratio(total(secure), total(plain));
  return {
    value: value - 1,
    interval: interval === undefined ? undefined : { low: interval.low - 1, high: interval.high - 1 },
  };
}

/** The part of the added time that is set-up; it has no value if the added time may be 0 or less. */
function setupPart(secure: Cell, plain: Cell): Estimate {
  const setup = (cell: Cell) => mean(cell.samples.map((sample: Sample) => sample.setup.wallMs));
  const added = difference(total(secure), total(plain));
  const more = Math.max(0, setup(secure) - setup(plain));
  if (added.interval === undefined || added.interval.low <= 0)
    return { value: Number.NaN, interval: undefined };
  return {
    value: more / added.value,
    interval: { low: more / added.interval.high, high: more / added.interval.low },
  };
}

function busyCores(setting: Setting, cell: Cell): Observation[] {
  return sideNames.map((side) => {
    const { mean: value, interval } = summarise(
      cell.samples.map(
        (sample) => (sample[side].userMs + sample[side].systemMs) / Math.max(1, sample.totalMs),
      ),
    );
    return {
      where: `${cell.suite} on the ${side}, ${inMiB(cell.ramBytes)} MiB ${settingWords(setting)}`,
      estimate: { value, interval },
      region: { low: 1 },
    };
  });
}

function scaled({ value, interval }: Estimate, factor: number): Estimate {
  return {
    value: value * factor,
    interval:
      interval === undefined ? undefined : { low: interval.low * factor, high: interval.high * factor },
  };
}
