/** `migrate profile`: what a secure migration costs, measured as the thesis did. */
import { randomInt } from "node:crypto";
import { parseTicket } from "../channel/ticket.ts";
import { compareSamples } from "../profiler/report/compare.ts";
import { sizesOfVm } from "../profiler/runs/profile-input.ts";
import type { ProfileProgress } from "../profiler/runs/run-profile.ts";
import type { Plan, Samples } from "../profiler/statistics/samples.ts";
import { suiteNames } from "../profiler/statistics/samples.ts";
import { suiteOf } from "../profiler/statistics/suite.ts";
import { isSshAddress } from "../ssh/ssh-address.ts";
import { formatBytes } from "../terminal/format.ts";
import type { Reporter } from "../terminal/reporter.ts";
import { RunBar } from "../terminal/run-bar.ts";
import { usageErrors } from "./cli/arguments.ts";
import { homeOf, passphraseBefore, passphraseFrom, passphraseOptions, type World } from "./cli/context.ts";
import { defineCommand } from "./cli/define-command.ts";
import { address, defaultPort, oneOf, optional, toggle, wholeNumber, withDefault } from "./cli/option.ts";
import { type Called, calledHost, openHost } from "./cli/ssh-host.ts";
import { hasTicket, ticketFrom, ticketOptions } from "./cli/ticket-input.ts";
import { profileAttest } from "./profile/attest-mode.ts";
import { usualAttest } from "./profile/profile-attest.ts";
import { ProfileFolder, profileText, tableText } from "./profile/profile-output.ts";
import { planFor, quick, sizeOrNone, sizes, suites, thesis } from "./profile/profile-plan.ts";
import { cutShort, planOf, readSamples } from "./profile/profile-resume.ts";
import { measurePlan } from "./profile/profile-run.ts";

const name = "migrate profile";
const mostSeed = 2 ** 31 - 1;

