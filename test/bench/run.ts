/**
 * The benchmark against what a user would pick instead: `bun run bench`. With the word `qemu` behind
 * it, VMs are moved as they run, against QEMU's own live migration; see qemu/run.ts.
 *
 * All contenders move the same inputs in one go. The order is shuffled anew in each round, so that
 * what else the machine does falls on all of them alike.
 */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { installTools, missingTools } from "../support/needs.ts";
import type { Contender } from "./contender.ts";
import { contenders } from "./contenders.ts";
import { makeInputs, roomBytes } from "./inputs.ts";
import { describeMachine, freeBytes } from "./machine.ts";
import { type BenchOptions, readOptions, usage } from "./options.ts";
import { usage as qemuUsage, readOptions as readQemuOptions } from "./qemu/options.ts";
import { benchQemu } from "./qemu/run.ts";
import { aimList, inputTable } from "./report.ts";
import { type Sample, takeSample } from "./sample.ts";
import { seededRandom, shuffled } from "./statistics.ts";

/** Progress goes to standard error: what is on standard output can be kept as it is. */
const say = (text: string): void => console.error(text);

async function bench(options: BenchOptions): Promise<void> {
  const runners = await atHand(options);
  const needed = options.inputs.reduce((sum, name) => sum + roomBytes(name, options.sizeMiB), 0);
  const free = await freeBytes(options.folder);
  if (free < needed) {
    const gib = (bytes: number): string => `${(bytes / 2 ** 30).toFixed(1)} GiB`;
    throw new Error(
      `${options.folder} has ${gib(free)} free and ${gib(needed)} may be needed: use a smaller --size, fewer --inputs, or another --folder`,
    );
  }
  const folder = mkdtempSync(join(options.folder, "migrate-bench-"));
  const cleanUp = (): void => rmSync(folder, { recursive: true, force: true });
  process.on("exit", cleanUp);
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => process.exit(130));

  say(`making the inputs in ${folder}`);
  const inputs = await makeInputs(options.inputs, folder, options.sizeMiB);
  const pairs = inputs.flatMap((input) => runners.map((contender) => ({ input, contender })));
  const random = seededRandom(options.seed);
  const samples: Sample[] = [];
  for (let round = 1; round <= options.rounds; round++) {
    for (const { input, contender } of shuffled(pairs, random)) {
      const sample = await takeSample(contender, input, round, folder);
      samples.push(sample);
      say(
        `round ${round}/${options.rounds}  ${input.name}  ${contender.name}  ${sample.seconds.toFixed(2)} s`,
      );
    }
  }

  const command = ["bun run bench", ...process.argv.slice(2)].join(" ");
  const machine = await describeMachine();
  console.log(
    [
      `Measured with \`${command}\` (seed ${options.seed}): medians of ${options.rounds} rounds over loopback, files in ${options.folder}, the destination's bytes compared each time.`,
      machine,
      ...inputs.map((input) => inputTable(input, runners, samples)),
      aimList(samples),
    ]
      .filter((part) => part !== "")
      .join("\n\n"),
  );
  if (options.json !== undefined) {
    writeFileSync(options.json, `${JSON.stringify({ options, machine, inputs, samples }, null, 2)}\n`);
  }
}

/** The contenders asked for that this machine has; says which it leaves out, and why. */
async function atHand(options: BenchOptions): Promise<Contender[]> {
  const asked = contenders.filter(({ name }) => options.contenders.includes(name));
  if (options.install) {
    const packaged = asked.flatMap(({ needs }) => needs).filter((tool) => tool.package !== undefined);
    const { available, reason } = await installTools(packaged);
    if (!available) say(reason);
  }
  return asked.filter(({ name, needs }) => {
    const missing = missingTools(needs);
    if (missing.length === 0) return true;
    const packages = missing.flatMap((tool) => tool.package ?? []);
    const advice = packages.length > 0 ? `: --install, or apt-get install ${packages.join(" ")}` : "";
    say(`left out: ${name}, for want of ${missing.map(({ program }) => program).join(", ")}${advice}`);
    return false;
  });
}

const words = process.argv.slice(2);
const isQemu = words[0] === "qemu";
let run: () => Promise<void>;
try {
  if (isQemu) {
    const options = readQemuOptions(words.slice(1));
    run = async () => await benchQemu(options, say);
  } else {
    const options = readOptions(words);
    run = async () => await bench(options);
  }
} catch (error) {
  say(
    `${error instanceof Error ? error.message : error}\n\n${isQemu ? qemuUsage : `${usage}\n\n${qemuUsage}`}`,
  );
  process.exit(2);
}
try {
  await run();
} catch (error) {
  say(error instanceof Error ? error.message : String(error));
  process.exit(1);
}
