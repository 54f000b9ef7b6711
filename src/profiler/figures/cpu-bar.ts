/** One bar of figures 6.1 to 6.4: what a cell's runs cost one side, by operation. Pure. */
import { type Cell, cpuMs, operationMs, type SideName } from "../statistics/cells.ts";
import { type Operation, operations, type SuiteName } from "../statistics/samples.ts";
import { type Interval, mean, summarise } from "../statistics/statistics.ts";
import { sizeText } from "./figure.ts";

/** One bar: the means of a cell's runs, in ms. */
export interface CpuBar {
  suite: SuiteName;
  /** As it is written: "128 MiB". */
  size: string;
  runs: number;
  /** Means by operation, in the order in which they are stacked; the operations that nothing took included. */
  parts: readonly { operation: Operation; meanMs: number }[];
  totalMs: number;
  interval: Interval | undefined;
}

/** The bar of one side of a cell. */
export function cpuBar(cell: Cell, side: SideName): CpuBar {
  const sides = cell.samples.map((sample) => sample[side]);
  const total = summarise(sides.map(cpuMs));
  return {
    suite: cell.suite,
    size: sizeText(cell.ramBytes),
    runs: cell.samples.length,
    parts: operations.map((operation) => ({
      operation,
      meanMs: mean(sides.map((figures) => operationMs(figures, operation))),
    })),
    totalMs: total.mean,
    interval: total.interval,
  };
}

/** The mean time of one operation, in ms. */
export function partMs(bar: CpuBar, operation: Operation): number {
  return bar.parts.find((part) => part.operation === operation)?.meanMs ?? 0;
}

/** Where a bar and its whisker end, in ms. */
export function endMs({ totalMs, interval }: CpuBar): number {
  return Math.max(totalMs, interval?.high ?? 0);
}
