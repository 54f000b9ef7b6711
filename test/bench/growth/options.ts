/** What the benchmark of growing cost is asked to do. */
import { parseArgs } from "node:util";
import { seedOf, wholeNumber } from "../options.ts";

export interface GrowthOptions {
  rounds: number;
  /** Logical sizes of the one VM that is moved, in MiB, ascending. */
  sizesMiB: number[];
  /** How many VMs are moved at once, ascending. */
  vms: number[];
  /** Size of each of the VMs that are moved at once, all of it data, in MiB. */
  vmMiB: number;
  /** Where VMs and stores lie. */
  folder: string;
  seed: number;
  /** Where the raw samples go. */
  json: string | undefined;
}

/** Each has two processes and its data on this one machine. */
const mostVms = 64;
const mostMiB = 1024 * 1024;

export const usage = `bun run bench growth [--rounds 3] [--sizes MIB,MIB] [--vms N,N] [--vm-size MIB]
                     [--folder DIR] [--seed N] [--json FILE]

  --rounds    how often each is measured (default 3)
  --sizes     MiB of a sparse VM, a sixteenth of it random data (default 256,1024,4096,8192,16384,32768; 0: none)
  --vms       how many VMs are moved at the same time, to one serve (default 1,2,4,8,16; 0: none)
  --vm-size   MiB of each of those, all of it random data (default 256)
  --folder    where VMs and stores lie (default /dev/shm, so that no disk is measured)
  --seed      of the order of the runs (default: a new one, printed)
  --json      a file for the raw samples`;

/** Reads the command line, after the word `growth`. Throws an Error with a sentence where it makes no sense. */
export function readOptions(args: string[]): GrowthOptions {
  const { values } = parseArgs({
    args,
    strict: true,
    options: {
      rounds: { type: "string", default: "3" },
      sizes: { type: "string", default: "256,1024,4096,8192,16384,32768" },
      vms: { type: "string", default: "1,2,4,8,16" },
      "vm-size": { type: "string", default: "256" },
      folder: { type: "string", default: "/dev/shm" },
      seed: { type: "string" },
      json: { type: "string" },
    },
  });
  return {
    rounds: wholeNumber("--rounds", values.rounds, 1, 1000),
    sizesMiB: numbers("--sizes", values.sizes, 16, mostMiB),
    vms: numbers("--vms", values.vms, 1, mostVms),
    vmMiB: wholeNumber("--vm-size", values["vm-size"], 1, mostMiB),
    folder: values.folder,
    seed: seedOf(values.seed),
    json: values.json,
  };
}

function numbers(flag: string, text: string, least: number, most: number): number[] {
  if (text === "0") return [];
  const values = text.split(",").map((word) => wholeNumber(flag, word, least, most));
  return [...new Set(values)].sort((a, b) => a - b);
}
