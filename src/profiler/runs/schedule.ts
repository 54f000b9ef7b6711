/**
 * In which order a profile's runs are made: in rounds, each with every combination once and shuffled
 * anew, so that a host which grows warm or busy does so for every suite alike. Pure.
 */
import type { Plan, SuiteName } from "../statistics/samples.ts";

export interface PlannedRun {
  /** From 0 over the whole profile; identifies the run when a profile is resumed. */
  order: number;
  suite: SuiteName;
  ramBytes: number;
  diskBytes: number;
}

/** All runs of a plan. Equal seeds (whole numbers) make equal orders. */
export function schedule(plan: Plan, seed: number): PlannedRun[] {
  const combinations = plan.suites.flatMap((suite) =>
    plan.ramBytes.flatMap((ramBytes) => plan.diskBytes.map((diskBytes) => ({ suite, ramBytes, diskBytes }))),
  );
  const all = rounds(combinations, plan.runs, seed).flat();
  return all.map((combination, order) => ({ order, ...combination }));
}

/** So many rounds of all these items, each shuffled anew. Equal seeds (whole numbers) make equal orders. */
export function rounds<Item>(items: readonly Item[], count: number, seed: number): Item[][] {
  const random = randomNumbers(seed);
  return Array.from({ length: count }, () => shuffled(items, random));
}

/** Bytes that all these runs send. */
export function bytesOf(runs: readonly Pick<PlannedRun, "ramBytes" | "diskBytes">[]): number {
  return runs.reduce((sum, { ramBytes, diskBytes }) => sum + ramBytes + diskBytes, 0);
}

/** Fisher and Yates. */
function shuffled<Item>(items: readonly Item[], random: () => number): Item[] {
  const result = [...items];
  for (let last = result.length - 1; last > 0; last--) {
    const chosen = Math.floor(random() * (last + 1));
    [result[last], result[chosen]] = [result[chosen]!, result[last]!];
  }
  return result;
}

/** Numbers from 0 to below 1: the mulberry32 generator, good enough for an order and the same everywhere. */
function randomNumbers(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
