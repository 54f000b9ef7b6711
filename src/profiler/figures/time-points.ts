/** What the charts of total migration times show: the mean of each suite at each size of RAM. Pure. */
import type { SuiteName } from "../statistics/samples.ts";
import type { Interval } from "../statistics/statistics.ts";

/** One point: the mean of a cell's runs, in ms. */
export interface TimePoint {
  suite: SuiteName;
  ramMiB: number;
  runs: number;
  meanMs: number;
  interval: Interval | undefined;
}

export interface TimeChart {
  points: readonly TimePoint[];
  suites: readonly SuiteName[];
  logarithmic: boolean;
}
