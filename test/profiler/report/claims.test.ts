/** Each of the thesis's claims on samples whose true values are known, for all three verdicts. */
import { describe, expect, test } from "bun:test";
import { judgeClaims } from "../../../src/profiler/report/claims.ts";
import {
  decide,
  type Judgement,
  type Observation,
  type Verdict,
} from "../../../src/profiler/report/judgement.ts";
import { thesisAddedPart, thesisRatioRange } from "../../../src/profiler/report/thesis.ts";
import type { Sample } from "../../../src/profiler/statistics/samples.ts";
import {
  type SuiteCost,
  type SyntheticOptions,
  syntheticCosts,
  syntheticSamples,
} from "../../support/files/synthetic-samples.ts";

const plain = syntheticCosts.insecure;

/** A suite that costs `times` what insecure costs, on either side, with set-up of its own. */
function timesInsecure(times: number, setupWallMs = 24): SuiteCost {
  const scaled = (cost: SuiteCost["source"]) =>
    Object.fromEntries(Object.entries(cost).map(([operation, ms]) => [operation, ms * times]));
  return { source: scaled(plain.source), destination: scaled(plain.destination), setupWallMs, setupCpuMs: 9 };
}

/** The same suite with as much "rest" as makes the named operations a part `share` of the whole. */
function namedShare(cost: SuiteCost, share: number): SuiteCost {
  const withRest = ({ rest: _, ...named }: SuiteCost["source"]) => {
    const sum = Object.values(named).reduce((total, ms) => total + ms, 0);
    return { ...named, rest: sum / share - sum };
  };
  return { ...cost, source: withRest(cost.source), destination: withRest(cost.destination) };
}

const slower = (suite: Sample["suite"], by: (sample: Sample) => number) => (sample: Sample) =>
  sample.suite === suite ? { ...sample, totalMs: sample.totalMs * by(sample) } : sample;

const thesisPart = (times: number) => (sample: Sample) => {
  const parts: Readonly<Record<string, number>> =
    sample.diskBytes > 0 ? thesisAddedPart.withDisk : thesisAddedPart.withoutDisk;
  return 1 + times * parts[String(sample.ramBytes / 2 ** 20)]!;
};

const busy = (cores: number) => (sample: Sample) => ({
  ...sample,
  totalMs: (sample.source.userMs + sample.source.systemMs) / cores,
});

/** Where the true value is well within the limits, well outside, and just at the limit. */
const cases: Readonly<Record<string, Record<Verdict, SyntheticOptions>>> = {
  proportional: {
    holds: { noise: 0.01 },
    "does not hold": { noise: 0.01, fixedCpuMs: 60 },
    "cannot tell": { noise: 0.3 },
  },
  "reads-and-writes": {
    holds: {},
    "does not hold": { costs: { insecure: namedShare(plain, 0.4) } },
    "cannot tell": { costs: { insecure: namedShare(plain, 0.5) }, noise: 0.1 },
  },
  "cryptography-and-calls": {
    holds: {},
    "does not hold": { costs: { rc4: namedShare(syntheticCosts.rc4, 0.8) } },
    "cannot tell": { costs: { rc4: namedShare(syntheticCosts.rc4, 0.9) }, noise: 0.1 },
  },
  "rc4-cost": {
    holds: { costs: { rc4: timesInsecure(1.7) } },
    "does not hold": { costs: { rc4: timesInsecure(1.3) } },
    "cannot tell": { costs: { rc4: timesInsecure(1.5) } },
  },
  "aes-cost": {
    holds: { costs: { "aes-128": timesInsecure(2) } },
    "does not hold": { costs: { "aes-128": timesInsecure(1.5) } },
    "cannot tell": { costs: { "aes-128": timesInsecure(thesisRatioRange("aes-128").high) } },
  },
  "3des-cost": {
    holds: {},
    "does not hold": { costs: { "3des": timesInsecure(2), "aes-128": timesInsecure(1.8) } },
    "cannot tell": { costs: { "3des": timesInsecure(3), "aes-128": timesInsecure(1.5) } },
  },
  "consistent-shares": {
    holds: { noise: 0.01 },
    "does not hold": { noise: 0.6 },
    "cannot tell": { noise: 0.1 },
  },
  "added-time": {
    holds: { noise: 0.002, costs: { rc4: timesInsecure(1, 10_000) } },
    "does not hold": {},
    "cannot tell": { noise: 0.02, costs: { rc4: timesInsecure(1, 8000) } },
  },
  "setup-share": {
    holds: { noise: 0.002, costs: { rc4: timesInsecure(1, 2000) } },
    "does not hold": { bend: slower("rc4", () => 1.5) },
    "cannot tell": {},
  },
  "overhead-falls": {
    holds: { noise: 0.005, costs: { rc4: timesInsecure(1, 3000) } },
    "does not hold": { noise: 0.005, bend: slower("rc4", () => 1.2) },
    "cannot tell": { noise: 0.1 },
  },
  "overhead-size": {
    holds: { noise: 0.005, bend: slower("rc4", thesisPart(1)) },
    "does not hold": { noise: 0.005, bend: slower("rc4", thesisPart(2)) },
    "cannot tell": { noise: 0.02, bend: slower("rc4", thesisPart(1.5)) },
  },
  threads: {
    holds: { engine: "full", bend: busy(1.6) },
    "does not hold": { engine: "full", bend: busy(0.7) },
    // The destination's 820 ms of CPU per GiB take about 820 ms of time.
    "cannot tell": {
      engine: "full",
      bend: (sample) => ({
        ...sample,
        totalMs: 820 * (sample.ramBytes / 2 ** 30) * (0.95 + (sample.order % 3) / 20),
      }),
    },
  },
};

