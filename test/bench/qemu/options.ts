/** What the benchmark of running VMs is asked to do. */

import { BenchArguments } from "../../support/runner/bench-arguments.ts";
import { type LinkName, linkNames } from "../link.ts";
import { contenderNames } from "./contenders.ts";
import { type GuestName, guestNames } from "./guests.ts";

export interface QemuBenchOptions {
  /** How often each contender moves each of the guests that have no disk, over each link. */
  rounds: number;
  /** How often the small guest with a disk is moved over each link; 0 leaves that part out. */
  diskRounds: number;
  guests: GuestName[];
  links: LinkName[];
  /** Random bytes in the RAM of the guest `random`, in MiB. */
  randomMiB: number;
  /** RAM of the guest `worked`, in MiB. */
  workedMiB: number;
  contenders: string[];
  /** Where saved guests, disks and stores lie. */
  folder: string;
  seed: number;
  /** Where the raw samples go. */
  json: string | undefined;
}

export const usage = `bun run bench qemu [--rounds 5] [--disk-rounds 10] [--guests a,b] [--link a,b] [--random MIB] [--worked MIB]
                   [--contenders a,b] [--folder DIR] [--seed N] [--json FILE]

  --rounds       how often each contender moves each guest over each link (default 5)
  --disk-rounds  how often an idle guest of 256 MiB with a disk of 1 GiB is moved by us (default 10; 0: not at all)
  --guests       of ${guestNames.join(", ")} (default both)
  --link         of ${linkNames.join(", ")} (default loopback; gigabit needs root)
  --random       MiB of random bytes in the RAM of the guest random (default 1024)
  --worked       MiB of RAM of the guest worked, half of it worked on (default 1024)
  --contenders   of ${contenderNames.join(", ")} (default all)
  --folder       where saved guests, disks and stores lie (default /dev/shm, so that no disk is measured)
  --seed         of the order of the runs (default: a new one, printed)
  --json         a file for the raw samples`;

/** Reads the command line, after the word `qemu`. Throws an Error with a sentence where it makes no sense. */
export function readOptions(args: string[]): QemuBenchOptions {
  const given = new BenchArguments(
    args,
    `--rounds 5 --disk-rounds 10 --guests ${guestNames.join(",")} --link loopback --random 1024 --worked 1024 --contenders ${contenderNames.join(",")} --folder /dev/shm --seed --json`,
  );
  return {
    rounds: given.wholeNumber("--rounds", 1, 1000),
    diskRounds: given.wholeNumber("--disk-rounds", 0, 1000),
    guests: given.names("--guests", guestNames),
    links: given.names("--link", linkNames),
    randomMiB: given.wholeNumber("--random", 16, 16 * 1024),
    workedMiB: given.wholeNumber("--worked", 128, 16 * 1024),
    contenders: given.names("--contenders", contenderNames),
    ...given.usual(),
  };
}
