/** From the flags of `migrate profile` to what is measured: sizes, suites, runs. Pure. */

import type { Plan, SuiteName } from "../../profiler/statistics/samples.ts";
import { suiteNames } from "../../profiler/statistics/samples.ts";
import { fullSuites, isSuiteName, usualSuites } from "../../profiler/statistics/suite.ts";
import { MigrateError } from "../../protocol/errors.ts";
import { size } from "../cli/option.ts";
import { suggest } from "../cli/suggest.ts";

const MiB = 1024 ** 2;

/** What is measured without --thesis: done in less than a minute on two cores with AES instructions, 3DES taking most of it. */
export const quick = { ramBytes: [16 * MiB, 32 * MiB, 64 * MiB], diskBytes: 16 * MiB, runs: 3 };

/**
 * The thesis's RAM sizes and its number of runs. Its disk had about 1 GiB; with 128 MiB all runs of
 * all suites take about 23 minutes on two cores, of which 3DES takes 18 at its 28 MiB/s.
 */
export const thesis = {
  ramBytes: [128 * MiB, 256 * MiB, 512 * MiB, 768 * MiB, 1024 * MiB],
  diskBytes: 128 * MiB,
  runs: 5,
};

/** Most sizes in a list. */
const mostSizes = 32;

/** "128M,256M": sizes in ascending order, each once. Throws MigrateError "usage". */
export function sizes(text: string): number[] {
  const all = [...new Set(text.split(",").map((part) => size(part)))].sort((a, b) => a - b);
  if (all.length > mostSizes) throw new MigrateError("usage", `has more than ${mostSizes} sizes`);
  return all;
}

/** A size, or 0 for none at all. Throws MigrateError "usage". */
export function sizeOrNone(text: string): number {
  return text === "0" || text === "none" ? 0 : size(text);
}

/** "tls,rc4": suites in the order of tables, each once. Throws MigrateError "usage". */
export function suites(text: string): SuiteName[] {
  const given = text.split(",").map((word) => word.trim());
  for (const word of given) {
    if (isSuiteName(word)) continue;
    const near = suggest(word, suiteNames);
    throw new MigrateError("usage", `has no suite "${word}" to offer`, {
      hint: `${near === undefined ? "" : `Did you mean ${near}? `}There are ${suiteNames.join(", ")}.`,
    });
  }
  return suiteNames.filter((name) => given.includes(name));
}

export interface Asked {
  thesis: boolean;
  ram: number[] | undefined;
  disk: number | undefined;
  suites: SuiteName[] | undefined;
  runs: number | undefined;
  engine: Plan["engine"];
  /** The VM whose files are measured: its folder, and the sizes of its RAM and of its disks together. */
  vm?: { folder: string; ramBytes: number; diskBytes: number } | undefined;
}

/** The plan for what was asked. Throws MigrateError "usage" for what does not go together. */
export function planFor(asked: Asked): Plan {
  const { engine, vm } = asked;
  const usual = asked.thesis ? thesis : quick;
  const offered = engine === "full" ? fullSuites : usualSuites;
  const foreign = asked.suites?.find((suite) => engine === "full" && !fullSuites.includes(suite));
  if (foreign !== undefined) {
    throw new MigrateError(
      "usage",
      `--engine full has no suite ${foreign}: the product itself knows ${fullSuites.join(" and ")} alone`,
      {
        hint: "The other suites are the thesis's and exist for comparison: leave out --engine full to measure them.",
      },
    );
  }
  if (vm !== undefined && (asked.ram !== undefined || asked.disk !== undefined || asked.thesis)) {
    throw new MigrateError("usage", "A VM has its own sizes", {
      hint: "Leave out --thesis, --ram and --disk, or leave out VM.",
    });
  }
  const disk = asked.disk ?? usual.diskBytes;
  return {
    suites: asked.suites ?? [...offered],
    engine,
    ...(vm === undefined
      ? { ramBytes: asked.ram ?? usual.ramBytes, diskBytes: disk === 0 ? [0] : [0, disk] }
      : sizesOf(vm)),
    runs: asked.runs ?? usual.runs,
    ...(vm === undefined ? {} : { vm: vm.folder }),
  };
}

/** With and without its disks; a VM that is switched off has its disks alone. */
function sizesOf({ ramBytes, diskBytes }: { ramBytes: number; diskBytes: number }) {
  const disks = ramBytes === 0 ? [diskBytes] : diskBytes === 0 ? [0] : [0, diskBytes];
  return { ramBytes: [ramBytes], diskBytes: disks };
}
