/** What the benchmark is asked to do. */
import { BenchArguments } from "../support/runner/bench-arguments.ts";
import { contenderNames } from "./contenders.ts";
import { inputNames } from "./inputs.ts";
import { type LinkName, linkNames } from "./link.ts";

export interface BenchOptions {
  rounds: number;
  /** The size that all inputs are made from: so many random bytes, so much guest RAM, so much data on the disk. */
  sizeMiB: number;
  inputs: string[];
  links: LinkName[];
  contenders: string[];
  /** Where inputs and copies lie. */
  folder: string;
  seed: number;
  /** Where the raw samples go. */
  json: string | undefined;
  /** Whether missing peers are installed (root, apt). */
  install: boolean;
}

export const usage = `bun run bench [--rounds 5] [--size MIB] [--inputs a,b] [--link a,b] [--contenders a,b]
              [--folder DIR] [--seed N] [--json FILE] [--install]

  --rounds      how often each contender moves each input (default 5)
  --size        MiB of random bytes, of guest RAM, and of data on the disk (default 1024)
  --inputs      of ${inputNames.join(", ")} (default random,ram,disk)
  --link        of ${linkNames.join(", ")} (default loopback; gigabit needs root)
  --contenders  of ${contenderNames.join(", ")} (default all)
  --folder      where inputs and copies lie (default /dev/shm, so that no disk is measured)
  --seed        of the order of the runs (default: a new one, printed)
  --json        a file for the raw samples
  --install     install missing peers with apt (as root)`;

/** Reads the command line. Throws an Error with a sentence where it makes no sense. */
export function readOptions(args: string[]): BenchOptions {
  const given = new BenchArguments(
    args,
    `--rounds 5 --size 1024 --inputs random,ram,disk --link loopback --contenders ${contenderNames.join(",")} --folder /dev/shm --seed --json --install!`,
  );
  return {
    rounds: given.wholeNumber("--rounds", 1, 1000),
    sizeMiB: given.wholeNumber("--size", 16, 64 * 1024),
    inputs: given.names("--inputs", inputNames),
    links: given.names("--link", linkNames),
    contenders: given.names("--contenders", contenderNames),
    install: given.has("--install"),
    ...given.usual(),
  };
}
