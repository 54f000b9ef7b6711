/** One `bun test` of one file, in a process group of its own, which ends with it. */
import { failedTests } from "./failed-tests.ts";
import { summaryOfTests, type TestSummary } from "./test-summary.ts";

export interface TestLimits {
  /** For each test that names no time of its own, in milliseconds. */
  timeoutMs: number;
  /** For the file as a whole. */
  deadlineMs: number;
}

export interface TestedFile {
  file: string;
  summary: TestSummary;
  seconds: number;
  /** All that it wrote. */
  output: string;
  /** A paragraph for each failed test: its name, and what it wrote. */
  failures: string[];
}

/** How long the rest of its output is waited for once it has ended. */
const outputsMs = 10_000;

/** The leaders of the groups that run now. */
const groups = new Set<number>();

/** Kills whatever a test process has started and not ended, itself included. */
function killGroup(pid: number): void {
  try {
    process.kill(-pid, "SIGKILL");
  } catch {
    // Nobody is left in it.
  }
}

/** Kills all that run, for the end of this process before theirs. */
export function killTestProcesses(): void {
  for (const pid of groups) killGroup(pid);
}

/** Takes the file as "test/…", the repository's folder, and what to add to the environment. Never rejects. */
export async function testFile(
  file: string,
  root: string,
  { timeoutMs, deadlineMs }: TestLimits,
  env: Record<string, string>,
): Promise<TestedFile> {
  const begunMs = performance.now();
  // "./": a path that bun test does not take for a pattern.
  const child = Bun.spawn([process.execPath, "test", "--timeout", String(timeoutMs), `./${file}`], {
    cwd: root,
    env: { ...process.env, ...env },
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
    detached: true,
  });
  groups.add(child.pid);
  let late = false;
  const timer = setTimeout(() => {
    late = true;
    killGroup(child.pid);
  }, deadlineMs);
  let output = "";
  const read = async (from: ReadableStream<Uint8Array>) => {
    const decoder = new TextDecoder();
    for await (const bytes of from) output += decoder.decode(bytes, { stream: true });
  };
  const outputs = Promise.all([read(child.stdout), read(child.stderr)]);
  await child.exited;
  clearTimeout(timer);
  // What it has left running may hold its output open.
  killGroup(child.pid);
  groups.delete(child.pid);
  // Somebody who left the group may hold the outputs open for ever.
  await Promise.race([outputs, Bun.sleep(outputsMs)]);
  if (late) output += `\nKilled: it was not done after ${deadlineMs / 60_000} minutes\n`;

  const summary = summaryOfTests(output, child.exitCode);
  const failures =
    summary.failed === 0
      ? []
      : [
          `${file}: ${summary.failed} failed${late ? ", killed at its deadline" : ""}`,
          ...failedTests(output).map(({ name, told }) => [name, ...told].join("\n    ")),
        ];
  return { file, summary, seconds: (performance.now() - begunMs) / 1000, output, failures };
}
