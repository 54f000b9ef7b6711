import { expect, test } from "bun:test";
import {
  type Operation,
  operations,
  type Sample,
  type SideFigures,
} from "../../../src/profiler/statistics/samples.ts";
import { tlsShareOf, withTlsShare } from "../../../src/profiler/statistics/tls-share.ts";

const MiB = 1024 ** 2;

function side(userMs: number, systemMs: number, named: Partial<Record<Operation, number>>): SideFigures {
  const operationsMs = Object.fromEntries(operations.map((name) => [name, named[name] ?? 0])) as Record<
    Operation,
    number
  >;
  return {
    userMs,
    systemMs,
    threadUserMs: userMs,
    threadSystemMs: systemMs,
    operationsMs,
    clockMs: 0,
    clockReads: 0,
  };
}

/** A run whose socket calls take 40 ms of system time for each 100 MiB, and `cryptoMs` of user time inside. */
function run(suite: Sample["suite"], mebibytes: number, cryptoMs: number): Sample {
  const scale = mebibytes / 100;
  return {
    order: 0,
    suite,
    engine: "thesis",
    ramBytes: mebibytes * MiB,
    diskBytes: 0,
    wireBytes: mebibytes * MiB,
    setup: { wallMs: 1, sourceCpuMs: 1, destinationCpuMs: 1 },
    source: side(10 * scale + cryptoMs, 60 * scale, {
      "socket-write": 40 * scale + cryptoMs,
      "file-read": 20 * scale,
      mac: 10 * scale,
    }),
    destination: side(10 * scale + 2 * cryptoMs, 90 * scale, {
      "socket-read": 50 * scale + 2 * cryptoMs,
      "file-write": 40 * scale,
      verify: 10 * scale,
    }),
    totalMs: 100,
    suspendMs: 0,
    resumeMs: 0,
  };
}

test("what TLS adds in user time is its cryptography, over runs of different sizes together", () => {
  const samples = [
    run("insecure", 100, 0),
    run("insecure", 300, 0),
    run("tls", 200, 40),
    run("tls", 400, 80),
  ];
  const share = tlsShareOf(samples)!;
  expect(share.source.share).toBeCloseTo(120 / (240 + 120), 9);
  expect(share.destination.share).toBeCloseTo(240 / (300 + 240), 9);
  const [, , first] = withTlsShare(samples, share);
  expect(first!.source.operationsMs.encrypt).toBeCloseTo(40, 6);
  expect(first!.source.operationsMs["socket-write"]).toBeCloseTo(80, 6);
  expect(first!.destination.operationsMs.decrypt).toBeCloseTo(80, 6);
});

test("other suites are left as they are, and doing it twice changes nothing", () => {
  const samples = [run("insecure", 100, 0), run("aes-128", 100, 30), run("tls", 100, 20)];
  const once = withTlsShare(samples, tlsShareOf(samples));
  expect(once.slice(0, 2)).toEqual(samples.slice(0, 2));
  const twice = withTlsShare(once, tlsShareOf(once));
  expect(twice[2]!.source.operationsMs.encrypt).toBeCloseTo(once[2]!.source.operationsMs.encrypt, 9);
});

test("the error falls as more ticks are counted", () => {
  const few = tlsShareOf([run("insecure", 100, 0), run("tls", 100, 20)])!;
  const many = tlsShareOf([run("insecure", 10_000, 0), run("tls", 10_000, 2000)])!;
  expect(few.source.error).toBeGreaterThan(0.05);
  expect(many.source.error).toBeCloseTo(few.source.error / 10, 2);
});

test("without insecure runs, or without the thread's times, nothing is divided", () => {
  expect(tlsShareOf([run("tls", 100, 20)])).toBeUndefined();
  const { threadUserMs: _, ...source } = run("tls", 100, 20).source;
  expect(tlsShareOf([run("insecure", 100, 0), { ...run("tls", 100, 20), source }])).toBeUndefined();
  const samples = [run("tls", 100, 20)];
  expect(withTlsShare(samples, undefined)).toEqual(samples);
});

test("noise never makes a share below 0 or above 1", () => {
  const noisy = run("tls", 100, 0);
  noisy.source.threadUserMs = 0;
  noisy.destination.threadUserMs = 10_000;
  const share = tlsShareOf([run("insecure", 100, 0), noisy])!;
  expect(share.source.share).toBe(0);
  expect(share.destination.share).toBe(1);
});