export default defineCommand({
  name,
  summary: "measure what security costs a migration, and say what to choose",
  about: `Moves a made-up VM (or VM's own files) again and again between two processes, insecurely and secured in several ways, takes the CPU time of every operation on both sides, and draws tables, figures and a report beside those of the thesis this program comes from.

Without --thesis it is quick: under a minute, small sizes, few runs. --thesis takes the thesis's sizes, with and without disk, and about 23 minutes. Every byte is sent, zeros too, as the thesis did; --engine full measures migrate's own engine instead, which spares zeros and compares CPU time by process alone. Files are read from the page cache and written over files that are there already, unflushed: no disk is measured.

${suiteNames.map((suite) => `${suite}: ${aboutSuite(suite)}.`).join(" ")} The weak ones are here to be measured; migrate send knows none of them.

With --to the destination is another host's migrate serve, which discards what it gets. Of a VM's own files nothing leaves this host then: they are read, and made-up bytes travel in their place.

With --attest something else is measured: what it adds to a move that the destination proves what it runs by its TPM, in seconds and CPU time, and how long a guest stands still for the last proof. With --to a host that was recorded (migrate attest record) is asked for the proofs of a move, and nothing is moved.`,
  usage: [
    `${name} [VM] [--thesis] [--to HOST:PORT] [FLAGS]`,
    `${name} --resume samples.json [--to HOST:PORT]`,
    `${name} --replay samples.json [--out DIR]`,
    `${name} --compare A B`,
    `${name} --attest [--to HOST:PORT] [--ram SIZE] [--runs N]`,
  ],
  positionals: {
    names: ["VM", "B"],
    least: 0,
    about: [
      "Folder of a VM whose own files are measured; made-up ones if left out",
      "With --compare: the other of two samples files",
    ],
  },
  options: {
    thesis: toggle(
      "The thesis's evaluation: RAM of 128 to 1024 MiB, with and without disk, at least 5 runs each",
    ),
    ram: optional("SIZES", `RAM sizes: 128M,256M (default: ${listed(quick.ramBytes)})`, sizes),
    disk: optional(
      "SIZE",
      `Disk of the runs that have one; 0 for none (default: ${formatBytes(quick.diskBytes)}, with --thesis ${formatBytes(thesis.diskBytes)})`,
      sizeOrNone,
    ),
    suites: optional(
      "NAMES",
      "Suites to measure, with commas between (default: insecure, tls and the thesis's three)",
      suites,
    ),
    runs: optional(
      "N",
      `Runs of each combination (default: ${quick.runs}, with --thesis ${thesis.runs})`,
      wholeNumber(1, 1000),
    ),
    engine: withDefault(
      "NAME",
      "thesis: one thread, every byte; full: migrate's own engine",
      "thesis",
      oneOf(["thesis", "full"]),
    ),
    attest: toggle(
      `What attestation costs: moves with it and without, by this host's TPM (default: RAM of ${formatBytes(usualAttest.ramBytes)}, ${usualAttest.runs} runs)`,
    ),
    to: optional(
      "HOST:PORT",
      "Measure to the migrate serve there; ssh://HOST has one started, and its port must be reached directly",
      tcpHost,
    ),
    ...ticketOptions,
    out: optional("DIR", "Folder for samples.json, CSV, figures and report.html (default: a new one here)"),
    seed: optional(
      "N",
      "Makes the order of runs and the made-up files the same again",
      wholeNumber(0, mostSeed),
    ),
    resume: optional("FILE", "Resume a profile that was cut short"),
    replay: optional("FILE", "Measure nothing: show and draw everything from raw samples again"),
    compare: toggle("Measure nothing: compare two samples files"),
    ...passphraseOptions,
  },
  examples: [
    [name, "a first look, in under a minute"],
    [`${name} --thesis --out evaluation`, "the whole evaluation on this host"],
    [`${name} --to 192.0.2.7:7600 --ticket -`, "between two hosts"],
    [`${name} --compare before.json after.json`, "what has changed, and what is chance"],
    [`${name} --attest`, "what it costs that a destination proves what it runs"],
  ],
  async run({ options, positionals, world, reporter }) {
    const refuse = usageErrors(name);
    const [vm, other] = positionals;
    if (options.attest) {
      const seed = options.seed ?? randomInt(mostSeed);
      await profileAttest({ refuse, options: { ...options, seed }, vm, world, reporter });
      return undefined;
    }
    if (options.compare) {
      if (vm === undefined || other === undefined) throw refuse("--compare needs two samples files");
      showComparison(vm, other, reporter, world);
      return undefined;
    }
    if (other !== undefined) throw refuse(`Unexpected argument "${other}"`);
    if (options.replay !== undefined) {
      if (vm !== undefined) throw refuse("--replay measures nothing, so it takes no VM");
      const samples = readSamples(options.replay);
      const folder = options.out === undefined ? undefined : new ProfileFolder(options.out);
      await showResult(samples, folder, reporter, world);
      return undefined;
    }
    if (options.engine === "full" && options.to !== undefined)
      throw refuse(
        "--engine full measures on this host alone",
        "A real send to the other host would leave a VM there.",
      );
    if (hasTicket(options) && options.to?.ssh !== undefined)
      throw refuse("--ticket is not for a host that is reached by ssh", "ssh brings one of its own.");
    if (hasTicket(options) && options.to === undefined) throw refuse("--ticket belongs to --to");

    const earlier = options.resume === undefined ? undefined : readSamples(options.resume);
    let plan: Plan;
    if (earlier === undefined) {
      plan = planFor({ ...options, vm: vm === undefined ? undefined : { folder: vm, ...sizesOfVm(vm) } });
    } else {
      const given = [options.ram, options.disk, options.suites, options.runs, options.seed, vm];
      if (options.thesis || options.engine === "full" || given.some((value) => value !== undefined))
        throw refuse("--resume takes sizes, suites, runs and seed from the samples file");
      plan = planOf(earlier, options.resume ?? "", options.to !== undefined);
    }
    const seed = earlier?.seed ?? options.seed ?? randomInt(mostSeed);
    const startedAt = earlier?.startedAt ?? new Date().toISOString();
    const folder = folderFor(options.out, options.resume, startedAt, reporter);
    const home = options.to === undefined ? "" : homeOf(world);
    const passphrase = await (options.to === undefined
      ? passphraseFrom(world, options.passphraseFile)
      : passphraseBefore(world, home, options.passphraseFile));
    // What goes through ssh would measure ssh.
    const host = options.to && openHost(options.to, { home, passphrase, via: "direct" }, { world, reporter });
    announce(plan, seed, reporter);
    const bar = reporter.json ? undefined : new RunBar({ ...world, output: world.stderr });
    try {
      const to = host && {
        home,
        passphrase,
        ...((await host.way?.open()) ?? { address: host.address, ticket: await ticketGiven(world, options) }),
      };
      const { samples, stopped } = await measurePlan({
        plan,
        seed,
        startedAt,
        taken: earlier?.samples ?? [],
        self: world.self,
        to,
        progress: (progress) => showProgress(progress, bar, reporter),
        keep: (all) => folder?.keepSamples(all),
        note: (message) => reporter.note(message),
        signal: world.interrupts(reporter),
      });
      bar?.close();
      if (samples.samples.length > 0) {
        folder?.keepSamples(samples);
        await showResult(samples, folder, reporter, world);
      }
      if (stopped !== undefined) throw cutShort(stopped, samples, folder?.samplesPath);
      return undefined;
    } finally {
      bar?.close();
      folder?.removeIfEmpty();
      await host?.close();
    }
  },
});

