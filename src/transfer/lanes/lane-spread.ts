/**
 * Which lane may stay where it landed: a destination that works with several threads shares one port among
 * them, and the kernel gives each connection to any of them. Two lanes on one thread take each other's time
 * while another thread has nothing to do; one of them then connects again. Pure.
 */

import { limits } from "../../protocol/limits.ts";

/** Connections that one lane makes at most; with two threads the odds of a bad end are one in 32 then. */
const mostTries = 6;

/** The thread of the destination that a connection is on, and how many there are, by its WELCOME. */
export interface Landing {
  door: number;
  doors: number;
}

export class LaneSpread {
  readonly #lanes: number;
  readonly #staying = new Map<number, number>();
  /** Connections that were made a second time. */
  #again = 0;

  /** For so many lanes of one session. */
  constructor(lanes: number) {
    this.#lanes = lanes;
  }

  /** True if a lane stays that landed there at its `tries`-th try; it is counted then. */
  stays(landing: Landing | null, tries: number): boolean {
    if (landing === null) return true;
    const { door, doors } = landing;
    const fair = Math.ceil(this.#lanes / Math.max(1, doors));
    const there = this.#staying.get(door) ?? 0;
    // A connection that was closed counts at the destination until it has noticed.
    const mayAgain = tries < mostTries && this.#again < limits.lanes - this.#lanes;
    if (there >= fair && mayAgain) {
      this.#again++;
      return false;
    }
    this.#staying.set(door, there + 1);
    return true;
  }
}
