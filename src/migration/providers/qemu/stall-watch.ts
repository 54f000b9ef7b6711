/**
 * Tells a destination that takes nothing any more from one that is slow: its connections may stand and
 * show life for ever. Reads no clock.
 */

/** How long nothing may go forward, in milliseconds: while the VM stands still for it, and while it runs. */
export interface StallLimits {
  stoppedMs: number;
  runningMs: number;
}

/** A mirror that looks for the holes of a large disk sends nothing for minutes. */
export const stallLimits: StallLimits = { stoppedMs: 60_000, runningMs: 600_000 };

export interface Carried {
  /** Bytes that have arrived so far. */
  bytes: number;
  /** The VM stands still for the move. */
  stopped: boolean;
  /** The link stands: while it does not, there is another patience. */
  linked: boolean;
}

export class StallWatch {
  readonly #limits: StallLimits;
  #last: Carried | undefined;
  #sinceMs = 0;

  constructor(limits: StallLimits = stallLimits) {
    this.#limits = limits;
  }

  /** How long nothing went forward, in milliseconds, where that is too long; else null. `nowMs` is monotonic. */
  look(now: Carried, nowMs: number): number | null {
    const last = this.#last;
    this.#last = now;
    const isNew = last === undefined || last.bytes !== now.bytes || last.stopped !== now.stopped;
    if (isNew || !now.linked) this.#sinceMs = nowMs;
    const stalledMs = nowMs - this.#sinceMs;
    return stalledMs >= (now.stopped ? this.#limits.stoppedMs : this.#limits.runningMs) ? stalledMs : null;
  }
}
