/**
 * A profile that was never run: samples from a stated cost model with stated noise, so that tests of
 * statistics, tables, claims and figures know the true value behind what they see. The same options
 * always give the same samples.
 */
import {
  type Operation,
  operations,
  type Sample,
  type Samples,
  type SideFigures,
  type SuiteName,
  samplesVersion,
} from "../../../src/profiler/statistics/samples.ts";

const mebibyte = 1024 * 1024;
const gibibyte = 1024 * mebibyte;

/** What a suite costs: CPU milliseconds for each GiB, by operation, and its connection set-up. */
export interface SuiteCost {
  source: Partial<Record<Operation, number>>;
  destination: Partial<Record<Operation, number>>;
  setupWallMs: number;
  setupCpuMs: number;
}

const plain = (setupWallMs: number, setupCpuMs: number): SuiteCost => ({
  source: { "file-read": 160, "socket-write": 300, rest: 20 },
  destination: { "socket-read": 340, "file-write": 260, rest: 30 },
  setupWallMs,
  setupCpuMs,
});

function secured(encrypt: number, mac: number): SuiteCost {
  const cost = plain(24, 9);
  Object.assign(cost.source, { encrypt, mac });
  Object.assign(cost.destination, { decrypt: encrypt, verify: mac });
  return cost;
}

/** Costs of the order that this program has on a host with AES instructions. */
export const syntheticCosts: Readonly<Record<SuiteName, SuiteCost>> = {
  insecure: plain(0.4, 0.3),
  tls: secured(190, 0),
  "aes-128": secured(900, 1250),
  rc4: secured(1900, 1250),
  "3des": secured(38000, 1250),
  "aes-128-gcm": secured(260, 0),
  "chacha20-poly1305": secured(13000, 0),
};

export interface SyntheticOptions {
  seed?: number;
  engine?: Sample["engine"];
  suites?: readonly SuiteName[];
  ramMiB?: readonly number[];
  /** 0 stands for "without disk". */
  diskMiB?: readonly number[];
  runs?: number;
  /** Standard deviation of each operation and of the total time, as a part of its mean. */
  noise?: number;
  costs?: Partial<Record<SuiteName, SuiteCost>>;
  /** CPU of either side whatever the size, counted as "rest". */
  fixedCpuMs?: number;
  linkBytesPerSec?: number;
  zeroBytesSent?: boolean;
  partial?: boolean;
  environment?: Partial<Samples["environment"]>;
  /** Bends each sample after it was made (in run order), for what the model lacks. */
  bend?: (sample: Sample) => Sample;
}

/** Uniform numbers in [0, 1) from a 32-bit seed (mulberry32). */
export function seededRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Standard normal numbers (Box and Muller) from uniform ones. */
export function seededNormal(random: () => number): () => number {
  return () => Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
}

/** A whole samples file. Defaults: the thesis's suites and `tls`, 5 sizes, without and with a disk, 5 runs. */
export function syntheticSamples(options: SyntheticOptions = {}): Samples {
  const seed = options.seed ?? 1;
  const random = seededRandom(seed);
  const normal = seededNormal(random);
  const noise = options.noise ?? 0.02;
  const noisy = (value: number) => Math.max(0, value * (1 + noise * normal()));
  const costs = { ...syntheticCosts, ...options.costs };

  const side = (perGiB: Partial<Record<Operation, number>>, gib: number): SideFigures => {
    const operationsMs = Object.fromEntries(
      operations.map((operation) => [operation, noisy((perGiB[operation] ?? 0) * gib)]),
    ) as Record<Operation, number>;
    operationsMs.rest += noisy(options.fixedCpuMs ?? 0);
    const system =
      operationsMs["file-read"] +
      operationsMs["socket-write"] +
      operationsMs["socket-read"] +
      operationsMs["file-write"];
    const total = operations.reduce((sum, operation) => sum + operationsMs[operation], 0);
    const clockReads = Math.round(gib * 8 * 1024);
    const clockMs = (clockReads * 210) / 1e6;
    return { userMs: total - system + clockMs, systemMs: system, operationsMs, clockMs, clockReads };
  };

  const cells = (options.diskMiB ?? [0, 1024]).flatMap((diskMiB) =>
    (options.ramMiB ?? [128, 256, 512, 768, 1024]).flatMap((ramMiB) =>
      (options.suites ?? ["insecure", "tls", "aes-128", "rc4", "3des"]).flatMap((suite) =>
        Array.from({ length: options.runs ?? 5 }, () => ({ diskMiB, ramMiB, suite })),
      ),
    ),
  );
  for (let last = cells.length - 1; last > 0; last--) {
    const other = Math.floor(random() * (last + 1));
    [cells[last], cells[other]] = [cells[other]!, cells[last]!];
  }

  const samples = cells.map(({ diskMiB, ramMiB, suite }, order): Sample => {
    const ramBytes = ramMiB * mebibyte;
    const diskBytes = diskMiB * mebibyte;
    const gib = (ramBytes + diskBytes) / gibibyte;
    const cost = costs[suite];
    const source = side(cost.source, gib);
    const destination = side(cost.destination, gib);
    const linkMs = ((ramBytes + diskBytes) / (options.linkBytesPerSec ?? 117e6)) * 1000;
    const busiestMs = Math.max(source.userMs + source.systemMs, destination.userMs + destination.systemMs);
    const setupWallMs = noisy(cost.setupWallMs);
    const made: Sample = {
      order,
      suite,
      engine: options.engine ?? "thesis",
      ramBytes,
      diskBytes,
      wireBytes: ramBytes + diskBytes + 4096,
      setup: {
        wallMs: setupWallMs,
        sourceCpuMs: noisy(cost.setupCpuMs),
        destinationCpuMs: noisy(cost.setupCpuMs),
      },
      source,
      destination,
      totalMs: setupWallMs + noisy(Math.max(linkMs, busiestMs)),
      suspendMs: noisy(3),
      resumeMs: noisy(5),
    };
    return options.bend?.(made) ?? made;
  });

  return {
    format: "migrate-profile",
    version: samplesVersion,
    partial: options.partial ?? false,
    startedAt: "2026-01-02T03:04:05.000Z",
    seed,
    environment: {
      cpu: "Synthetic CPU at 2.00GHz",
      cores: 2,
      kernel: "Linux 6.1.0 x86_64",
      bun: "1.4.5",
      migrate: "0.1.0",
      link: "loopback",
      clockCostNs: 210,
      ...options.environment,
    },
    zeroBytesSent: options.zeroBytesSent ?? true,
    samples,
  };
}
