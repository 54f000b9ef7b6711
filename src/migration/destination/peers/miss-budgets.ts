/** What each source may still guess of what the store holds (reuse/store/miss-budget.ts). */
import { MissBudget, newMissBudget } from "../../../transfer/reuse/store/miss-budget.ts";

export class MissBudgets {
  readonly #budgets = new Map<string, SharedArrayBuffer>();

  /** The budget of one source, by its fingerprint. */
  of(peer: string): SharedArrayBuffer {
    let memory = this.#budgets.get(peer);
    if (memory === undefined) {
      memory = newMissBudget();
      this.#budgets.set(peer, memory);
    }
    return memory;
  }

  /** To be called each minute. */
  refill(): void {
    for (const memory of this.#budgets.values()) new MissBudget(memory).refill();
  }
}
