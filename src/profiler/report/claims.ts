/**
 * The thesis's claims as questions to a run's data, and the judgement of each; see judgement.ts for the rule. Pure.
 */
import { percent, ratioText, withInterval } from "../notation/notation.ts";
import {
  type Cell,
  cellAt,
  cpuMs,
  inMiB,
  namedOperations,
  operationMs,
  type Setting,
  type SideName,
  settingsOf,
  settingWords,
  shareOf,
  sideNames,
} from "../statistics/cells.ts";
import type { Operation, Sample, Samples, SuiteName } from "../statistics/samples.ts";
import {
  deviation,
  difference,
  type Estimate,
  mean,
  ratio,
  subtract,
  summarise,
} from "../statistics/statistics.ts";
import { type Judgement, judge, type Observation, type Question, type Region } from "./judgement.ts";
import { thesisAddedPart, thesisAddedSeconds, thesisRatioRange } from "./thesis.ts";

/** What the list of judgements is called. */
export const claimsTitle = "The thesis's claims, on this run's data";

/** Every claim in the thesis's order; one that has several parts is judged part by part. */
export function judgeClaims(samples: Samples): Judgement[] {
  return [...cpuQuestions, ...timeQuestions].map((question) => judge(question, samples));
}

/** Cost per GiB of a smaller size over that of the largest: direct proportion is 1; the thesis's own means stay within this. */
const proportional: Region = { low: 0.8, high: 1.25 };
/** The largest size must be this many times the smallest, for growth to be seen at all. */
const leastSpan = 4;
/** An operation with less than this part of the time is not judged by itself: it drowns in noise. */
const leastShare = 0.05;
/** "Consistent": the standard deviation of a share over the runs, as a part of the whole time. */
const largestDeviation = 0.05;

const readsAndWrites: readonly Operation[] = ["file-read", "socket-write", "socket-read", "file-write"];
const thesisSecure: readonly SuiteName[] = ["aes-128", "rc4", "3des"];

const cpuQuestions: readonly Question[] = [
  {
    id: "proportional",
    claim:
      "The CPU time of source and destination, and that of each single operation, grows in direct proportion to the RAM size.",
    rule: `Without disk, the cost per GiB at every smaller size is 0.8 to 1.25 times that at the largest, in total and for each operation with at least 5 % of it; the sizes span a factor of ${leastSpan} or more.`,
    observe: (samples) => withoutDisk(samples).flatMap(proportions),
    missing: `It takes runs without disk whose RAM sizes span a factor of ${leastSpan}.`,
    write: ratioText,
  },
  {
    id: "reads-and-writes",
    claim: "Without encryption, reads and writes take most of the CPU time.",
    rule: "With insecure, reading and writing files and sockets takes more than half of the CPU time, on either side and at every size.",
    observe: (samples) => sharesOf(samples, ["insecure"], readsAndWrites, { low: 0.5 }),
    missing: "Insecure was not measured.",
    write: percent,
  },
  {
    id: "cryptography-and-calls",
    claim:
      "With encryption, cryptographic operations plus read and write calls take more than 90 percent of the CPU time.",
    rule: "With aes-128, rc4 and 3des, the named operations take more than 90 % of the CPU time, on either side and at every size.",
    observe: (samples) => sharesOf(samples, thesisSecure, namedOperations, { low: 0.9 }),
    missing: "None of the thesis's ciphers was measured.",
    write: percent,
  },
  {
    id: "rc4-cost",
    claim: "RC4 costs over 50 percent more CPU than insecure.",
    rule: "rc4 costs at least 1.5 times the CPU of insecure, on either side and at every size.",
    observe: (samples) => ratios(samples, "rc4", "insecure", { low: 1.5 }),
    missing: "It takes both rc4 and insecure.",
    write: ratioText,
  },
  {
    id: "aes-cost",
    claim: "128-bit AES costs nearly twice the CPU of insecure.",
    rule: "aes-128 costs as many times the CPU of insecure as somewhere in the thesis's own tables (1.76 to 2.39), on either side and at every size.",
    observe: (samples) => ratios(samples, "aes-128", "insecure", { ...thesisRatioRange("aes-128") }),
    missing: "It takes both aes-128 and insecure.",
    write: ratioText,
  },
  {
    id: "3des-cost",
    claim: "3DES costs far more CPU than 128-bit AES.",
    rule: "3des costs at least twice the CPU of aes-128 (in the thesis 2.4 to 3.1 times), on either side and at every size.",
    observe: (samples) => ratios(samples, "3des", "aes-128", { low: 2 }),
    missing: "It takes both 3des and aes-128.",
    write: ratioText,
  },
  {
    id: "consistent-shares",
    claim:
      "The share of each operation (encryption, HMAC, read, write) is consistent across runs for one cipher and RAM size.",
    rule: "The standard deviation of the share over the runs is at most 5 points of percent, for each operation with at least 5 % of the time.",
    observe: (samples) =>
      eachCellSide(samples).flatMap(({ setting, cell, side }) =>
        notableOperations(cell, side).map((operation) => ({
          where: `${operation}, ${place(setting, cell, side)}`,
          estimate: deviation(cell.samples.map((sample) => shareOf(sample[side], [operation]))),
          region: { high: largestDeviation },
        })),
      ),
    missing: "No run of the thesis's engine was measured.",
    write: percent,
  },
];

