/** The arithmetic of the benchmark of running VMs; its runs are for `bun run bench qemu`. */
import { expect, test } from "bun:test";
import { startChild } from "../../support/child.ts";
import { until } from "../../support/until.ts";
import { contenderNames, qemuContenders } from "./contenders.ts";
import { cpuMsOf } from "./cpu-time.ts";
import { readOptions } from "./options.ts";
import { aimList, guestTable } from "./report.ts";
import type { QemuSample } from "./sample.ts";

function sampleOf(contender: string, seconds: number, cpuMs = 1000, downtimeMs = 100): QemuSample {
  const own = { round: 1, guest: "full", contender, seconds, ownSeconds: undefined, downtimeMs };
  return { ...own, sourceCpuMs: cpuMs, destinationCpuMs: cpuMs };
}

test("the table has a row for each contender that ran, with its time and its CPU as multiples of ours", () => {
  const samples = [
    ...[1, 2, 9].map((seconds) => sampleOf("ours", seconds)),
    ...[5, 4, 3].map((seconds) => sampleOf("tls", seconds, 1500, 20)),
  ];
  const lines = guestTable("a guest", qemuContenders, samples).split("\n");
  expect(lines[0]).toBe("**a guest**");
  expect(lines.slice(4)).toEqual([
    "| migrate | 2.00 (1.00–9.00) | 1.00 | – | 100 (100–100) | 1.00 (1.00–1.00) | 1.00 (1.00–1.00) | 1.00 |",
    "| QEMU, TLS | 4.00 (3.00–5.00) | 2.00 | – | 20.0 (20.0–20.0) | 1.50 (1.50–1.50) | 1.50 (1.50–1.50) | 1.50 |",
  ]);
});

test("an aim is met, short, or left out where what it needs was not measured", () => {
  const full = [sampleOf("ours", 2, 700), sampleOf("ours-multifd", 3, 900), sampleOf("tls", 4, 1000)];
  const list = aimList(full, [sampleOf("ours", 9, 1, 310)]).split("\n");
  expect(list).toEqual([
    "- QEMU's TLS / ours, time: 2.00 (aim: at least 1.5, met)",
    "- ours / QEMU's TLS, CPU of all processes: 0.70 (aim: at most 0.8, met)",
    "- QEMU's TLS / ours-multifd, time: 1.33 (aim: at least 1.5, **short**)",
    "- ours-multifd / QEMU's TLS, CPU of all processes: 0.90 (aim: at most 0.8, **short**)",
    "- downtime of the guest with a disk, median in ms: 310 (aim: under 300, **short**)",
  ]);
  expect(aimList([sampleOf("ours", 2)], [])).toBe("");
});

test("the command line is read, and nonsense is refused by name", () => {
  expect(readOptions([])).toMatchObject({ rounds: 5, diskRounds: 10, randomMiB: 1024, folder: "/dev/shm" });
  expect(readOptions([]).contenders).toEqual([...contenderNames]);
  expect(readOptions(["--contenders", "tls,tcp", "--seed", "7"])).toMatchObject({
    contenders: ["tls", "tcp"],
    seed: 7,
  });
  expect(() => readOptions(["--contenders", "xen"])).toThrow("--contenders knows ours, ours-multifd");
  expect(() => readOptions(["--rounds", "0"])).toThrow("--rounds takes a whole number from 1 to 1000, not 0");
  expect(() => readOptions(["--random", "much"])).toThrow("--random takes");
});

test("a process's CPU time is that of the process, whatever its name holds", async () => {
  const busy = startChild(["sh", "-c", "while :; do :; done"]);
  const idle = startChild(["sleep", "1000000"]);
  try {
    await until(() => cpuMsOf(busy.pid) >= 50, "50 ms of CPU time");
    expect(cpuMsOf(idle.pid)).toBeLessThan(50);
    const before = cpuMsOf(busy.pid);
    await until(() => cpuMsOf(busy.pid) > before, "more CPU time");
  } finally {
    await Promise.all([busy.kill(), idle.kill()]);
  }
  expect(() => cpuMsOf(busy.pid)).toThrow();
});
