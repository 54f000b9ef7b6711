/** The arithmetic of the benchmark of libvirt's domains; its runs are for `bun run bench libvirt`. */
import { expect, test } from "bun:test";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { LibvirtHost } from "../../support/libvirt/libvirt-host.ts";
import { underReaper } from "../../support/libvirt/orphan-reaper.ts";
import { startChild } from "../../support/system/child.ts";
import { until } from "../../support/system/until.ts";
import { cpuMsOf, cpuMsWithChildrenOf } from "../qemu/cpu-time.ts";
import { contenderNames, libvirtContenders } from "./contenders.ts";
import { HostCpu } from "./host-cpu.ts";
import { readOptions } from "./options.ts";
import { QemuStops, readStop } from "./qemu-stops.ts";
import { aimList, domainTable } from "./report.ts";
import type { LibvirtSample } from "./sample.ts";

function sampleOf(contender: string, seconds: number, more: Partial<LibvirtSample> = {}): LibvirtSample {
  return {
    ...{ round: 1, domain: "idle", link: "loopback", contender, seconds, downtimeMs: 100 },
    ...{ sourceCpuMs: 1000, destinationCpuMs: 1000, wireBytes: 512 * 2 ** 20 },
    ...more,
  };
}

/** What virsh prints of an event that QEMU stamped so. */
const line = (kind: string, seconds: number, micros = 0, domain = "bench"): string =>
  `event ${kind} at ${seconds}.${String(micros).padStart(6, "0")} for domain '${domain}': <null>`;

test("the table has a row for each way that ran, with medians as multiples of the first one's", () => {
  const samples = [
    ...[1, 2, 9].map((seconds) => sampleOf("ours", seconds)),
    ...[5, 4, 3].map((seconds) =>
      sampleOf("tcp", seconds, { downtimeMs: 20, wireBytes: 2 ** 30, destinationCpuMs: 2000 }),
    ),
  ];
  const lines = domainTable("a domain", libvirtContenders, samples).split("\n");
  expect(lines[0]).toBe("**a domain**");
  expect(lines.slice(4)).toEqual([
    "| migrate | 2.00 (1.00–9.00) | 1.00 | 100 (100–100) | 1.00 | 512 (512–512) | 1.00 | 1.00 (1.00–1.00) | 1.00 (1.00–1.00) | 1.00 |",
    "| virsh migrate, plain TCP | 4.00 (3.00–5.00) | 2.00 | 20.0 (20.0–20.0) | 0.20 | 1024 (1024–1024) | 2.00 | 1.00 (1.00–1.00) | 2.00 (2.00–2.00) | 1.50 |",
  ]);
  expect(domainTable("a domain", libvirtContenders, [])).toBe("");
});

test("a downtime that was not seen is no figure", () => {
  const unseen = { downtimeMs: undefined };
  const lines = domainTable("a domain", libvirtContenders, [sampleOf("ours", 1, unseen)]).split("\n");
  expect(lines[4]).toStartWith("| migrate | 1.00 (1.00–1.00) | 1.00 | – | – | 512");
  expect(aimList([sampleOf("ours", 1, unseen), sampleOf("tcp", 1, unseen)])).not.toContain("downtime");
});

test("an aim is met, short, or left out where what it needs was not measured", () => {
  const samples = [
    sampleOf("ours", 2, { downtimeMs: 130 }),
    sampleOf("tcp", 2),
    ...(["ours", "tls"] as const).map((name) => sampleOf(name, 3, { link: "gigabit" })),
    sampleOf("tls", 9, { domain: "writing", link: "gigabit" }),
  ];
  expect(aimList(samples).split("\n")).toEqual([
    "- idle, loopback: plain virsh migrate / ours, time: 1.00 (aim: at least 1, met)",
    "- idle, gigabit: virsh migrate --tls / ours, time: 1.00 (aim: at least 1.5, **short**)",
    "- idle, loopback: ours / plain virsh migrate, downtime: 1.30 (aim: at most 1.2, **short**)",
  ]);
  expect(aimList([])).toBe("");
});

