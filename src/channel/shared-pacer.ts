/**
 * One rate for several threads: a token bucket in memory that they share, kept as the time at which what
 * was admitted so far will have gone through (the generic cell rate algorithm, ITU-T I.371). What one
 * thread leaves is there for the others, and nobody has to divide anything.
 */
import { monotonicNs } from "../platform/clocks.ts";
import type { Pace } from "./pacer.ts";

const nsPerMs = 1e6;
const burstMs = 50;

export class SharedPacer implements Pace {
  readonly sliceBytes: number;
  readonly #bytesPerMs: number;
  readonly #burstNs: bigint;
  /** When all that was admitted will have gone through, on the system's monotonic clock. */
  readonly #throughNs: BigInt64Array;
  readonly #nowNs: () => bigint;

  /** Takes the rate in bytes per second, the memory that `SharedPacer.memory` made, and its clock. */
  constructor(bandwidthBytesPerSec: number, memory: SharedArrayBuffer, nowNs = monotonicNs) {
    this.#bytesPerMs = bandwidthBytesPerSec / 1000;
    this.sliceBytes = Math.max(1024, Math.min(128 * 1024, Math.floor(this.#bytesPerMs * 20)));
    const sliceMs = this.sliceBytes / this.#bytesPerMs;
    this.#burstNs = BigInt(Math.round(Math.max(burstMs, sliceMs) * nsPerMs));
    this.#throughNs = new BigInt64Array(memory);
    this.#nowNs = nowNs;
  }

  /** Memory for the pacers of one rate; the bucket is empty. The clock must be the same for all threads. */
  static memory(nowNs = monotonicNs): SharedArrayBuffer {
    const memory = new SharedArrayBuffer(8);
    new BigInt64Array(memory)[0] = nowNs();
    return memory;
  }

  async admit(bytes: number): Promise<void> {
    const costNs = BigInt(Math.round((bytes / this.#bytesPerMs) * nsPerMs));
    for (;;) {
      const nowNs = this.#nowNs();
      const before = Atomics.load(this.#throughNs, 0);
      // What nobody used is kept for one burst, and no longer.
      let through = nowNs - this.#burstNs;
      if (before > through) through = before;
      through += costNs;
      if (Atomics.compareExchange(this.#throughNs, 0, before, through) !== before) continue;
      if (through > nowNs) await Bun.sleep(Number(through - nowNs) / nsPerMs);
      return;
    }
  }
}
