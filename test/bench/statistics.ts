/** The few figures that the benchmark draws from its samples. */
import { SeededRandom } from "../support/system/random.ts";

/** The middle value, or the mean of the two in the middle. Throws where there is none. */
export function median(values: number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const upper = sorted[Math.floor(sorted.length / 2)];
  const lower = sorted[Math.ceil(sorted.length / 2) - 1];
  if (upper === undefined || lower === undefined) throw new Error("the median of nothing");
  return (lower + upper) / 2;
}

/** A straight line through points, by least squares. */
export interface StraightLine {
  slope: number;
  intercept: number;
  /** The share of the variation that the line explains, 1 where all points lie on it. */
  rSquared: number;
}

/** Fits a line to points [x, y]. Throws where fewer than two places on the x axis are among them. */
export function straightLine(points: readonly (readonly [number, number])[]): StraightLine {
  const mean = (values: number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length;
  const meanX = mean(points.map(([x]) => x));
  const meanY = mean(points.map(([, y]) => y));
  let [xx, xy, yy] = [0, 0, 0];
  for (const [x, y] of points) {
    xx += (x - meanX) ** 2;
    xy += (x - meanX) * (y - meanY);
    yy += (y - meanY) ** 2;
  }
  if (!(xx > 0)) throw new Error("a line needs two places to go through");
  // Points that are all of one height lie on a flat line.
  return {
    slope: xy / xx,
    intercept: meanY - (xy / xx) * meanX,
    rSquared: yy === 0 ? 1 : xy ** 2 / (xx * yy),
  };
}

/** A repeatable source of numbers from 0 up to 1: for an order, not for secrets. */
export function seededRandom(seed: number): () => number {
  const random = new SeededRandom(seed);
  return () => random.next();
}

/** The same things in another order (Fisher and Yates). */
export function shuffled<T>(things: readonly T[], random: () => number): T[] {
  const order = [...things];
  for (let last = order.length - 1; last > 0; last--) {
    const other = Math.floor(random() * (last + 1));
    [order[last], order[other]] = [order[other]!, order[last]!];
  }
  return order;
}
