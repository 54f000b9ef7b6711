/**
 * Adds up the CPU time of a thread by operation. At every moment one operation is under way; a change
 * costs one reading of the clock, and that reading's own cost is taken off again.
 */
import { threadCpuNs } from "../../../platform/clocks.ts";
import { type Operation, operations } from "../../statistics/samples.ts";

/** Whatever is called when another operation begins. */
export interface Meter {
  to(operation: Operation): void;
}

export interface MeterFigures {
  /** CPU milliseconds by operation, without the clock's cost; "rest" is here what was metered as such alone. */
  operationsMs: Record<Operation, number>;
  clockMs: number;
  clockReads: number;
}

export class OperationMeter implements Meter {
  readonly #cpuNs: () => number;
  readonly #clockCostNs: number;
  #ns = noOperations();
  #reads = noOperations();
  #current: Operation = "rest";
  #lastNs = 0;

  /** Takes the clock (cpuNs) and what a reading of it costs in nanoseconds. */
  constructor(cpuNs: () => number, clockCostNs: number) {
    this.#cpuNs = cpuNs;
    this.#clockCostNs = clockCostNs;
  }

  /** Begins anew. */
  start(operation: Operation): void {
    this.#ns = noOperations();
    this.#reads = noOperations();
    this.#current = operation;
    this.#lastNs = this.#cpuNs();
  }

  /** From now on it is `operation`. Changing to what is under way costs nothing. */
  to(operation: Operation): void {
    if (operation === this.#current) return;
    const nowNs = this.#cpuNs();
    this.#ns[this.#current] += nowNs - this.#lastNs;
    // Between two readings lies the cost of one: the end of the first and the beginning of the second.
    this.#reads[this.#current]++;
    this.#current = operation;
    this.#lastNs = nowNs;
  }

  /** What was measured since the start. An operation shorter than a reading is 0, never below. */
  stop(): MeterFigures {
    this.#ns[this.#current] += this.#cpuNs() - this.#lastNs;
    this.#reads[this.#current]++;
    const operationsMs = noOperations();
    let clockNs = 0;
    let clockReads = 0;
    for (const operation of operations) {
      const costNs = Math.min(this.#ns[operation], this.#reads[operation] * this.#clockCostNs);
      operationsMs[operation] = (this.#ns[operation] - costNs) / 1e6;
      clockNs += costNs;
      clockReads += this.#reads[operation];
    }
    return { operationsMs, clockMs: clockNs / 1e6, clockReads };
  }
}

/** 0 for each operation. */
export function noOperations(): Record<Operation, number> {
  return Object.fromEntries(operations.map((operation) => [operation, 0])) as Record<Operation, number>;
}

const batches = 9;
const readsPerBatch = 4000;

/**
 * What one reading costs on this host, in nanoseconds of CPU time: the median of some batches, after as
 * many readings that warm it up. Takes about 60 ms.
 */
export function calibrateClock(): number {
  const costs: number[] = [];
  for (let batch = 0; batch < 2 * batches; batch++) {
    const from = threadCpuNs();
    for (let i = 0; i < readsPerBatch; i++) threadCpuNs();
    const cost = (threadCpuNs() - from) / (readsPerBatch + 1);
    if (batch >= batches) costs.push(cost);
  }
  return costs.sort((a, b) => a - b)[Math.floor(batches / 2)]!;
}
