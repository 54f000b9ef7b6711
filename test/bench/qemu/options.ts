/** What the benchmark of running VMs is asked to do. */
import { parseArgs } from "node:util";
import { type LinkName, linkNames } from "../link.ts";
import { listOf, seedOf, wholeNumber } from "../options.ts";
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
  const { values } = parseArgs({
    args,
    strict: true,
    options: {
      rounds: { type: "string", default: "5" },
      "disk-rounds": { type: "string", default: "10" },
      guests: { type: "string", default: guestNames.join(",") },
      link: { type: "string", default: "loopback" },
      random: { type: "string", default: "1024" },
      worked: { type: "string", default: "1024" },
      contenders: { type: "string", default: contenderNames.join(",") },
      folder: { type: "string", default: "/dev/shm" },
      seed: { type: "string" },
      json: { type: "string" },
    },
  });
  return {
    rounds: wholeNumber("--rounds", values.rounds, 1, 1000),
    diskRounds: wholeNumber("--disk-rounds", values["disk-rounds"], 0, 1000),
    guests: listOf("--guests", values.guests, guestNames),
    links: listOf("--link", values.link, linkNames),
    randomMiB: wholeNumber("--random", values.random, 16, 16 * 1024),
    workedMiB: wholeNumber("--worked", values.worked, 128, 16 * 1024),
    contenders: listOf("--contenders", values.contenders, contenderNames),
    folder: values.folder,
    seed: seedOf(values.seed),
    json: values.json,
  };
}
