/** Processes of this host: found, told apart from others with their pid, signalled, waited for. */
import { afterEach, expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  argumentsOf,
  isRunning,
  processId,
  signalProcess,
  waitForEnd,
} from "../../src/platform/process-id.ts";
import { killChildren, startChild } from "../support/system/child.ts";
import { until } from "../support/system/until.ts";

afterEach(killChildren);

/** A pid that no process has: the kernel's own limit is 2^22 (proc(5), pid_max). */
const noPid = 2 ** 22 + 1;

test("a process is known by its pid and when it began", () => {
  const self = processId(process.pid)!;
  expect(self.pid).toBe(process.pid);
  expect(self.startTicks).toBeGreaterThan(0);
  expect(processId(process.pid)).toEqual(self);
  expect(isRunning(self)).toBe(true);
});

test("another process with the same pid is not the same, and gets no signal", async () => {
  const child = startChild(["sleep", "60"]);
  const id = processId(child.pid)!;
  const earlier = { ...id, startTicks: id.startTicks - 1 };
  expect(isRunning(earlier)).toBe(false);
  expect(signalProcess(earlier, "SIGKILL")).toBe(false);
  expect(await waitForEnd(earlier, 60_000)).toBe(true);
  expect(isRunning(id)).toBe(true);
  expect(signalProcess(id, "SIGKILL")).toBe(true);
  expect(await child.exit).toMatchObject({ signal: "SIGKILL" });
});

test("the wait ends with the process, or when its time is up", async () => {
  const child = startChild(["sleep", "60"]);
  const id = processId(child.pid)!;
  expect(await waitForEnd(id, 20)).toBe(false);
  const ended = waitForEnd(id, 30_000);
  expect(signalProcess(id, "SIGTERM")).toBe(true);
  expect(await ended).toBe(true);
  await child.exit;
  expect(isRunning(id)).toBe(false);
  expect(signalProcess(id, "SIGTERM")).toBe(false);
});

test("a process that has ended and was not waited for counts as ended", async () => {
  // The shell becomes a program that never waits for the child it has, and the child does not end before that.
  const child = "until grep -q sleep /proc/$PPID/comm; do :; done";
  const parent = startChild(["sh", "-c", `sh -c '${child}' & echo $!; exec sleep 60`]);
  await until(() => parent.stdout().endsWith("\n"), "the child's pid");
  const id = processId(Number(parent.stdout()))!;
  expect(await waitForEnd(id, 30_000)).toBe(true);
  expect(processId(Number(parent.stdout()))).not.toBeNull();
});

test("a name with spaces and parentheses does not shift the fields", async () => {
  const folder = mkdtempSync(join(tmpdir(), "migrate-process-"));
  try {
    const program = join(folder, "a) R 1 (b");
    await Bun.write(program, Bun.file(Bun.which("sleep")!));
    Bun.spawnSync(["chmod", "700", program]);
    const before = processId(startChild(["sleep", "60"]).pid)!;
    const id = processId(startChild([program, "60"]).pid)!;
    const after = processId(startChild(["sleep", "60"]).pid)!;
    expect(id.startTicks).toBeGreaterThanOrEqual(before.startTicks);
    expect(id.startTicks).toBeLessThanOrEqual(after.startTicks);
    expect(isRunning(id)).toBe(true);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

/** A process with these arguments behind "sh"; it stands still until it is killed. */
async function startWith(words: string[]): Promise<number> {
  const { pid } = startChild(["sh", "-c", "kill -STOP $$", ...words]);
  // A program that is being loaded has no arguments yet, for an instant.
  await until(() => sizeOf(pid) > 0, "the arguments");
  return pid;
}

function sizeOf(pid: number): number {
  return readFileSync(`/proc/${pid}/cmdline`).length;
}

test("arguments are given as they were, empty ones and lines as well", async () => {
  const words = ["sh", "", "two\nlines", "ä,b=c", ""];
  const pid = await startWith(words);
  expect(argumentsOf(pid)).toEqual(["sh", "-c", "kill -STOP $$", ...words]);
});

test("arguments of 1 MiB are read, and one byte more refused", async () => {
  const overhead = sizeOf(await startWith([""]));
  const fill = (bytes: number) => {
    const words = Array<string>(10).fill("x".repeat(100_000 - 1));
    return [...words, "x".repeat(bytes - overhead - 1_000_000)];
  };
  const longest = await startWith(fill(1024 * 1024));
  expect(sizeOf(longest)).toBe(1024 * 1024);
  expect(argumentsOf(longest)?.length).toBe(14);
  const longer = await startWith(fill(1024 * 1024 + 1));
  expect(() => argumentsOf(longer)).toThrow(expect.objectContaining({ code: "E2BIG" }));
});

test("where there is no process there is nothing", async () => {
  for (const pid of [noPid, 0, -1, 1.5, Number.NaN]) {
    expect(processId(pid)).toBeNull();
    expect(argumentsOf(pid)).toBeNull();
  }
  expect(isRunning({ pid: noPid, startTicks: 1 })).toBe(false);
  expect(signalProcess({ pid: noPid, startTicks: 1 }, "SIGKILL")).toBe(false);
  expect(await waitForEnd({ pid: noPid, startTicks: 1 }, 1)).toBe(true);
});
