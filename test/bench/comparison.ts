/**
 * The benchmark against what a user would pick instead. All contenders move the same inputs over the
 * same links in one go. The order is shuffled anew in each round, so that what else the machine does
 * falls on all of them alike.
 */
import { writeFileSync } from "node:fs";
import { imageTools, installTools, missingTools } from "../support/runner/needs.ts";
import { aimList } from "./aims.ts";
import type { Contender } from "./contender.ts";
import { contenders } from "./contenders.ts";
import { debianNames } from "./inputs/debian.ts";
import { type Input, makeInputs, roomOfAllBytes } from "./inputs.ts";
import { type Link, openLinks } from "./link.ts";
import { describeMachine } from "./machine.ts";
import type { BenchOptions } from "./options.ts";
import { inputTable } from "./report.ts";
import { type Sample, takeSample } from "./sample.ts";
import { seededRandom, shuffled } from "./statistics.ts";
import { makeWorkFolder } from "./work-folder.ts";

type Say = (text: string) => void;

/** Runs it; progress goes to `say`, the report to standard output. Throws at the first run that fails. */
export async function benchPeers(options: BenchOptions, say: Say): Promise<void> {
  const runners = await atHand(options, say);
  const folder = await makeWorkFolder(options.folder, roomOfAllBytes(options.inputs, options.sizeMiB));
  const links = await openLinks(options.links, say);
  try {
    if (links.length === 0) throw new Error("no link is left to measure on");
    say(`making the inputs in ${folder}`);
    const inputs = await makeInputs(options.inputs, folder, options.sizeMiB, say);
    if (inputs.length === 0) throw new Error("no input is left to move");
    const samples = await measure(inputs, links, runners, options, folder, say);
    await report(inputs, links, runners, samples, options);
  } finally {
    for (const link of links) await link.close();
  }
}

async function measure(
  inputs: readonly Input[],
  links: readonly Link[],
  runners: readonly Contender[],
  options: BenchOptions,
  folder: string,
  say: Say,
): Promise<Sample[]> {
  const runs = inputs.flatMap((input) =>
    links.flatMap((link) =>
      runners.filter((contender) => contender.suits(input)).map((contender) => ({ input, link, contender })),
    ),
  );
  const random = seededRandom(options.seed);
  const samples: Sample[] = [];
  for (let round = 1; round <= options.rounds; round++) {
    for (const { input, link, contender } of shuffled(runs, random)) {
      const sample = await takeSample(contender, input, link, round, folder);
      samples.push(sample);
      const run = `${input.name}  ${link.name}  ${contender.name}`;
      say(`round ${round}/${options.rounds}  ${run}  ${sample.seconds.toFixed(2)} s`);
    }
  }
  return samples;
}

async function report(
  inputs: readonly Input[],
  links: readonly Link[],
  runners: readonly Contender[],
  samples: readonly Sample[],
  options: BenchOptions,
): Promise<void> {
  const command = ["bun run bench", ...process.argv.slice(2)].join(" ");
  const machine = await describeMachine();
  console.log(
    [
      `Measured with \`${command}\` (seed ${options.seed}): medians of ${options.rounds} rounds, files in ${options.folder}, the destination's bytes compared each time.`,
      machine,
      ...inputs.flatMap((input) => links.map((link) => inputTable(input, link, runners, samples))),
      aimList(inputs, runners, samples),
    ]
      .filter((part) => part !== "")
      .join("\n\n"),
  );
  if (options.json !== undefined) {
    writeFileSync(options.json, `${JSON.stringify({ options, machine, inputs, samples }, null, 2)}\n`);
  }
}

/** The contenders asked for that this machine has; says which it leaves out, and why. */
async function atHand(options: BenchOptions, say: Say): Promise<Contender[]> {
  const asked = contenders.filter(({ name }) => options.contenders.includes(name));
  if (options.install) {
    const packaged = asked.flatMap(({ needs }) => needs).filter((tool) => tool.package !== undefined);
    const { available, reason } = await installTools(packaged);
    if (!available) say(reason);
    // What cannot be made for want of them is left out later, with a sentence.
    if (options.inputs.some((name) => debianNames.some((each) => each === name)))
      await installTools(imageTools);
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
