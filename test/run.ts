/**
 * The whole test of the project, as the README and .ci/run call it: type-check, lint, build, tests,
 * live tests. Every step is run even when one before has failed; the last line has the counts.
 *
 * `--require-live`, or CI=true: a live test that had to be left out is a failure.
 */
import { relative, resolve } from "node:path";
import { failedTests } from "./support/runner/failed-tests.ts";
import { ensureLiveTools } from "./support/runner/needs.ts";
import { summaryOfTests, type TestSummary } from "./support/runner/test-summary.ts";

const root = resolve(import.meta.dir, "..");
const minuteMs = 60_000;

const words = process.argv.slice(2);
const unknown = words.find((word) => word !== "--require-live");
if (unknown !== undefined) {
  console.error(`Unknown argument ${unknown}; there is only --require-live`);
  process.exit(2);
}
const requireLive = words.includes("--require-live") || process.env.CI === "true";

const total: TestSummary = { passed: 0, failed: 0, skipped: 0 };
const failures: string[] = [];

await check("Types", [process.execPath, "x", "tsc", "--noEmit", "-p", "."]);
await check("Lint and format", [process.execPath, "x", "biome", "check", "--error-on-warnings"]);
// The tests of the binary need one that was built from this very tree.
await check("Build", [process.execPath, "scripts/build.ts"]);
const files = testFiles();
await runTests(
  "Tests",
  files.filter((file) => !isLive(file)),
  { timeoutMs: minuteMs, deadlineMs: 30 * minuteMs },
);
await runLive(files.filter(isLive));

for (const failure of failures) console.log(`FAILED: ${failure}`);
console.log(`${total.passed} passed, ${total.failed} failed, ${total.skipped} skipped`);
process.exit(total.failed === 0 ? 0 : 1);

/** All test files, sorted, as "./test/…": a path that bun test does not take for a pattern. */
function testFiles(): string[] {
  const found = [...new Bun.Glob("test/**/*.test.ts").scanSync({ cwd: root })];
  return found.map((path) => `./${relative(root, resolve(root, path))}`).sort();
}

function isLive(file: string): boolean {
  return file.startsWith("./test/live/");
}

async function runLive(live: string[]): Promise<void> {
  heading("Live tests");
  const { available, reason } = await ensureLiveTools();
  if (!available) {
    console.log(`Left out: ${live.join(", ")}`);
    console.log(`Because: ${reason}`);
    total.skipped += live.length;
    if (requireLive) fail("the live tests were left out, and they are required here");
    return;
  }
  // One at a time: each has a guest that needs the processor to itself.
  for (const file of live)
    await runTests(`Live: ${file}`, [file], { timeoutMs: 5 * minuteMs, deadlineMs: 30 * minuteMs });
}

async function runTests(
  title: string,
  paths: string[],
  limits: { timeoutMs: number; deadlineMs: number },
): Promise<void> {
  heading(title);
  if (paths.length === 0) return fail(`${title}: there are no test files`);
  const command = [process.execPath, "test", "--timeout", String(limits.timeoutMs), ...paths];
  const { output, exitCode } = await run(command, limits.deadlineMs);
  const summary = summaryOfTests(output, exitCode);
  total.passed += summary.passed;
  total.failed += summary.failed;
  total.skipped += summary.skipped;
  if (summary.failed === 0) return;
  failures.push(`${title}: ${summary.failed} failed`);
  for (const { name, told } of failedTests(output)) failures.push([name, ...told].join("\n    "));
}

async function check(title: string, command: string[]): Promise<void> {
  heading(title);
  const { exitCode } = await run(command, 10 * minuteMs);
  if (exitCode === 0) console.log("ok");
  else fail(title);
}

/** Runs a command and shows what it writes while it does; kills it at its deadline. */
async function run(
  command: string[],
  deadlineMs: number,
): Promise<{ output: string; exitCode: number | null }> {
  const child = Bun.spawn(command, { cwd: root, stdin: "ignore", stdout: "pipe", stderr: "pipe" });
  const timer = setTimeout(() => {
    console.log(`Killed: it was not done after ${deadlineMs / minuteMs} minutes`);
    child.kill("SIGKILL");
  }, deadlineMs);
  let output = "";
  const show = async (from: ReadableStream<Uint8Array>, to: NodeJS.WriteStream) => {
    const decoder = new TextDecoder();
    for await (const bytes of from) {
      const text = decoder.decode(bytes, { stream: true });
      output += text;
      to.write(text);
    }
  };
  await Promise.all([show(child.stdout, process.stdout), show(child.stderr, process.stdout), child.exited]);
  clearTimeout(timer);
  return { output, exitCode: child.exitCode };
}

function fail(what: string): void {
  total.failed += 1;
  failures.push(what);
}

function heading(title: string): void {
  console.log(`\n== ${title} ==`);
}
