/** A whole profile with sides that only pretend. */
import { describe, expect, test } from "bun:test";
import * as v from "valibot";
import type { ProfiledFile, Sides } from "../../../src/profiler/engine/sides.ts";
import {
  type ProfileOptions,
  type ProfileProgress,
  runProfile,
} from "../../../src/profiler/runs/run-profile.ts";
import {
  type Operation,
  operations,
  type Plan,
  type Samples,
  type SideFigures,
  type SuiteName,
  samplesSchema,
} from "../../../src/profiler/statistics/samples.ts";
import { MigrateError } from "../../../src/protocol/errors.ts";

const plan: Plan = {
  suites: ["insecure", "tls"],
  engine: "thesis",
  ramBytes: [1000, 2000],
  diskBytes: [0, 500],
  runs: 2,
};
const allRuns = 16;
const warmUps = 2;

const figures: SideFigures = {
  userMs: 1,
  systemMs: 1,
  threadUserMs: 1,
  threadSystemMs: 1,
  operationsMs: Object.fromEntries(operations.map((name) => [name, 0.2])) as Record<Operation, number>,
  clockMs: 0.1,
  clockReads: 10,
};

/** Sides that note what they are asked for; `trouble` may throw or wait at a run, counted from 1. */
class PretendedSides implements Sides {
  readonly clockCostNs = 500;
  readonly link = "loopback";
  readonly asked: { suite: SuiteName; bytes: number[] }[] = [];
  closed = 0;
  constructor(readonly trouble: (count: number) => void | Promise<void> = () => {}) {}

  async run(suite: SuiteName, files: readonly ProfiledFile[]) {
    this.asked.push({ suite, bytes: files.map(({ bytes }) => bytes) });
    await this.trouble(this.asked.length);
    return {
      wireBytes: 1,
      setup: { wallMs: 1, sourceCpuMs: 1, destinationCpuMs: 1 },
      source: figures,
      destination: figures,
      totalMs: 10,
    };
  }

  async close() {
    this.closed++;
  }
}

function profile(sides: PretendedSides, more: Partial<ProfileOptions> = {}) {
  const kept: Samples[] = [];
  const told: ProfileProgress[] = [];
  const result = runProfile({
    plan,
    seed: 9,
    environment: { cpu: "a processor", cores: 2, kernel: "6.1", bun: "1.4.5", migrate: "0.1.0" },
    sides,
    filesOf: ({ ramBytes, diskBytes }) => [
      { kind: "ram", path: "/nowhere/ram", bytes: ramBytes },
      ...(diskBytes === 0 ? [] : [{ kind: "disk" as const, path: "/nowhere/disk", bytes: diskBytes }]),
    ],
    warmUp: { ramBytes: 100, diskBytes: 0 },
    startedAt: "2026-01-02T03:04:05.000Z",
    progress: (progress) => told.push(progress),
    keep: (samples) => kept.push(samples),
    signal: new AbortController().signal,
    ...more,
  });
  return { result, kept, told };
}

const matches = (samples: Samples) => v.safeParse(samplesSchema, JSON.parse(JSON.stringify(samples))).success;

test("every run is made once, after a warm-up of each suite that is thrown away", async () => {
  const sides = new PretendedSides();
  const { samples, stopped } = await profile(sides).result;
  expect(stopped).toBeUndefined();
  expect(sides.asked.slice(0, warmUps)).toEqual([
    { suite: expect.any(String), bytes: [100] },
    { suite: expect.any(String), bytes: [100] },
  ]);
  expect(new Set(sides.asked.slice(0, warmUps).map(({ suite }) => suite)).size).toBe(warmUps);
  expect(samples.samples.map(({ order }) => order)).toEqual(
    Array.from({ length: allRuns }, (_, order) => order),
  );
  expect(samples).toMatchObject({
    partial: false,
    seed: 9,
    plan,
    zeroBytesSent: true,
    environment: { link: "loopback", clockCostNs: 500 },
  });
  expect(matches(samples)).toBe(true);
  expect(sides.closed).toBe(1);
});

test("what was measured is kept after every run, as partial until the last one", async () => {
  const { result, kept } = profile(new PretendedSides());
  await result;
  expect(kept.map(({ samples }) => samples.length)).toEqual(Array.from({ length: allRuns }, (_, i) => i + 1));
  expect(kept.map(({ partial }) => partial)).toEqual([...Array(allRuns - 1).fill(true), false]);
});

