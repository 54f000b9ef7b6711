/** What the benchmark of running VMs is asked to do. */
import { parseArgs } from "node:util";
import { contenderNames } from "./contenders.ts";

export interface QemuBenchOptions {
  /** How often each contender moves the guest that is full of random bytes. */
  rounds: number;
  /** How often the small guest with a disk is moved; 0 leaves that part out. */
  diskRounds: number;
  /** Random bytes in the guest's RAM, in MiB. */
  randomMiB: number;
  contenders: string[];
  /** Where saved guests, disks and stores lie. */
  folder: string;
  seed: number;
  /** Where the raw samples go. */
  json: string | undefined;
}

export const usage = `bun run bench qemu [--rounds 5] [--disk-rounds 10] [--random MIB] [--contenders a,b]
                   [--folder DIR] [--seed N] [--json FILE]

  --rounds       how often each contender moves a guest with 1 GiB of random bytes (default 5)
  --disk-rounds  how often an idle guest of 256 MiB with a disk of 1 GiB is moved by us (default 10; 0: not at all)
  --random       MiB of random bytes in the guest's RAM (default 1024)
  --contenders   of ${contenderNames.join(", ")} (default all)
  --folder       where saved guests, disks and stores lie (default /dev/shm, so that no disk is measured)
  --seed         of the order of the runs (default: a new one, printed)
  --json         a file for the raw samples`;

/** Reads the command line, after the word `qemu`. Throws an Error with a sentence where it makes no sense. */
export function readOptions(args: string[]): QemuBenchOptions {
  const { values } = parseArgs({
    args,
    strict: true,
    options: {
      rounds: { type: "string", default: "5" },
      "disk-rounds": { type: "string", default: "10" },
      random: { type: "string", default: "1024" },
      contenders: { type: "string", default: contenderNames.join(",") },
      folder: { type: "string", default: "/dev/shm" },
      seed: { type: "string" },
      json: { type: "string" },
    },
  });
  const names = values.contenders.split(",");
  const strange = names.find((name) => !contenderNames.includes(name));
  if (strange !== undefined)
    throw new Error(`--contenders knows ${contenderNames.join(", ")}, not ${strange}`);
  return {
    rounds: wholeNumber("--rounds", values.rounds, 1, 1000),
    diskRounds: wholeNumber("--disk-rounds", values["disk-rounds"], 0, 1000),
    randomMiB: wholeNumber("--random", values.random, 16, 16 * 1024),
    contenders: [...new Set(names)],
    folder: values.folder,
    seed:
      values.seed === undefined
        ? crypto.getRandomValues(new Uint32Array(1))[0]!
        : wholeNumber("--seed", values.seed, 0, 2 ** 32 - 1),
    json: values.json,
  };
}

function wholeNumber(flag: string, text: string, least: number, most: number): number {
  const value = Number(text);
  if (/^\d+$/.test(text) && value >= least && value <= most) return value;
  throw new Error(`${flag} takes a whole number from ${least} to ${most}, not ${text}`);
}
