/** The arithmetic of the benchmark of running VMs; its runs are for `bun run bench qemu`. */
import { expect, test } from "bun:test";
import { startChild } from "../../support/system/child.ts";
import { until } from "../../support/system/until.ts";
import { contenderNames, qemuContenders } from "./contenders.ts";
import { cpuMsOf } from "./cpu-time.ts";
import { randomGuestMiB } from "./guests.ts";
import { readOptions } from "./options.ts";
import { aimList, guestTable } from "./report.ts";
import type { QemuSample } from "./sample.ts";

function sampleOf(contender: string, seconds: number, more: Partial<QemuSample> = {}): QemuSample {
  return {
    ...{ round: 1, guest: "random", link: "loopback", contender, seconds, ownSeconds: undefined },
    ...{ downtimeMs: 100, sourceCpuMs: 1000, destinationCpuMs: 1000, wireBytes: 512 * 2 ** 20 },
    ...more,
  };
}

/** A sample whose two sides take so much CPU each. */
const cpu = (ms: number): Partial<QemuSample> => ({ sourceCpuMs: ms, destinationCpuMs: ms });

test("the table has a row for each contender that ran, with its time and its CPU as multiples of ours", () => {
  const samples = [
    ...[1, 2, 9].map((seconds) => sampleOf("ours", seconds, { wireBytes: seconds * 2 ** 20 })),
    ...[5, 4, 3].map((seconds) => sampleOf("tls", seconds, { ...cpu(1500), downtimeMs: 20 })),
  ];
  const lines = guestTable("a guest", qemuContenders, samples).split("\n");
  expect(lines[0]).toBe("**a guest**");
  expect(lines[2]).toContain("| downtime ms | MiB on the wire | CPU s source |");
  expect(lines.slice(4)).toEqual([
    "| migrate | 2.00 (1.00–9.00) | 1.00 | – | 100 (100–100) | 2.00 | 1.00 (1.00–1.00) | 1.00 (1.00–1.00) | 1.00 |",
    "| QEMU, TLS | 4.00 (3.00–5.00) | 2.00 | – | 20.0 (20.0–20.0) | 512 | 1.50 (1.50–1.50) | 1.50 (1.50–1.50) | 1.50 |",
  ]);
});

test("an aim is met, short, or left out where what it needs was not measured", () => {
  const samples = [
    sampleOf("ours", 2, cpu(700)),
    sampleOf("ours-multifd", 3, cpu(900)),
    sampleOf("tls", 4, cpu(1000)),
    sampleOf("ours", 9, { ...cpu(1), guest: "disk", downtimeMs: 310 }),
  ];
  expect(aimList(samples).split("\n")).toEqual([
    "- QEMU's TLS / ours, time: 2.00 (aim: at least 1.5, met)",
    "- ours / QEMU's TLS, CPU of all processes: 0.70 (aim: at most 0.8, met)",
    "- QEMU's TLS / ours-multifd, time: 1.33 (aim: at least 1.5, **short**)",
    "- ours-multifd / QEMU's TLS, CPU of all processes: 0.90 (aim: at most 0.8, **short**)",
    "- downtime of the guest with a disk, median in ms: 310 (aim: under 300, **short**)",
  ]);
  expect(aimList([sampleOf("ours", 2)])).toBe("");
});

test("what another guest or another link gave is no part of an aim", () => {
  const samples = ["ours", "tls"].flatMap((contender) => [
    sampleOf(contender, 2, { guest: "worked" }),
    sampleOf(contender, 2, { link: "gigabit" }),
    sampleOf(contender, 2, { guest: "disk", link: "gigabit" }),
  ]);
  expect(aimList(samples)).toBe("");
});

test("the command line is read, and nonsense is refused by name", () => {
  expect(readOptions([])).toMatchObject({
    ...{ rounds: 5, diskRounds: 10, randomMiB: 1024, workedMiB: 1024, folder: "/dev/shm" },
    ...{ guests: ["random", "worked"], links: ["loopback"], contenders: [...contenderNames] },
  });
  expect(readOptions(["--contenders", "tls,tcp", "--seed", "7"])).toMatchObject({
    contenders: ["tls", "tcp"],
    seed: 7,
  });
  expect(readOptions(["--guests", "worked", "--link", "loopback,gigabit", "--worked", "256"])).toMatchObject({
    guests: ["worked"],
    links: ["loopback", "gigabit"],
    workedMiB: 256,
  });
  expect(() => readOptions(["--contenders", "xen"])).toThrow("--contenders knows ours, ours-multifd");
  expect(() => readOptions(["--guests", "windows"])).toThrow("--guests knows random, worked, not windows");
  expect(() => readOptions(["--link", "wet"])).toThrow("--link knows loopback, gigabit, not wet");
  expect(() => readOptions(["--rounds", "0"])).toThrow("--rounds takes a whole number from 1 to 1000, not 0");
  expect(() => readOptions(["--random", "much"])).toThrow("--random takes");
  expect(() => readOptions(["--worked", "64"])).toThrow("--worked takes a whole number from 128");
});

test("the guest of random bytes has room for them beside its kernel, in whole 64 MiB", () => {
  for (const randomMiB of [16, 128, 1024, 16 * 1024]) {
    const ramMiB = randomGuestMiB(randomMiB);
    expect(ramMiB % 64).toBe(0);
    expect((ramMiB - 64) * 0.9).toBeGreaterThan(randomMiB);
  }
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
