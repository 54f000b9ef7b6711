import { afterEach, beforeEach, describe, expect, mock, spyOn, test } from "bun:test";
import { SharedPacer } from "../../src/channel/shared-pacer.ts";
import { monotonicNs } from "../../src/platform/clocks.ts";
import type { Paced, PacedWork } from "../support/system/pacer-worker.ts";
import { seeded } from "../support/system/random.ts";

const burstMs = 50;
const rates = [1000, 64 * 1024, 1_000_000, 200_000_000, 10_000_000_000];

/** A clock that stands still until everybody sleeps, and then is where the first one wakes. */
class Clock {
  nowMs = 5000;
  readonly nowNs = () => BigInt(Math.round(this.nowMs * 1e6));
  /** How late timers are, in milliseconds. */
  lateMs = () => 0;
  #sleepers: { atMs: number; wake: () => void }[] = [];

  install(): void {
    spyOn(Bun, "sleep").mockImplementation((ms) => {
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#sleepers.push({ atMs: this.nowMs + Number(ms) + this.lateMs(), wake: resolve });
      return promise;
    });
  }

  /** Runs until all of `work` is done. */
  async run(...work: Promise<unknown>[]): Promise<void> {
    let isDone = false;
    void Promise.all(work).then(() => {
      isDone = true;
    });
    for (;;) {
      // Everything that can go on without the clock goes on.
      await new Promise(setImmediate);
      if (isDone) return;
      const next = Math.min(...this.#sleepers.map(({ atMs }) => atMs));
      this.nowMs = next;
      const due = this.#sleepers.filter(({ atMs }) => atMs <= next);
      this.#sleepers = this.#sleepers.filter(({ atMs }) => atMs > next);
      for (const { wake } of due) wake();
    }
  }
}

let clock: Clock;

describe("pacers that share a rate", () => {
  beforeEach(() => {
    clock = new Clock();
    clock.install();
  });
  afterEach(() => mock.restore());

  /** Has `slices` slices admitted one after the other; `admitted` hears of each. */
  async function send(pacer: SharedPacer, slices: number, admitted: (bytes: number) => void = () => {}) {
    for (let i = 0; i < slices; i++) {
      await pacer.admit(pacer.sliceBytes);
      admitted(pacer.sliceBytes);
    }
  }

  for (const rate of rates) {
    test(`keep to ${rate} bytes a second together, at any moment, however late their timers are`, async () => {
      const random = seeded("shared pacers");
      clock.lateMs = () => random.below(4);
      const memory = SharedPacer.memory(rate, clock.nowNs);
      const startMs = clock.nowMs;
      let total = 0;
      const admitted = (bytes: number) => {
        total += bytes;
        const most = (rate / 1000) * (clock.nowMs - startMs);
        expect(total).toBeLessThanOrEqual(most * (1 + 1e-6) + 1);
      };
      const pacers = [1, 2, 3].map(() => new SharedPacer(memory, clock.nowNs));
      await clock.run(...pacers.map((pacer) => send(pacer, 100, admitted)));
      expect(total).toBe(300 * pacers[0]!.sliceBytes);
      // Late timers are made up for: they slow nothing down but the very end.
      const exactMs = (total / rate) * 1000;
      expect(clock.nowMs - startMs).toBeLessThanOrEqual(exactMs + 8);
    });
  }

  test("leave to the others what one of them does not use", async () => {
    const rate = 10_000_000;
    const memory = SharedPacer.memory(rate, clock.nowNs);
    const startMs = clock.nowMs;
    const [first, second] = [new SharedPacer(memory, clock.nowNs), new SharedPacer(memory, clock.nowNs)];
    let secondBytes = 0;
    await clock.run(
      send(first, 5),
      send(second, 100, (bytes) => {
        secondBytes += bytes;
      }),
    );
    const seconds = (clock.nowMs - startMs) / 1000;
    expect(secondBytes / seconds / rate).toBeCloseTo(100 / 105, 3);
  });

  test("never make up for a time in which nobody sent by more than a moment's worth", async () => {
    const rate = 10_000_000;
    const memory = SharedPacer.memory(rate, clock.nowNs);
    const pacers = [new SharedPacer(memory, clock.nowNs), new SharedPacer(memory, clock.nowNs)];
    clock.nowMs += 60_000;
    const startMs = clock.nowMs;
    let total = 0;
    const admitted = (bytes: number) => {
      total += bytes;
      expect(total).toBeLessThanOrEqual((rate / 1000) * (clock.nowMs - startMs + burstMs) + 1);
    };
    await clock.run(...pacers.map((pacer) => send(pacer, 50, admitted)));
    expect(clock.nowMs - startMs).toBeGreaterThan((total / rate) * 1000 - burstMs - 1);
  });

  test("begin with an empty bucket", async () => {
    const pacer = new SharedPacer(SharedPacer.memory(1_000_000, clock.nowNs), clock.nowNs);
    const startMs = clock.nowMs;
    await clock.run(pacer.admit(20_000));
    expect(clock.nowMs - startMs).toBeCloseTo(20, 3);
  });

  test("all keep to another rate once one of them sets it, and to none", async () => {
    const memory = SharedPacer.memory(1_000_000, clock.nowNs);
    const [first, second] = [new SharedPacer(memory, clock.nowNs), new SharedPacer(memory, clock.nowNs)];
    await clock.run(first.admit(100_000), second.admit(100_000));
    first.bandwidthBytesPerSec = 10_000_000;
    const startMs = clock.nowMs;
    let total = 0;
    await clock.run(
      send(second, 20, (bytes) => {
        total += bytes;
      }),
    );
    expect(clock.nowMs - startMs).toBeCloseTo((total / 10_000_000) * 1000, 0);
    expect(second.isLimited).toBe(true);
    first.bandwidthBytesPerSec = null;
    const freeMs = clock.nowMs;
    await clock.run(second.admit(1e12));
    expect(clock.nowMs).toBe(freeMs);
    expect(second.isLimited).toBe(false);
  });

  test("admit small pieces at small rates, and never pieces of nothing", () => {
    for (const rate of [1, ...rates]) {
      const { sliceBytes } = new SharedPacer(SharedPacer.memory(rate, clock.nowNs));
      expect(sliceBytes).toBeGreaterThanOrEqual(1024);
      expect(sliceBytes).toBeLessThanOrEqual(128 * 1024);
    }
  });
});

describe("Workers that share a rate", () => {
  interface Workload extends Paced {
    /** The system's clock before the Worker was told to begin, and after it was through. */
    fromNs: bigint;
    toNs: bigint;
  }

  /** Lets two Workers send at the same time, so many slices each. */
  async function paced(bandwidthBytesPerSec: number, slices: number): Promise<Workload[]> {
    const memory = SharedPacer.memory(bandwidthBytesPerSec);
    const workers = [1, 2].map(
      () => new Worker(new URL("../support/system/pacer-worker.ts", import.meta.url).href),
    );
    try {
      return await Promise.all(
        workers.map((worker) => {
          const { promise, resolve, reject } = Promise.withResolvers<Workload>();
          const fromNs = monotonicNs();
          worker.onmessage = ({ data }: MessageEvent<Paced>) =>
            resolve({ ...data, fromNs, toNs: monotonicNs() });
          worker.onerror = ({ message }) => reject(new Error(message));
          worker.postMessage({ memory, slices } satisfies PacedWork);
          return promise;
        }),
      );
    } finally {
      for (const worker of workers) worker.terminate();
    }
  }

  test("go by one clock, whenever their threads began", async () => {
    for (const { fromNs, beganNs, endedNs, toNs } of await paced(1e12, 1)) {
      expect(beganNs).toBeGreaterThanOrEqual(fromNs);
      expect(endedNs).toBeGreaterThanOrEqual(beganNs);
      expect(toNs).toBeGreaterThanOrEqual(endedNs);
    }
  });

  test("keep to it together", async () => {
    const rate = 2_000_000;
    const both = await paced(rate, 6);
    const bytes = both.reduce((sum, work) => sum + work.bytes, 0);
    const ends = both.map(({ endedNs }) => Number(endedNs - both[0]!.fromNs) / 1e6);
    const leastMs = (bytes / rate) * 1000 - burstMs;
    expect(leastMs).toBeGreaterThan(100);
    // A timer may be early by less than one of its milliseconds.
    expect(Math.max(...ends)).toBeGreaterThan(leastMs - 2);
  });
});
