import { describe, expect, test } from "bun:test";
import { threadCpuNs } from "../../src/platform/clocks.ts";
import { cpuBetween, usage } from "../../src/platform/usage.ts";

/** Keeps this thread busy until its own clock has moved on by so much. */
function burnNs(ns: number): void {
  const until = threadCpuNs() + ns;
  while (threadCpuNs() < until);
}

describe("processor time", () => {
  test("work of this thread shows in the thread's and in the process's time", () => {
    const process = usage("self");
    const thread = usage("thread");
    burnNs(30_000_000);
    const processMs = total(usage("self")) - total(process);
    const threadMs = total(usage("thread")) - total(thread);
    // The kernel may account by ticks of up to 10 ms.
    expect(threadMs).toBeGreaterThanOrEqual(15);
    expect(processMs).toBeGreaterThanOrEqual(15);
  });

  test("it agrees with what the runtime reports, in milliseconds", () => {
    const mine = total(usage("self"));
    const { user, system } = process.cpuUsage();
    const theirs = (user + system) / 1000;
    expect(theirs).toBeGreaterThanOrEqual(mine - 0.1);
    expect(theirs - mine).toBeLessThan(1000);
  });

  test("a child counts once it has ended", async () => {
    const before = total(usage("children"));
    await Bun.spawn([
      process.execPath,
      "-e",
      "const t = performance.now(); while (performance.now() < t + 60);",
    ]).exited;
    expect(total(usage("children"))).toBeGreaterThan(before);
  });
});

test("the largest resident memory is in bytes", () => {
  const { maxRssBytes } = usage("self");
  // Within the same order as the present one: a factor of 1024 too little or too much fails.
  expect(maxRssBytes).toBeGreaterThan(process.memoryUsage.rss() / 4);
  expect(maxRssBytes).toBeLessThan(process.memoryUsage.rss() * 100);
});

function total({ userMs, systemMs }: { userMs: number; systemMs: number }): number {
  return userMs + systemMs;
}

test("between two readings no time is below 0, though the kernel may move some from one mode to the other", () => {
  expect(cpuBetween({ userMs: 10, systemMs: 5 }, { userMs: 12, systemMs: 4.5 })).toEqual({
    userMs: 2,
    systemMs: 0,
  });
});
