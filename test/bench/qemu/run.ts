/**
 * Moving a guest that runs, against QEMU's own live migration: `bun run bench qemu`.
 *
 * All contenders move the same guest in one go, in another order each round, so that what else the
 * machine does falls on all of them alike. Nobody is throttled, all have the same downtime limit.
 */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { liveTools, missingTools, peerTools } from "../../support/needs.ts";
import { describeMachine, freeBytes } from "../machine.ts";
import { seededRandom, shuffled } from "../statistics.ts";
import { qemuContenders } from "./contenders.ts";
import { type BenchGuest, makeDiskGuest, makeFullGuest } from "./guests.ts";
import { downtimeLimitMs } from "./native.ts";
import type { QemuBenchOptions } from "./options.ts";
import { aimList, guestTable } from "./report.ts";
import { type QemuSample, takeSample } from "./sample.ts";

const mib = 2 ** 20;

/** Runs it; progress goes to `say`, the report to standard output. Throws at the first run that fails. */
export async function benchQemu(options: QemuBenchOptions, say: (text: string) => void): Promise<void> {
  const needed = ["qemu-system-x86_64", "qemu-img", "cpio", "openssl"];
  const missing = missingTools(
    [...liveTools, ...peerTools].filter(({ program }) => needed.includes(program)),
  );
  if (missing.length > 0) {
    const packages = missing.flatMap((tool) => tool.package ?? []);
    throw new Error(`this needs apt-get install ${packages.join(" ")}`);
  }
  // The saved guest and two of it in memory; a disk, and two copies of it.
  const neededBytes = Math.max(3 * 1.3 * options.randomMiB, options.diskRounds > 0 ? 4096 : 0) * mib;
  if ((await freeBytes(options.folder)) < neededBytes)
    throw new Error(`${options.folder} has less than ${(neededBytes / 2 ** 30).toFixed(1)} GiB free`);
  const folder = mkdtempSync(join(options.folder, "migrate-bench-"));
  process.on("exit", () => rmSync(folder, { recursive: true, force: true }));
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => process.exit(130));

  const contenders = qemuContenders.filter(({ name }) => options.contenders.includes(name));
  const random = seededRandom(options.seed);
  const samples: QemuSample[] = [];
  const measure = async (name: string, guest: BenchGuest, rounds: number, all: typeof contenders) => {
    for (let round = 1; round <= rounds; round++) {
      for (const contender of shuffled(all, random)) {
        const sample = await takeSample(contender, name, guest, round, folder);
        samples.push(sample);
        const times = `${sample.seconds.toFixed(2)} s, downtime ${sample.downtimeMs ?? "unknown"} ms`;
        say(`round ${round}/${rounds}  ${name}  ${contender.name}  ${times}`);
      }
    }
    return guestTable(
      guest.title,
      all,
      samples.filter((sample) => sample.guest === name),
    );
  };

  say(`filling a guest's RAM with ${options.randomMiB} MiB of random bytes`);
  const full = await makeFullGuest(folder, options.randomMiB);
  const tables = [await measure("full", full, options.rounds, contenders)];
  rmSync(join(folder, "full.ram"));
  const ours = contenders.filter(({ name }) => name === "ours");
  if (options.diskRounds > 0 && ours.length > 0)
    tables.push(await measure("disk", await makeDiskGuest(folder), options.diskRounds, ours));

  const command = ["bun run bench", ...process.argv.slice(2)].join(" ");
  const machine = await describeMachine();
  const of = (name: string): QemuSample[] => samples.filter((sample) => sample.guest === name);
  console.log(
    [
      `Measured with \`${command}\` (seed ${options.seed}): medians (least–most) over loopback, without KVM, files in ${options.folder}; ` +
        `bandwidth unlimited and a downtime limit of ${downtimeLimitMs} ms for all. ` +
        "The destination waits before the clock starts; with us its QEMU is started within the time, and both hosts meet for the first time. " +
        "CPU is that of all processes on a side; the source's counts until its QEMU is gone. The guest ticked on each time.",
      machine,
      ...tables,
      aimList(of("full"), of("disk")),
    ]
      .filter((part) => part !== "")
      .join("\n\n"),
  );
  if (options.json !== undefined)
    writeFileSync(options.json, `${JSON.stringify({ options, machine, samples }, null, 2)}\n`);
}