test("progress tells what is under way and what is left", async () => {
  const { result, told } = profile(new PretendedSides());
  await result;
  expect(told.filter(({ warmUp }) => warmUp).length).toBe(warmUps);
  const runs = told.filter(({ run, warmUp }) => run !== null && !warmUp);
  expect(runs.map(({ doneRuns }) => doneRuns)).toEqual(Array.from({ length: allRuns }, (_, done) => done));
  expect(runs.every((progress) => progress.allRuns === allRuns)).toBe(true);
  const left = runs.map(({ leftMs }) => leftMs!);
  expect(left.at(-1)!).toBeLessThan(left[0]!);
  expect(told.at(-1)!.leftMs).toBe(0);
});

describe("cut short", () => {
  test("by a person: what was measured is given back, and the sides are closed", async () => {
    const controller = new AbortController();
    const reached = Promise.withResolvers<void>();
    const sides = new PretendedSides(async (count) => {
      if (count < warmUps + 6) return;
      reached.resolve();
      await new Promise(() => {});
    });
    const { result } = profile(sides, { signal: controller.signal });
    await reached.promise;
    controller.abort(new MigrateError("interrupted", "Interrupted"));
    const { samples, stopped } = await result;
    expect(stopped).toMatchObject({ code: "interrupted" });
    expect(samples.partial).toBe(true);
    expect(samples.samples.length).toBe(5);
    expect(matches(samples)).toBe(true);
    expect(sides.closed).toBe(1);
  });

  test("by a destination that goes away: the same, with its error", async () => {
    const sides = new PretendedSides((count) => {
      if (count === warmUps + 3) throw new MigrateError("network", "the destination went away");
    });
    const { samples, stopped } = await profile(sides).result;
    expect(stopped).toMatchObject({ code: "network", exitCode: 4 });
    expect(samples).toMatchObject({ partial: true });
    expect(samples.samples.length).toBe(2);
  });

  test("before it began: nothing is measured", async () => {
    const controller = new AbortController();
    controller.abort(new MigrateError("interrupted", "Interrupted"));
    const sides = new PretendedSides();
    const { samples, stopped } = await profile(sides, { signal: controller.signal }).result;
    expect(stopped?.code).toBe("interrupted");
    expect({ asked: sides.asked.length, samples: samples.samples.length, closed: sides.closed }).toEqual({
      asked: 0,
      samples: 0,
      closed: 1,
    });
  });

  test("taken up again, it measures what is missing and nothing twice", async () => {
    const first = new PretendedSides((count) => {
      if (count === warmUps + 11) throw new MigrateError("network", "gone");
    });
    const { samples: before } = await profile(first).result;
    const second = new PretendedSides();
    const { samples, stopped } = await profile(second, { taken: before.samples }).result;
    expect(stopped).toBeUndefined();
    expect(second.asked.length).toBe(warmUps + allRuns - 10);
    expect(samples.samples.map(({ order }) => order).sort((a, b) => a - b)).toEqual(
      Array.from({ length: allRuns }, (_, order) => order),
    );
    const whole = await profile(new PretendedSides()).result;
    const shape = ({ samples: all }: Samples) =>
      all.map(({ order, suite, ramBytes, diskBytes }) => ({ order, suite, ramBytes, diskBytes }));
    expect(shape(samples)).toEqual(shape(whole.samples));
  });
});

test("suspend and resume are kept apart from the total time, and are 0 where nothing is suspended", async () => {
  const { samples: plain } = await profile(new PretendedSides()).result;
  expect(plain.samples.every(({ suspendMs, resumeMs }) => suspendMs === 0 && resumeMs === 0)).toBe(true);
  const steps: string[] = [];
  const { samples } = await profile(new PretendedSides(() => void steps.push("run")), {
    suspend: async () => void steps.push("suspend"),
    resume: async () => void steps.push("resume"),
  }).result;
  expect(steps.slice(warmUps, warmUps + 6)).toEqual(["suspend", "run", "resume", "suspend", "run", "resume"]);
  expect(
    samples.samples.every(
      ({ suspendMs, resumeMs, totalMs }) => suspendMs > 0 && resumeMs > 0 && totalMs === 10,
    ),
  ).toBe(true);
});
