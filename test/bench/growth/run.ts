/**
 * How cost grows with the size of a VM and with how many are moved at once: `bun run bench growth`.
 * The order of the runs is shuffled anew in each round, so that what else the machine does falls on
 * small and large ones alike.
 */
import { statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { missingTools } from "../../support/runner/needs.ts";
import { builtBinary } from "../../support/system/process.ts";
import { describeMachine } from "../machine.ts";
import { seededRandom, shuffled } from "../statistics.ts";
import { makeWorkFolder } from "../work-folder.ts";
import { measureMoves } from "./moves.ts";
import type { GrowthOptions } from "./options.ts";
import { type GrowthSample, growthTable } from "./report.ts";
import { makeVmFile } from "./vm-file.ts";

/** A sixteenth of a sparse VM is data. */
const sparseEvery = 16;
const mib = 2 ** 20;

interface Run {
  of: GrowthSample["of"];
  amount: number;
  paths: string[];
}

/** Runs it; progress goes to `say`, the report to standard output. Throws at the first run that fails. */
export async function benchGrowth(options: GrowthOptions, say: (text: string) => void): Promise<void> {
  if (missingTools([{ program: builtBinary }]).length > 0) throw new Error(`${builtBinary} is not built`);
  const folder = await makeWorkFolder(options.folder, neededBytes(options));
  say(`making the VMs in ${folder}`);
  const runs = makeRuns(options, folder);
  const random = seededRandom(options.seed);
  const samples: GrowthSample[] = [];
  for (let round = 1; round <= options.rounds; round++) {
    for (const { of, amount, paths } of shuffled(runs, random)) {
      // A sparse VM takes longer to compare than to move: once is enough, the rounds are alike.
      const moves = await measureMoves(paths, join(folder, "run"), round === 1);
      const dataBytes = paths.reduce((sum, path) => sum + statSync(path).blocks * 512, 0);
      samples.push({ round, of, amount, dataBytes, ...moves });
      const what = of === "size" ? `${amount} MiB` : `${amount} VMs`;
      say(`round ${round}/${options.rounds}  ${what}  ${moves.seconds.toFixed(2)} s`);
    }
  }
  await report(options, samples);
}

function makeRuns({ sizesMiB, vms, vmMiB }: GrowthOptions, folder: string): Run[] {
  const sparse = sizesMiB.map((amount): Run => {
    const path = join(folder, `size-${amount}.raw`);
    makeVmFile(path, amount, sparseEvery);
    return { of: "size", amount, paths: [path] };
  });
  const full = Array.from({ length: Math.max(0, ...vms) }, (_, index) => {
    const path = join(folder, `vm-${index + 1}.raw`);
    makeVmFile(path, vmMiB, 1);
    return path;
  });
  const crowds = vms.map((amount): Run => ({ of: "vms", amount, paths: full.slice(0, amount) }));
  return [...sparse, ...crowds];
}

/** All VMs, and the copy of the largest run. */
function neededBytes({ sizesMiB, vms, vmMiB }: GrowthOptions): number {
  const data = sizesMiB.map((size) => size / sparseEvery);
  const crowd = Math.max(0, ...vms) * vmMiB;
  const sum = data.reduce((total, size) => total + size, 0);
  return (sum + crowd + Math.max(crowd, ...data, 0)) * mib;
}

async function report(options: GrowthOptions, samples: readonly GrowthSample[]): Promise<void> {
  const command = ["bun run bench", ...process.argv.slice(2)].join(" ");
  const machine = await describeMachine();
  const table = (of: GrowthSample["of"], title: string): string[] => {
    const own = samples.filter((sample) => sample.of === of);
    return own.length === 0 ? [] : [growthTable(title, own)];
  };
  console.log(
    [
      `Measured with \`${command}\` (seed ${options.seed}): medians (least–most) of ${options.rounds} rounds over loopback between hosts that have met before, files in ${options.folder}, the destination's bytes compared in the first round. Peaks are those of one process.`,
      machine,
      ...table("size", "One VM that grows, a sixteenth of it random data"),
      ...table("vms", `VMs of ${options.vmMiB} MiB of random data, moved at the same time to one serve`),
    ].join("\n\n"),
  );
  if (options.json !== undefined)
    writeFileSync(options.json, `${JSON.stringify({ options, machine, samples }, null, 2)}\n`);
}
