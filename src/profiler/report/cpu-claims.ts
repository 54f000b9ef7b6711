/** What the thesis claims of CPU time, as questions to a run's data. See judgement.ts for the rule of judging. Pure. */

import { percent, ratioText } from "../notation/notation.ts";
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
import { deviation, mean, ratio, summarise } from "../statistics/statistics.ts";
import type { Observation, Question, Region } from "./judgement.ts";
import { thesisRatioRange } from "./thesis.ts";

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

export const cpuQuestions: readonly Question[] = [
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
    observe: (samples) => shares(samples, ["insecure"], readsAndWrites, { low: 0.5 }),
    missing: "Insecure was not measured.",
    write: percent,
  },
  {
    id: "cryptography-and-calls",
    claim:
      "With encryption, cryptographic operations plus read and write calls take more than 90 percent of the CPU time.",
    rule: "With aes-128, rc4 and 3des, the named operations take more than 90 % of the CPU time, on either side and at every size.",
    observe: (samples) => shares(samples, thesisSecure, namedOperations, { low: 0.9 }),
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

function shares(
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
