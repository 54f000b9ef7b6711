/**
 * One rate for several threads: a token bucket in memory that they share, kept as the time at which what
 * was admitted so far will have gone through (the generic cell rate algorithm, ITU-T I.371). What one
 * thread leaves is there for the others, and nobody has to divide anything. The rate lies in that memory as well:
 * whoever sets it sets it for all.
 */
import { monotonicNs } from "../platform/clocks.ts";
import { type Pace, sliceBytesAt } from "./pacer.ts";

const nsPerMs = 1e6;
const burstMs = 50;

/** Where in the memory the time stands, and where the rate. */
const throughAt = 0;
const rateAt = 1;

export class SharedPacer implements Pace {
  /**
   * When all that was admitted will have gone through, on the system's monotonic clock; and the rate in bytes per
   * second, 0 if nothing holds anybody back.
   */
  readonly #shared: BigInt64Array;
  readonly #nowNs: () => bigint;

  /** Takes the memory that `SharedPacer.memory` made, and its clock. */
  constructor(memory: SharedArrayBuffer, nowNs = monotonicNs) {
    this.#shared = new BigInt64Array(memory);
    this.#nowNs = nowNs;
  }

  /**
   * Memory for the pacers of one rate in bytes per second, null for none; the bucket is empty. The clock must be the
   * same for all threads.
   */
  static memory(bandwidthBytesPerSec: number | null, nowNs = monotonicNs): SharedArrayBuffer {
    const memory = new SharedArrayBuffer(16);
    const shared = new BigInt64Array(memory);
    shared[throughAt] = nowNs();
    shared[rateAt] = rateOf(bandwidthBytesPerSec);
    return memory;
  }

  /** Another rate from now on, for all threads; null for none. */
  set bandwidthBytesPerSec(bandwidthBytesPerSec: number | null) {
    Atomics.store(this.#shared, rateAt, rateOf(bandwidthBytesPerSec));
  }

  /** False while nothing holds anybody back. */
  get isLimited(): boolean {
    return Atomics.load(this.#shared, rateAt) > 0n;
  }

  get sliceBytes(): number {
    return sliceBytesAt(this.#bytesPerMs);
  }

  get #bytesPerMs(): number {
    const rate = Number(Atomics.load(this.#shared, rateAt));
    return rate > 0 ? rate / 1000 : Number.POSITIVE_INFINITY;
  }

  async admit(bytes: number): Promise<void> {
    const bytesPerMs = this.#bytesPerMs;
    if (bytesPerMs === Number.POSITIVE_INFINITY) return;
    const sliceMs = sliceBytesAt(bytesPerMs) / bytesPerMs;
    const burstNs = BigInt(Math.round(Math.max(burstMs, sliceMs) * nsPerMs));
    const costNs = BigInt(Math.round((bytes / bytesPerMs) * nsPerMs));
    for (;;) {
      const nowNs = this.#nowNs();
      const before = Atomics.load(this.#shared, throughAt);
      // What nobody used is kept for one burst, and no longer.
      let through = nowNs - burstNs;
      if (before > through) through = before;
      through += costNs;
      if (Atomics.compareExchange(this.#shared, throughAt, before, through) !== before) continue;
      if (through > nowNs) await Bun.sleep(Number(through - nowNs) / nsPerMs);
      return;
    }
  }
}

function rateOf(bandwidthBytesPerSec: number | null): bigint {
  return bandwidthBytesPerSec === null ? 0n : BigInt(Math.max(1, Math.round(bandwidthBytesPerSec)));
}
