/**
 * Whose trial is next: one runs at a time, so that who asks a lot has others wait and not the host, and sources take
 * turns, so that it has itself wait (round robin; J. Nagle, RFC 970, section 4, "fairness").
 */
import { MigrateError } from "../../../../protocol/errors.ts";

/** Who waits for a trial's result. */
export interface TrialAsker {
  /** Those of one source share its turn. */
  source: string;
  /** True once nobody waits any more: a trial that has not begun is not made. */
  isOver(): boolean;
}

interface Waiting {
  asker: TrialAsker;
  begin: () => Promise<void>;
  leave: () => void;
}

export class TrialTurns {
  /** Those that wait, by source; the source whose turn is next comes first. */
  readonly #waiting = new Map<string, Waiting[]>();
  #busy = false;

  /** Runs `work` when it is the asker's turn. Throws what `work` throws, and MigrateError "cancelled" if the asker is over. */
  run<T>(asker: TrialAsker, work: () => Promise<T>): Promise<T> {
    const { promise, resolve, reject } = Promise.withResolvers<T>();
    const own = this.#waiting.get(asker.source) ?? [];
    own.push({
      asker,
      begin: () => work().then(resolve, reject),
      leave: () =>
        reject(new MigrateError("cancelled", "nobody waits for it any more", { side: "destination" })),
    });
    this.#waiting.set(asker.source, own);
    if (!this.#busy) void this.#work();
    return promise;
  }

  async #work(): Promise<void> {
    this.#busy = true;
    for (let next = this.#next(); next !== undefined; next = this.#next()) {
      if (next.asker.isOver()) next.leave();
      else await next.begin();
    }
    this.#busy = false;
  }

  #next(): Waiting | undefined {
    for (const [source, own] of this.#waiting) {
      this.#waiting.delete(source);
      const next = own.shift();
      // Behind all others.
      if (own.length > 0) this.#waiting.set(source, own);
      if (next !== undefined) return next;
    }
    return undefined;
  }
}
