/**
 * The test command, as the README and .ci/run call it; `--help` says what it takes (support/runner/command-line.ts).
 * The build comes first, then test files, each in a process of its own, as many at a time as there are processors;
 * types and lint are checked beside the first of them. Every step is run even if one before has failed; the last
 * line has the counts.
 */
import { existsSync, mkdtempSync, rmSync, statSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import { join, relative, resolve } from "node:path";
import { guestFolder, guestFolderVariable, guestImage } from "./support/guests/guest-image.ts";
import { parseCommandLine, type TestRequest, usage } from "./support/runner/command-line.ts";
import { countFileVariable, guestCount, mostLost, ownRate, panicRate } from "./support/runner/lost-guests.ts";
import { ensureLibvirtTools, ensureLiveTools } from "./support/runner/needs.ts";
import { runJobs } from "./support/runner/schedule.ts";
import { expectedSeconds, isAlone, isWaiting, needsLibvirt, setOf } from "./support/runner/sets.ts";
import {
  killTestProcesses,
  type TestedFile,
  type TestLimits,
  testFile,
} from "./support/runner/test-process.ts";
import type { TestSummary } from "./support/runner/test-summary.ts";

const root = resolve(import.meta.dir, "..");
const minuteMs = 60_000;
const limits: TestLimits = { timeoutMs: minuteMs, deadlineMs: 30 * minuteMs };
const liveLimits: TestLimits = { timeoutMs: 5 * minuteMs, deadlineMs: 30 * minuteMs };
/** How many of the slowest files are told of at the end. */
const slowestTold = 10;

const total: TestSummary = { passed: 0, failed: 0, skipped: 0 };
const failures: string[] = [];
const tested: TestedFile[] = [];
/** Where the guests of each run of a file are counted. */
const guestFiles: string[] = [];

const commandLine = parseCommandLine(process.argv.slice(2), process.env.CI === "true");
if (commandLine.kind === "help") {
  process.stdout.write(usage);
  process.exit(0);
}
if (commandLine.kind === "refused") refuse(commandLine.why);

const { request } = commandLine;
const files = chosenFiles(request);
const scratch = mkdtempSync(join(tmpdir(), "migrate-tests-"));
process.on("exit", () => {
  killTestProcesses();
  rmSync(scratch, { recursive: true, force: true });
});
for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => process.exit(130));

const checks: Check[] = [
  { title: "Types", command: [process.execPath, "x", "tsc", "--noEmit", "-p", "."] },
  { title: "Lint and format", command: [process.execPath, "x", "biome", "check", "--error-on-warnings"] },
];
// The tests of the binary need one that was built from this very tree.
await check({ title: "Build", command: [process.execPath, "scripts/build.ts"] });
const checking = Promise.all((request.paths.length === 0 ? checks : []).map(check));
await runTests(files, await possibleLiveTests());
await checking;

tellSlowest();
judgeLostGuests();
for (const failure of failures) console.log(`FAILED: ${failure}`);
console.log(`${total.passed} passed, ${total.failed} failed, ${total.skipped} skipped`);
process.exit(total.failed === 0 ? 0 : 1);

function refuse(why: string): never {
  console.error(why);
  process.exit(2);
}

/** The test files of the request, as "test/…". Ends this process where there are none, or a path is not there. */
function chosenFiles({ quick, paths }: TestRequest): string[] {
  const all = [...new Bun.Glob("test/**/*.test.ts").scanSync({ cwd: root })];
  const wanted = paths.map((path) => relative(root, resolve(path)));
  for (const [n, path] of wanted.entries()) {
    if (!existsSync(join(root, path))) refuse(`There is no ${paths[n]}.`);
    if (statSync(join(root, path)).isFile() && !all.includes(path)) refuse(`${paths[n]} is no test file.`);
  }
  const chosen = all.filter((file) => {
    const isWanted = wanted.some((path) => path === "" || file === path || file.startsWith(`${path}/`));
    return (wanted.length === 0 || isWanted) && !(quick && setOf(file) !== "quick");
  });
  if (chosen.length === 0) refuse("There are no test files of this kind there.");
  return chosen;
}

/** Live tests as they can be run: all, none, or none of those with libvirt. */
interface LiveTests {
  /** What they are told. */
  environment: Record<string, string>;
  leftOut: ReadonlySet<string>;
}

