import { expect, test } from "bun:test";
import { bytesOf, schedule } from "../../../src/profiler/runs/schedule.ts";
import type { Plan } from "../../../src/profiler/statistics/samples.ts";

const plan: Plan = {
  suites: ["insecure", "tls", "aes-128"],
  engine: "thesis",
  ramBytes: [100, 200],
  diskBytes: [0, 50],
  runs: 4,
};
const combinations = 12;
const nameOf = ({ suite, ramBytes, diskBytes }: { suite: string; ramBytes: number; diskBytes: number }) =>
  `${suite} ${ramBytes} ${diskBytes}`;

test("every combination comes once in each round, so that drift hits all suites alike", () => {
  const runs = schedule(plan, 7);
  expect(runs.map(({ order }) => order)).toEqual(Array.from({ length: 48 }, (_, order) => order));
  for (let round = 0; round < plan.runs; round++) {
    const names = runs.slice(round * combinations, (round + 1) * combinations).map(nameOf);
    expect(new Set(names).size).toBe(combinations);
  }
});

test("rounds are shuffled, and each anew", () => {
  const runs = schedule(plan, 7);
  const rounds = Array.from({ length: plan.runs }, (_, round) =>
    runs
      .slice(round * combinations, (round + 1) * combinations)
      .map(nameOf)
      .join(),
  );
  expect(new Set(rounds).size).toBe(plan.runs);
  // No suite has a place of its own: over many seeds each stands first about as often.
  const first = { insecure: 0, tls: 0, "aes-128": 0 } as Record<string, number>;
  for (let seed = 0; seed < 300; seed++) first[schedule(plan, seed)[0]!.suite]!++;
  for (const times of Object.values(first)) expect(times).toBeWithin(60, 141);
});

test("the same seed gives the same order, another one another", () => {
  expect(schedule(plan, 3)).toEqual(schedule(plan, 3));
  expect(schedule(plan, 3)).not.toEqual(schedule(plan, 4));
});

test("bytes are those of all runs", () => {
  expect(bytesOf(schedule(plan, 1))).toBe(plan.runs * 3 * (100 + 150 + 200 + 250));
});
