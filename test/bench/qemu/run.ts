/**
 * Moving a guest that runs, against QEMU's own live migration: `bun run bench qemu`.
 *
 * All contenders move the same guest over the same links in one go, in another order each round, so
 * that what else the machine does falls on all of them alike. Nobody is throttled, all have the same
 * downtime limit.
 */
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { liveTools, missingTools, peerTools } from "../../support/runner/needs.ts";
import { type Link, openLinks } from "../link.ts";
import { describeMachine } from "../machine.ts";
import { seededRandom, shuffled } from "../statistics.ts";
import { makeWorkFolder } from "../work-folder.ts";
import type { QemuContender } from "./contender.ts";
import { qemuContenders } from "./contenders.ts";
import {
  type BenchGuest,
  makeDiskGuest,
  makeRandomGuest,
  makeWorkedGuest,
  randomGuestMiB,
} from "./guests.ts";
import { downtimeLimitMs } from "./native.ts";
import type { QemuBenchOptions } from "./options.ts";
import { aimList, guestTable } from "./report.ts";
import { type QemuSample, takeSample } from "./sample.ts";

type Say = (text: string) => void;

/** A guest that is yet to be made, in a folder of its own, and what is done with it. */
interface Part {
  name: string;
  make(folder: string): Promise<BenchGuest>;
  rounds: number;
  contenders: readonly QemuContender[];
  /** The most room that it takes in the folder and in memory: saved, at the source and at the destination. */
  roomMiB: number;
}

/** Runs it; progress goes to `say`, the report to standard output. Throws at the first run that fails. */
export async function benchQemu(options: QemuBenchOptions, say: Say): Promise<void> {
  needTools();
  const parts = partsOf(options, await atHand(options, say));
  const roomMiB = Math.max(...parts.map((part) => part.roomMiB));
  const folder = await makeWorkFolder(options.folder, roomMiB * 2 ** 20);
  const links = await openLinks(options.links, say);
  const random = seededRandom(options.seed);
  const samples: QemuSample[] = [];
  const tables: string[] = [];
  try {
    if (links.length === 0) throw new Error("no link is left to measure on");
    for (const part of parts) {
      const place = join(folder, part.name);
      mkdirSync(place);
      say(`making the guest ${part.name}`);
      const guest = await part.make(place);
      const taken = await measure(guest, links, part, random, folder, say);
      rmSync(place, { recursive: true });
      samples.push(...taken);
      for (const link of links) {
        const own = taken.filter((sample) => sample.link === link.name);
        tables.push(guestTable(`${guest.title}; ${link.title}`, part.contenders, own));
      }
    }
  } finally {
    for (const link of links) await link.close();
  }
  await report(options, tables, samples);
}

/** Throws with the packages to install where a program is missing. */
function needTools(): void {
  const needed = ["qemu-system-x86_64", "qemu-img", "cpio", "openssl"];
  const missing = missingTools(
    [...liveTools, ...peerTools].filter(({ program }) => needed.includes(program)),
  );
  if (missing.length === 0) return;
  throw new Error(`this needs apt-get install ${missing.flatMap((tool) => tool.package ?? []).join(" ")}`);
}

/** The contenders asked for that this machine's QEMU can be; says which are left out, and why. */
async function atHand(options: QemuBenchOptions, say: Say): Promise<QemuContender[]> {
  const found: QemuContender[] = [];
  for (const contender of qemuContenders.filter(({ name }) => options.contenders.includes(name))) {
    const reason = await contender.whyNot?.();
    if (reason === undefined) found.push(contender);
    else say(`left out: ${contender.name}; ${reason}`);
  }
  if (found.length === 0) throw new Error("no contender is left to measure");
  return found;
}

function partsOf(options: QemuBenchOptions, contenders: readonly QemuContender[]): Part[] {
  const { rounds, diskRounds, randomMiB, workedMiB } = options;
  const random: Part = {
    ...{ name: "random", rounds, contenders, roomMiB: 3 * randomGuestMiB(randomMiB) },
    make: async (folder) => await makeRandomGuest(folder, randomMiB),
  };
  const worked: Part = {
    ...{ name: "worked", rounds, contenders, roomMiB: 3 * workedMiB },
    make: async (folder) => await makeWorkedGuest(folder, workedMiB),
  };
  const ours = contenders.filter(({ name }) => name === "ours");
  const disk: Part = {
    ...{ name: "disk", rounds: diskRounds, contenders: ours, roomMiB: 4096 },
    make: makeDiskGuest,
  };
  const withDisk = diskRounds > 0 && ours.length > 0;
  return [
    ...[random, worked].filter(({ name }) => options.guests.some((guest) => guest === name)),
    ...(withDisk ? [disk] : []),
  ];
}

async function measure(
  guest: BenchGuest,
  links: readonly Link[],
  { rounds, contenders }: Part,
  random: () => number,
  folder: string,
  say: Say,
): Promise<QemuSample[]> {
  const runs = links.flatMap((link) => contenders.map((contender) => ({ link, contender })));
  const samples: QemuSample[] = [];
  for (let round = 1; round <= rounds; round++) {
    for (const { link, contender } of shuffled(runs, random)) {
      const sample = await takeSample(contender, guest, link, round, folder);
      samples.push(sample);
      const run = `${guest.name}  ${link.name}  ${contender.name}`;
      const times = `${sample.seconds.toFixed(2)} s, downtime ${sample.downtimeMs ?? "unknown"} ms`;
      say(`round ${round}/${rounds}  ${run}  ${times}`);
    }
  }
  return samples;
}

async function report(
  options: QemuBenchOptions,
  tables: readonly string[],
  samples: readonly QemuSample[],
): Promise<void> {
  const command = ["bun run bench", ...process.argv.slice(2)].join(" ");
  const machine = await describeMachine();
  console.log(
    [
      `Measured with \`${command}\` (seed ${options.seed}): medians (least–most), without KVM, files in ${options.folder}; ` +
        `bandwidth unlimited and a downtime limit of ${downtimeLimitMs} ms for all. ` +
        "The destination waits before the clock starts; with us its QEMU is started within the time, and both hosts meet for the first time. " +
        "CPU is that of all processes on a side; the source's counts until its QEMU is gone. The guest ticked on each time.",
      machine,
      ...tables,
      aimList(samples),
    ]
      .filter((part) => part !== "")
      .join("\n\n"),
  );
  if (options.json !== undefined)
    writeFileSync(options.json, `${JSON.stringify({ options, machine, samples }, null, 2)}\n`);
}
