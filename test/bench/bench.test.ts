/** The benchmark's arithmetic; its runs are for `bun run bench`. */
import { expect, test } from "bun:test";
import { contenders } from "./contenders.ts";
import type { Input } from "./inputs.ts";
import { readOptions } from "./options.ts";
import { descendants, MemoryWatch } from "./processes.ts";
import { aimList, inputTable } from "./report.ts";
import type { Sample } from "./sample.ts";
import { median, seededRandom, shuffled } from "./statistics.ts";

test("the median is the middle value, or the mean of the middle two, whatever the order", () => {
  expect(median([3, 1, 2])).toBe(2);
  expect(median([10, 1, 2, 4])).toBe(3);
  expect(median([7])).toBe(7);
  expect(() => median([])).toThrow("the median of nothing");
});

test("the order of the runs is another each round, holds each run once, and comes back with the seed", () => {
  const things = Array.from({ length: 18 }, (_, index) => index);
  const random = seededRandom(42);
  const [first, second] = [shuffled(things, random), shuffled(things, random)];
  expect([...first].sort((a, b) => a - b)).toEqual(things);
  expect(first).not.toEqual(things);
  expect(second).not.toEqual(first);
  expect(shuffled(things, seededRandom(42))).toEqual(first);
  expect(shuffled(things, seededRandom(43))).not.toEqual(first);
});

const input: Input = {
  name: "random",
  path: "/nowhere",
  kind: "disk",
  sparse: false,
  bytes: 2 ** 30,
  allocatedBytes: 2 ** 30,
  title: "random bytes",
};
const cost = { userMs: 250, systemMs: 250, peakBytes: 2 ** 26 };

function sampleOf(contender: string, seconds: number): Sample {
  return {
    round: 1,
    input: "random",
    contender,
    bytes: 2 ** 30,
    seconds,
    source: cost,
    destination: contender === "cp" ? undefined : cost,
    loopbackBytes: 1030 * 2 ** 20,
    reportedWireBytes: contender === "ours" ? 1025 * 2 ** 20 : undefined,
  };
}

test("the table has a row for each contender that ran, and its time as a multiple of ours", () => {
  const samples = [
    ...[1, 2, 9].map((seconds) => sampleOf("ours", seconds)),
    ...[5, 4, 3].map((seconds) => sampleOf("ssh", seconds)),
    sampleOf("cp", 0.5),
  ];
  const lines = inputTable(input, contenders, samples).split("\n").slice(4);
  expect(lines).toEqual([
    "| cp (the limit) | 0.50 (0.50–0.50) | 2048 | 0.25 | 0.50 | – | – | 64.0 | – |",
    "| migrate | 2.00 (1.00–9.00) | 512 | 1.00 | 0.50 | 0.50 | 1025 | 64.0 | 64.0 |",
    "| cat over ssh (aes128-gcm) | 4.00 (3.00–5.00) | 256 | 2.00 | 0.50 | 0.50 | 1030 | 64.0 | 64.0 |",
  ]);
});

test("an aim is met, short, or left out where it was not measured", () => {
  const samples = [sampleOf("ours", 2), sampleOf("ssh", 3), sampleOf("rsync", 4)];
  expect(aimList(samples).split("\n")).toEqual([
    "- random bytes: ssh / ours, time: 1.50 (aim: at least 1.5, met)",
    "- random bytes: rsync / ours, time: 2.00 (aim: at least 2.3, **short**)",
  ]);
});

test("a wrong option is named", () => {
  expect(() => readOptions(["--rounds", "0"])).toThrow("--rounds takes a whole number from 1 to 1000, not 0");
  expect(() => readOptions(["--inputs", "ram,floppy"])).toThrow(
    "--inputs knows random, ram, ram-image, disk, not floppy",
  );
  expect(() => readOptions(["--fast"])).toThrow("--fast");
  expect(readOptions(["--seed", "7", "--size", "64"])).toMatchObject({ seed: 7, sizeMiB: 64, rounds: 5 });
});

test("the memory of a process that was started by another one counts, and its own peak does not start from ours", async () => {
  const ballast = Buffer.alloc(96 * 2 ** 20, 1);
  const child = Bun.spawn(["sh", "-c", "sleep 100 & echo up; wait"], { stdout: "pipe" });
  try {
    for await (const _ of child.stdout) break;
    expect(descendants(child.pid)).toHaveLength(1);
    const peakBytes = new MemoryWatch(child.pid).stop();
    expect(peakBytes).toBeGreaterThan(2 ** 20);
    expect(peakBytes).toBeLessThan(ballast.length / 2);
  } finally {
    for (const pid of [...descendants(child.pid), child.pid]) process.kill(pid, "SIGKILL");
    await child.exited;
  }
});
