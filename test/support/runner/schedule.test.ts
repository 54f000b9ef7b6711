import { expect, test } from "bun:test";
import { type Job, ordered, runJobs } from "./schedule.ts";

const job = (file: string, seconds: number, alone = false, waits = false): Job => ({
  ...{ file, seconds, alone, waits },
});
const jobs = [
  job("short", 1),
  job("alone", 9, true),
  job("long", 30),
  job("b", 5),
  job("a", 5),
  job("also alone", 20, true),
];

test("the longest are started first, and those that are alone come last", () => {
  expect(ordered(jobs).map(({ file }) => file)).toEqual(["long", "a", "b", "short", "also alone", "alone"]);
});

test("every job is run once, as many at a time as there are slots, and beside one that is alone there is none", async () => {
  const running = new Set<Job>();
  const begun: string[] = [];
  let most = 0;
  await runJobs(jobs, 2, async (one) => {
    running.add(one);
    begun.push(one.file);
    most = Math.max(most, running.size);
    expect(running.size === 1 || ![...running].some(({ alone }) => alone)).toBe(true);
    await Bun.sleep(one.seconds / 10);
    expect(running.size === 1 || ![...running].some(({ alone }) => alone)).toBe(true);
    running.delete(one);
  });
  expect(begun.toSorted()).toEqual(jobs.map(({ file }) => file).toSorted());
  expect(most).toBe(2);
});

test("one job that waits for the most part runs beside as many others as there are slots, and none beside one that is alone", async () => {
  const waiting = ["waits", "also waits"].map((file) => job(file, 20, false, true));
  const running = new Set<Job>();
  const seen = new Set<string>();
  await runJobs([...jobs, ...waiting], 2, async (one) => {
    running.add(one);
    const those = [...running].filter(({ waits }) => waits).length;
    seen.add(`${running.size - those} and ${those}`);
    expect(running.size === 1 || ![...running].some(({ alone }) => alone)).toBe(true);
    await Bun.sleep(one.seconds / 10);
    running.delete(one);
  });
  expect(seen).toContain("2 and 1");
  expect([...seen].filter((counts) => counts.startsWith("3") || counts.endsWith("2"))).toEqual([]);
});