function judged(id: string, options: SyntheticOptions): Judgement {
  const found = judgeClaims(syntheticSamples({ ramMiB: [128, 1024], ...options })).find(
    (judgement) => judgement.id === id,
  );
  if (found === undefined) throw new Error(`no claim ${id}`);
  return found;
}

describe("every claim", () => {
  test("has a case for each verdict", () => {
    expect(judgeClaims(syntheticSamples({ runs: 1 })).map(({ id }) => id)).toEqual(Object.keys(cases));
  });

  for (const [id, byVerdict] of Object.entries(cases))
    for (const [verdict, options] of Object.entries(byVerdict))
      test(`${id}: ${verdict}`, () => {
        const judgement = judged(id, options);
        expect(judgement.verdict).toBe(verdict as Verdict);
        expect(judgement.figure).toBeString();
        expect(judgement.sentence).toContain(judgement.figure!);
      });

  test("with fewer than five runs cannot be told, however clear it looks", () => {
    for (const [id, { holds, "does not hold": fails }] of Object.entries(cases))
      for (const options of [holds, fails])
        expect(judged(id, { ...options, runs: 4 })).toMatchObject({
          verdict: "cannot tell",
          sentence: expect.stringContaining("at least 5 runs"),
        });
  });

  test("of which nothing was measured says what is missing", () => {
    for (const judgement of judgeClaims(syntheticSamples({ suites: ["tls"], ramMiB: [128], runs: 5 }))) {
      if (judgement.id === "consistent-shares") continue;
      expect(judgement).toMatchObject({ verdict: "cannot tell", figure: undefined });
      expect(judgement.sentence).toMatch(/^[A-Z`].*\.$/);
    }
  });

  test("is about the thesis's way of sending, but for the threads", () => {
    for (const judgement of judgeClaims(syntheticSamples({ engine: "full" })))
      expect(judgement.figure === undefined).toBe(judgement.id !== "threads");
  });
});

describe("a judgement", () => {
  const at = (where: string, value: number, half?: number): Observation => ({
    where,
    estimate: { value, interval: half === undefined ? undefined : { low: value - half, high: value + half } },
    region: { low: 1, high: 2 },
  });

  test("holds only where every interval is within its region, ends included", () => {
    expect(decide([at("a", 1.5, 0.5), at("b", 1.2, 0.1)])).toMatchObject({
      verdict: "holds",
      deciding: { where: "b" },
    });
    expect(decide([at("a", 1.5, 0.1), at("b", 1.2, 0.3)])).toMatchObject({
      verdict: "cannot tell",
      deciding: { where: "b" },
    });
  });

  test("falls with a single interval wholly outside, and names the one furthest off", () => {
    expect(decide([at("a", 1.5, 0.1), at("b", 2.2, 0.1), at("c", 0.5, 0.1), at("d", 1.5)])).toMatchObject({
      verdict: "does not hold",
      deciding: { where: "c" },
    });
  });

  test("is open without intervals, and without figures", () => {
    expect(decide([at("a", 9), at("b", 1.5, 0.1)])).toMatchObject({
      verdict: "cannot tell",
      deciding: { where: "a" },
    });
    expect(decide([])).toEqual({ verdict: "cannot tell", deciding: undefined });
  });
});
