/** What the benchmark of growing cost is asked to do. */
import { BenchArguments } from "../../support/runner/bench-arguments.ts";

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
  const given = new BenchArguments(
    args,
    "--rounds 3 --sizes 256,1024,4096,8192,16384,32768 --vms 1,2,4,8,16 --vm-size 256 --folder /dev/shm --seed --json",
  );
  return {
    rounds: given.wholeNumber("--rounds", 1, 1000),
    sizesMiB: given.wholeNumbers("--sizes", 16, mostMiB),
    vms: given.wholeNumbers("--vms", 1, mostVms),
    vmMiB: given.wholeNumber("--vm-size", 1, mostMiB),
    ...given.usual(),
  };
}
