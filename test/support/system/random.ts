/**
 * Random numbers that come again with the same seed. The seed is printed with the test's output;
 * MIGRATE_TEST_SEED=N runs the tests with another one.
 */

/** Mulberry32: one 32-bit state, good enough to vary test data, and the same on every machine. */
export class SeededRandom {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  /** A whole number from 0 to `below` - 1. */
  below(below: number): number {
    return Math.floor(this.next() * below);
  }

  /** True with a chance of `of` in 1. */
  chance(of: number): boolean {
    return this.next() < of;
  }

  pick<T>(list: readonly T[]): T {
    return list[this.below(list.length)]!;
  }

  bytes(count: number): Buffer {
    const bytes = Buffer.allocUnsafe(count);
    for (let i = 0; i < count; i++) bytes[i] = this.below(256);
    return bytes;
  }

  /** A number from 0 up to 1. */
  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let mixed = this.#state;
    mixed = Math.imul(mixed ^ (mixed >>> 15), mixed | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  }
}

/** A generator for the test `what`, whose seed it prints. */
export function seeded(what: string): SeededRandom {
  const seed = Number(process.env.MIGRATE_TEST_SEED ?? 1) >>> 0;
  console.log(`${what}: MIGRATE_TEST_SEED=${seed}`);
  return new SeededRandom(seed);
}