test("the command line is read, and nonsense is refused by name", () => {
  expect(readOptions([])).toMatchObject({
    ...{ rounds: 3, folder: "/dev/shm", contenders: [...contenderNames] },
    ...{ domains: ["idle", "writing"], links: ["loopback", "gigabit"] },
  });
  expect(readOptions(["--domains", "writing", "--contenders", "tls,ssh", "--seed", "7"])).toMatchObject({
    ...{ domains: ["writing"], contenders: ["tls", "ssh"], seed: 7 },
  });
  expect(() => readOptions(["--domains", "asleep"])).toThrow("--domains knows idle, writing, not asleep");
  expect(() => readOptions(["--contenders", "rdma"])).toThrow(
    "--contenders knows ours, ours-off, ours-insecure, tcp",
  );
  expect(() => readOptions(["--rounds", "0"])).toThrow("--rounds takes a whole number from 1 to 1000, not 0");
});

test("of what virsh prints, stops and resumes are read, with QEMU's own time to the microsecond", () => {
  const atMs = 1_700_000_000_123.456;
  expect(readStop(line("STOP", 1_700_000_000, 123_456))).toEqual({ kind: "STOP", domain: "bench", atMs });
  expect(readStop("event RESUME at 1700000000.000001 for domain web-1: {}")).toMatchObject({
    ...{ kind: "RESUME", domain: "web-1" },
  });
  for (const other of [
    "",
    line("MIGRATION", 1),
    "events received: 3",
    "event STOP at noon for domain 'bench'",
  ])
    expect(readStop(other)).toBeUndefined();
});

test("the downtime is from the last stop here to the first resume there, of this move and this domain", async () => {
  const [seenHere, seenThere] = [
    [line("STOP", 5), line("STOP", 11), line("RESUME", 12), line("STOP", 20, 250_000)],
    [
      line("RESUME", 6),
      line("RESUME", 20, 300_000, "other"),
      line("RESUME", 20, 350_500),
      line("RESUME", 30),
    ],
  ];
  const telling = (lines: readonly string[]): LibvirtHost =>
    ({
      command: () => ["sh", "-c", `printf '%s\\n' "$@"; exec sleep 1000000`, "virsh", ...lines],
    }) as unknown as LibvirtHost;
  const [here, there] = [telling(seenHere!), telling(seenThere!)];
  const stops = new QemuStops();
  try {
    await stops.watch(here);
    await stops.watch(there);
    await stops.waitForResume(here, "bench", 0);
    await stops.waitForResume(there, "bench", 30_000);
    await until(() => stops.downtimeMs(here, there, "bench", 10_000) !== undefined, "all that was said");
    expect(stops.downtimeMs(here, there, "bench", 10_000)).toBeCloseTo(100.5);
    expect(stops.downtimeMs(here, there, "bench", 25_000)).toBeUndefined();
  } finally {
    await stops.close();
  }
});

test("a host's CPU time is that of its processes from now on, and of orphans that have ended, without whoever watches", async () => {
  const folder = mkdtempSync(join(tmpdir(), "migrate-bench-cpu-"));
  const go = join(folder, "go");
  const burn = `while [ ! -e ${go} ]; do sleep 0.01; done; n=0; while [ $n -lt 100000 ]; do n=$((n + 1)); done`;
  const orphans = `(${burn}) > /dev/null 2>&1 & echo $!; sleep 1000000 > /dev/null 2>&1 & echo $!; exit 3`;
  const command = startChild([...underReaper, "sh", "-c", orphans]);
  const watcher = startChild(["sh", "-c", "while :; do :; done"]);
  let staying: number | undefined;
  try {
    // It ends as the command did.
    expect((await command.exit).code).toBe(3);
    const [burning, sleeping] = command.stdout().trim().split("\n").map(Number);
    staying = sleeping;
    const reaper = parentOf(burning!);
    expect(reaper).toBe(parentOf(sleeping!));
    const processes = () => [reaper, burning!, sleeping!, watcher.pid];
    const cpu = new HostCpu({ processes }, [watcher.pid]);
    writeFileSync(go, "");
    await until(() => !existsSync(`/proc/${burning}`), "the end of what burns");
    await until(() => cpuMsOf(watcher.pid) >= 1000, "a second of the watcher");
    const burntMs = cpu.sinceMs();
    expect(burntMs).toBeGreaterThanOrEqual(20);
    expect(burntMs).toBeLessThan(1000);
    expect(burntMs).toBeLessThanOrEqual(cpuMsWithChildrenOf(reaper));
    expect(new HostCpu({ processes }, [watcher.pid]).sinceMs()).toBeLessThan(20);
  } finally {
    if (staying !== undefined) process.kill(staying, "SIGKILL");
    await watcher.kill();
    rmSync(folder, { recursive: true });
  }
}, 30_000);

const parentOf = (pid: number): number =>
  Number(/^PPid:\s*(\d+)$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]);
