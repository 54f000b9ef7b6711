/**
 * Distinguishes a destination that no longer takes any data from a slow one: its connections may stand and
 * answer heartbeats forever. Reads no clock.
 */

/**
 * How long there may be no progress, in milliseconds: while the VM is stopped for the move, and while it
 * runs.
 */
export interface StallLimits {
  stoppedMs: number;
  runningMs: number;
}

/**
 * The limit of a running VM is long: while a mirror searches a large disk for holes, it sends nothing for
 * minutes.
 */
export const stallLimits: StallLimits = { stoppedMs: 60_000, runningMs: 600_000 };

export interface Carried {
  /** Bytes that have arrived so far. */
  bytes: number;
  /** True if the VM is stopped for the move. */
  stopped: boolean;
  /** True if the link stands: while it does not, another limit applies (`Departure.patienceMs`). */
  linked: boolean;
}

export class StallWatch {
  readonly #limits: StallLimits;
  #last: Carried | undefined;
  #sinceMs = 0;

  constructor(limits: StallLimits = stallLimits) {
    this.#limits = limits;
  }

  /**
   * Returns how long there was no progress, in milliseconds, if that is too long; otherwise null. `nowMs` is
   * monotonic.
   */
  look(now: Carried, nowMs: number): number | null {
    const last = this.#last;
    this.#last = now;
    const isNew = last === undefined || last.bytes !== now.bytes || last.stopped !== now.stopped;
    if (isNew || !now.linked) this.#sinceMs = nowMs;
    const stalledMs = nowMs - this.#sinceMs;
    return stalledMs >= (now.stopped ? this.#limits.stoppedMs : this.#limits.runningMs) ? stalledMs : null;
  }
}
