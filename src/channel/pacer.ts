/**
 * A token bucket that lets bytes through at a steady rate. The clock is the process's monotonic one,
 * so a wall clock that is set changes nothing.
 */
const burstMs = 50;

/** Something that lets bytes through at a rate. */
export interface Pace {
  /** What is admitted at a time: small enough to be smooth, large enough to be cheap. It changes with the rate. */
  readonly sliceBytes: number;
  /** Waits until `bytes` more bytes may be sent. */
  admit(bytes: number): Promise<void>;
}

/** What is admitted at a time at a rate in bytes a millisecond. */
export function sliceBytesAt(bytesPerMs: number): number {
  return Math.max(1024, Math.min(128 * 1024, Math.floor(bytesPerMs * 20)));
}

export class Pacer implements Pace {
  #sliceBytes = 0;
  #bytesPerMs = 0;
  #burstBytes = 0;
  #tokens: number;
  #lastMs = performance.now();

  /** Takes the rate in bytes per second. */
  constructor(bandwidthBytesPerSec: number) {
    this.#tokens = 0;
    this.bandwidthBytesPerSec = bandwidthBytesPerSec;
  }

  get sliceBytes(): number {
    return this.#sliceBytes;
  }

  /** Another rate from now on. */
  set bandwidthBytesPerSec(bandwidthBytesPerSec: number) {
    this.#refill();
    this.#bytesPerMs = bandwidthBytesPerSec / 1000;
    this.#sliceBytes = sliceBytesAt(this.#bytesPerMs);
    this.#burstBytes = Math.max(this.#sliceBytes, this.#bytesPerMs * burstMs);
  }

  async admit(bytes: number): Promise<void> {
    this.#refill();
    this.#tokens -= bytes;
    // Timers are late by a millisecond or so; the refill counts the time that really went by, so
    // lateness is made up for and does not add up.
    if (this.#tokens < 0) await Bun.sleep(-this.#tokens / this.#bytesPerMs);
  }

  #refill(): void {
    const nowMs = performance.now();
    this.#tokens = Math.min(this.#burstBytes, this.#tokens + (nowMs - this.#lastMs) * this.#bytesPerMs);
    this.#lastMs = nowMs;
  }
}
