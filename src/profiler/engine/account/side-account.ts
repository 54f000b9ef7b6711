/**
 * The account of one side of one run: the CPU time of the process and of its working thread, set-up and
 * transfer apart, and the transfer's by operation.
 */
import { threadCpuNs } from "../../../platform/clocks.ts";
import { type CpuTime, cpuBetween, usage } from "../../../platform/usage.ts";
import type { Operation, SideFigures } from "../../statistics/samples.ts";
import { calibrateClock, type MeterFigures, OperationMeter } from "./operation-meter.ts";

interface Used {
  process: CpuTime;
  thread: CpuTime;
}

export interface SideResult {
  setupCpuMs: number;
  figures: SideFigures;
}

export class SideAccount {
  readonly clockCostNs = calibrateClock();
  readonly meter = new OperationMeter(threadCpuNs, this.clockCostNs);
  #setupFrom = usedNow();
  #transferFrom = this.#setupFrom;

  /** To be called between two runs, so that the garbage of the last one is not charged to the next one. */
  tidy(): void {
    Bun.gc(true);
    this.#setupFrom = usedNow();
  }

  /** The set-up begins now (by default it began with the last `tidy`). */
  beginSetup(): void {
    this.#setupFrom = usedNow();
  }

  /** The set-up is over and the transfer begins, with this operation under way. */
  beginTransfer(operation: Operation): void {
    this.#transferFrom = usedNow();
    this.meter.start(operation);
  }

  /** The transfer is over. */
  end(): SideResult {
    const metered = this.meter.stop();
    const now = usedNow();
    const process = cpuBetween(this.#transferFrom.process, now.process);
    const thread = cpuBetween(this.#transferFrom.thread, now.thread);
    const setup = cpuBetween(this.#setupFrom.process, this.#transferFrom.process);
    return {
      setupCpuMs: setup.userMs + setup.systemMs,
      figures: {
        ...process,
        threadUserMs: thread.userMs,
        threadSystemMs: thread.systemMs,
        operationsMs: withRest(metered, process.userMs + process.systemMs),
        clockMs: metered.clockMs,
        clockReads: metered.clockReads,
      },
    };
  }
}

/** "rest" is what the process used beyond the named operations and the clock, other threads' work with it. */
function withRest({ operationsMs, clockMs }: MeterFigures, totalMs: number): Record<Operation, number> {
  const { rest: _, ...named } = operationsMs;
  const namedMs = Object.values(named).reduce((sum, ms) => sum + ms, 0);
  return { ...operationsMs, rest: Math.max(0, totalMs - clockMs - namedMs) };
}

function usedNow(): Used {
  return { process: usage("self"), thread: usage("thread") };
}