/** Makes live tests possible, and says of those that are not why. */
async function possibleLiveTests(): Promise<LiveTests> {
  const live = files.filter((file) => setOf(file) === "live");
  if (live.length === 0) return { environment: {}, leftOut: new Set() };
  const { available, reason } = await ensureLiveTools();
  if (!available) return { environment: {}, leftOut: leaveOut(live, reason) };
  const environment = { [guestFolderVariable]: guestFolder(await guestImage()) };
  const withLibvirt = live.filter(needsLibvirt);
  const libvirt = withLibvirt.length === 0 ? { available, reason } : await ensureLibvirtTools();
  return {
    environment,
    leftOut: libvirt.available ? new Set() : leaveOut(withLibvirt, libvirt.reason),
  };
}

/** Says that they are not run, and counts them. Gives them. */
function leaveOut(live: readonly string[], reason: string): ReadonlySet<string> {
  console.log(`\nLeft out: ${live.join(", ")}\nBecause: ${reason}`);
  total.skipped += live.length;
  if (request.requireLive) fail("live tests were left out, and they are required here");
  return new Set(live);
}

/** Runs the files but those that are left out. */
async function runTests(paths: readonly string[], live: LiveTests): Promise<void> {
  const jobs = paths
    .filter((file) => !live.leftOut.has(file))
    .map((file) => ({
      file,
      seconds: expectedSeconds(file),
      waits: isWaiting(file),
      alone: isAlone(file) || (request.oneLive && setOf(file) === "live"),
    }));
  const slots = availableParallelism();
  console.log(`\n== Tests: ${jobs.length} files, ${slots} at a time ==`);
  await runJobs(jobs, slots, async ({ file }) => {
    const done = await withNewGuests(file, live.environment);
    tested.push(done);
    const { summary, seconds } = done;
    total.passed += summary.passed;
    total.failed += summary.failed;
    total.skipped += summary.skipped;
    failures.push(...done.failures);
    const verdict = summary.failed === 0 ? "ok    " : "FAILED";
    console.log(`${verdict} ${seconds.toFixed(1).padStart(6)} s  ${file}`);
    if (summary.failed > 0) console.log(done.output);
  });
}

/**
 * Runs one file; once more if it failed and a guest of it had panicked where it arrived, which QEMU brings about by
 * itself without KVM. What fails with whole guests is not run again.
 */
async function withNewGuests(file: string, live: Record<string, string>): Promise<TestedFile> {
  for (let first = true; ; first = false) {
    const counted = join(scratch, `guests-${guestFiles.length}`);
    guestFiles.push(counted);
    const env = { ...live, [countFileVariable]: counted };
    const done = await testFile(file, root, setOf(file) === "live" ? liveLimits : limits, env);
    if (!first || done.summary.failed === 0 || guestCount(counted).panicked === 0) return done;
    console.log(`once more: a guest panicked where it arrived  ${file}\n${done.failures.join("\n")}`);
  }
}

function tellSlowest(): void {
  const slowest = tested.toSorted((a, b) => b.seconds - a.seconds).slice(0, slowestTold);
  const sum = tested.reduce((seconds, each) => seconds + each.seconds, 0);
  console.log(`\n== The slowest of ${tested.length} files, which took ${sum.toFixed(0)} s together ==`);
  for (const { file, seconds } of slowest) console.log(`${seconds.toFixed(1).padStart(6)} s  ${file}`);
}

function judgeLostGuests(): void {
  const { looks, lost, arrived, panicked } = guestCount(...guestFiles);
  judge("Guests looked at after a move", "lost", looks, lost, ownRate);
  judge("Guests that arrived", "panicked", arrived, panicked, panicRate);
}

function judge(title: string, word: string, count: number, bad: number, rate: number): void {
  if (count === 0) return;
  const most = mostLost(count, rate);
  console.log(`\n${title}: ${count}, ${word}: ${bad}; by QEMU alone ${most} at the most`);
  if (bad > most) fail(`${bad} of ${count} guests ${word}: more than by QEMU alone`);
}

interface Check {
  title: string;
  command: string[];
}

/** Runs a command to its end, 10 minutes at most, and shows what it wrote if it failed. */
async function check({ title, command }: Check): Promise<void> {
  const child = Bun.spawn(command, {
    cwd: root,
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
    timeout: 10 * minuteMs,
    killSignal: "SIGKILL",
  });
  const [stdout, stderr] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
  const isWell = child.exitCode === 0;
  console.log(`\n== ${title} ==\n${isWell ? "ok" : stdout + stderr}`);
  if (!isWell) fail(title);
}

function fail(what: string): void {
  total.failed += 1;
  failures.push(what);
}