/** HOST:PORT or ssh://…: a measurement needs ports. Throws MigrateError "usage"; its message ends a sentence. */
function tcpHost(text: string): Called {
  return isSshAddress(text) ? calledHost(text) : { address: address(1, defaultPort)(text) };
}

async function ticketGiven(world: World, options: Parameters<typeof ticketFrom>[1]) {
  const text = await ticketFrom(world, options);
  return text === undefined ? undefined : parseTicket(text);
}

function aboutSuite(suite: (typeof suiteNames)[number]): string {
  const { about, weakness } = suiteOf(suite);
  return weakness === undefined ? about : `${about} (weak: ${weakness})`;
}

function listed(bytes: readonly number[]): string {
  return bytes.map((size) => formatBytes(size)).join(", ");
}

/** The folder for files: the one named, else that of the profile that is resumed, else a new one; with --json only the first two. */
function folderFor(
  out: string | undefined,
  resume: string | undefined,
  startedAt: string,
  reporter: Reporter,
): ProfileFolder | undefined {
  if (out !== undefined) return new ProfileFolder(out);
  if (resume?.endsWith("/samples.json")) return new ProfileFolder(resume.slice(0, -"/samples.json".length));
  if (reporter.json) return undefined;
  return new ProfileFolder(`migrate-profile-${startedAt.replace(/[-:]|\..*$/g, "").replace("T", "-")}`);
}

function announce(plan: Plan, seed: number, reporter: Reporter): void {
  const { suites: chosen, ramBytes, diskBytes, runs, vm } = plan;
  const disks = diskBytes.map((bytes) =>
    bytes === 0 ? "without disk" : `with a disk of ${formatBytes(bytes)}`,
  );
  reporter.note(
    `Measuring ${chosen.join(", ")}: RAM of ${listed(ramBytes)}, ${disks.join(" and ")}, ${runs} ${runs === 1 ? "run" : "runs"} each, shuffled with seed ${seed}`,
  );
  if (vm === undefined)
    reporter.note("The VM is made up: nothing is suspended or resumed, and those times are 0");
  if (runs < thesis.runs)
    reporter.note("Few runs, for a first look: fewer than 5 give no intervals (--runs 5, or --thesis)");
}

function showProgress(progress: ProfileProgress, bar: RunBar | undefined, reporter: Reporter): void {
  const { run, warmUp, doneRuns, allRuns, leftMs } = progress;
  if (reporter.json) {
    if (run !== null && !warmUp)
      reporter.result({ event: "profile-run", ...run, doneRuns, allRuns, leftMs }, "");
    return;
  }
  if (run === null) return;
  const disk = run.diskBytes === 0 ? "" : ` and disk of ${formatBytes(run.diskBytes)}`;
  const label = `${warmUp ? "warming up " : ""}${run.suite}, RAM of ${formatBytes(run.ramBytes)}${disk}`;
  bar?.update({ done: doneRuns, all: allRuns, label, leftMs });
}

/** Tables for people, samples for programs, and files for both. */
async function showResult(
  samples: Samples,
  folder: ProfileFolder | undefined,
  reporter: Reporter,
  world: World,
): Promise<void> {
  reporter.result(
    { event: "profile", ...samples },
    profileText(samples, world.stdout.isTTY ? world.size().columns : 0),
  );
  if (folder === undefined) return;
  folder.keepSamples(samples);
  await folder.writeReport(samples);
  reporter.note(
    `Tables, figures and report.html are in ${folder.path}; samples.json there holds what was measured`,
  );
}

/** The two files' profiles against each other. */
function showComparison(a: string, b: string, reporter: Reporter, world: World): void {
  const { figures, table, warnings } = compareSamples(
    { name: a, samples: readSamples(a) },
    { name: b, samples: readSamples(b) },
  );
  for (const warning of warnings) reporter.warn(warning);
  const width = world.stdout.isTTY ? world.size().columns : 160;
  reporter.result({ event: "comparison", figures, warnings }, tableText(table, width));
}
