/** What the benchmark is asked to do. */
import { parseArgs } from "node:util";
import { contenderNames } from "./contenders.ts";
import { inputNames } from "./inputs.ts";

export interface BenchOptions {
  rounds: number;
  /** The size that all inputs are made from: so many random bytes, so much guest RAM, so much data on the disk. */
  sizeMiB: number;
  inputs: string[];
  contenders: string[];
  /** Where inputs and copies lie. */
  folder: string;
  seed: number;
  /** Where the raw samples go. */
  json: string | undefined;
  /** Whether missing peers are installed (root, apt). */
  install: boolean;
}

export const usage = `bun run bench [--rounds 5] [--size MIB] [--inputs a,b] [--contenders a,b]
              [--folder DIR] [--seed N] [--json FILE] [--install]

  --rounds      how often each contender moves each input (default 5)
  --size        MiB of random bytes, of guest RAM, and of data on the disk (default 1024)
  --inputs      of ${inputNames.join(", ")} (default random,ram,disk)
  --contenders  of ${contenderNames.join(", ")} (default all)
  --folder      where inputs and copies lie (default /dev/shm, so that no disk is measured)
  --seed        of the order of the runs (default: a new one, printed)
  --json        a file for the raw samples
  --install     install missing peers with apt (as root)`;

/** Reads the command line. Throws an Error with a sentence where it makes no sense. */
export function readOptions(args: string[]): BenchOptions {
  const { values } = parseArgs({
    args,
    strict: true,
    options: {
      rounds: { type: "string", default: "5" },
      size: { type: "string", default: "1024" },
      inputs: { type: "string", default: "random,ram,disk" },
      contenders: { type: "string", default: contenderNames.join(",") },
      folder: { type: "string", default: "/dev/shm" },
      seed: { type: "string" },
      json: { type: "string" },
      install: { type: "boolean", default: false },
    },
  });
  return {
    rounds: wholeNumber("--rounds", values.rounds, 1, 1000),
    sizeMiB: wholeNumber("--size", values.size, 16, 64 * 1024),
    inputs: listOf("--inputs", values.inputs, inputNames),
    contenders: listOf("--contenders", values.contenders, contenderNames),
    folder: values.folder,
    seed:
      values.seed === undefined
        ? crypto.getRandomValues(new Uint32Array(1))[0]!
        : wholeNumber("--seed", values.seed, 0, 2 ** 32 - 1),
    json: values.json,
    install: values.install,
  };
}

function wholeNumber(flag: string, text: string, least: number, most: number): number {
  const value = Number(text);
  if (/^\d+$/.test(text) && value >= least && value <= most) return value;
  throw new Error(`${flag} takes a whole number from ${least} to ${most}, not ${text}`);
}

function listOf(flag: string, text: string, known: readonly string[]): string[] {
  const names = text.split(",");
  const strange = names.find((name) => !known.includes(name));
  if (strange !== undefined) throw new Error(`${flag} knows ${known.join(", ")}, not ${strange}`);
  return [...new Set(names)];
}