/** The settings that the thesis's claims are about: its own way of sending, not the product's engine. */
function thesisSettings(samples: Samples): Setting[] {
  return settingsOf(samples.samples).filter(({ engine }) => engine === "thesis");
}

function withoutDisk(samples: Samples): Setting[] {
  return thesisSettings(samples).filter(({ diskBytes }) => diskBytes === 0);
}

function proportions(setting: Setting): Observation[] {
  const smallest = setting.ramBytes[0] ?? 0;
  const largest = setting.ramBytes.at(-1) ?? 0;
  if (smallest === 0 || largest < leastSpan * smallest) return [];
  return setting.cells.flatMap((cell) => {
    const base = cellAt(setting, largest, cell.suite);
    if (base === undefined || base === cell) return [];
    return sideNames.flatMap((side) => {
      const compare = (what: string, of: (sample: Sample) => number): Observation => ({
        where: `${what}, ${place(setting, cell, side)} against ${inMiB(largest)} MiB`,
        estimate: ratio(perByte(cell, of), perByte(base, of)),
        region: proportional,
      });
      return [
        compare("all operations", (sample) => cpuMs(sample[side])),
        ...notableOperations(base, side).map((operation) =>
          compare(operation, (sample) => operationMs(sample[side], operation)),
        ),
      ];
    });
  });
}

function perByte(cell: Cell, of: (sample: Sample) => number): number[] {
  return cell.samples.map((sample) => of(sample) / cell.ramBytes);
}

/** The named operations that take a share of a cell's time worth judging. */
function notableOperations(cell: Cell, side: SideName): Operation[] {
  return namedOperations.filter(
    (operation) => mean(cell.samples.map((sample) => shareOf(sample[side], [operation]))) >= leastShare,
  );
}

function sharesOf(
  samples: Samples,
  suites: readonly SuiteName[],
  of: readonly Operation[],
  region: Region,
): Observation[] {
  return eachCellSide(samples)
    .filter(({ cell }) => suites.includes(cell.suite))
    .map(({ setting, cell, side }) => {
      const { mean: value, interval } = summarise(cell.samples.map((sample) => shareOf(sample[side], of)));
      return { where: place(setting, cell, side), estimate: { value, interval }, region };
    });
}

function ratios(samples: Samples, over: SuiteName, under: SuiteName, region: Region): Observation[] {
  return eachCellSide(samples).flatMap(({ setting, cell, side }) => {
    const base = cellAt(setting, cell.ramBytes, under);
    if (cell.suite !== over || base === undefined) return [];
    const cpu = (of: Cell) => of.samples.map((sample) => cpuMs(sample[side]));
    return [{ where: place(setting, cell, side), estimate: ratio(cpu(cell), cpu(base)), region }];
  });
}

function eachCellSide(samples: Samples): { setting: Setting; cell: Cell; side: SideName }[] {
  return thesisSettings(samples).flatMap((setting) =>
    setting.cells.flatMap((cell) => sideNames.map((side) => ({ setting, cell, side }))),
  );
}

function place(setting: Setting, cell: Cell, side: SideName): string {
  return `${cell.suite} on the ${side}, ${inMiB(cell.ramBytes)} MiB ${settingWords(setting)}`;
}

/** "About": from half to one and a half times the thesis's figure. */
const about = { low: 0.5, high: 1.5 } as const;
/** "Falls": by at least this part of insecure's time (the thesis's falls by 0.22 and 0.13). */
const leastFall = 0.05;
/** "Much of it": at least this part of what is added. */
const muchOfIt = 0.5;

const missingPair = "It takes both rc4 and insecure.";

const timeQuestions: readonly Question[] = [
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
  return thesisSettings(samples).flatMap((setting) =>
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
      where: place(setting, cell, side),
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
