/**
 * What a handful of runs shows about the true value, and with what certainty. Pure.
 *
 * Every interval here is a 95 % interval and assumes that runs are independent and roughly normal
 * (the order of runs is shuffled for the first; CPU times of whole runs are sums of many small ones,
 * which speaks for the second). Standard deviations are never assumed equal. With fewer than five
 * runs there is no interval: Student's quantile is so large there that an interval means nothing, and normality
 * cannot be relied on.
 */
import { jStat } from "jstat";
import { MigrateError } from "../../protocol/errors.ts";

/** With fewer runs than this there is no interval. */
export const fewestRuns = 5;
/** The confidence of every interval. */
const confidence = 0.95;

export interface Interval {
  low: number;
  high: number;
}

/** A value with its 95 % interval; undefined if the runs are too few or the interval has no end. */
export interface Estimate {
  value: number;
  interval: Interval | undefined;
}

/** Whether 1 lies within the interval: two means whose ratio this is do not differ significantly. */
export function holdsOne({ interval }: Estimate): boolean {
  return interval !== undefined && interval.low <= 1 && interval.high >= 1;
}

export interface Summary {
  runs: number;
  mean: number;
  median: number;
  /** Of the sample (divisor n - 1); 0 for a single run. */
  standardDeviation: number;
  /** Undefined if the runs are too few for one. */
  interval: Interval | undefined;
}

/** The arithmetic mean of at least one finite number. Throws "bug" for none. */
export function mean(values: readonly number[]): number {
  return jStat.mean(some(values));
}

/** The middle value, or the mean of the two middle ones. Throws "bug" for none. */
export function median(values: readonly number[]): number {
  return jStat.median(some(values));
}

/** The sample standard deviation (divisor n - 1); 0 for a single value. Throws "bug" for none. */
export function standardDeviation(values: readonly number[]): number {
  return some(values).length === 1 ? 0 : jStat.stdev(values, true);
}

/** Mean, median, spread, and the Student interval of the mean: mean ± t(0.975, n - 1) · s / √n. */
export function summarise(values: readonly number[]): Summary {
  const center = mean(values);
  const deviation = standardDeviation(values);
  const runs = values.length;
  const enough = runs >= fewestRuns;
  return {
    runs,
    mean: center,
    median: median(values),
    standardDeviation: deviation,
    interval: enough ? around(center, studentQuantile(runs - 1) * (deviation / Math.sqrt(runs))) : undefined,
  };
}

/** Mean of `values` minus mean of `base`, with Welch's interval (unequal standard deviations). */
export function difference(values: readonly number[], base: readonly number[]): Estimate {
  const value = mean(values) - mean(base);
  if (!enough(values, base)) return { value, interval: undefined };
  const of = squaredError(values);
  const from = squaredError(base);
  const freedom = satterthwaite(of, values.length, from, base.length);
  return { value, interval: around(value, studentQuantile(freedom) * Math.sqrt(of + from)) };
}

/**
 * Mean of `values` over mean of `base`, with Fieller's interval for independent samples: all ratios r
 * for which mean(values) - r · mean(base) does not differ from 0. Freedom by Satterthwaite at the
 * measured ratio. No interval if the base's own mean cannot be told from 0 (there is none then).
 */
export function ratio(values: readonly number[], base: readonly number[]): Estimate {
  const over = mean(values);
  const under = mean(base);
  const value = over / under;
  if (!enough(values, base) || under === 0) return { value, interval: undefined };
  const of = squaredError(values);
  const from = squaredError(base);
  const t = studentQuantile(satterthwaite(of, values.length, value ** 2 * from, base.length));
  // (over - r·under)² = t²·(of + r²·from), a quadratic in r.
  const square = under ** 2 - t ** 2 * from;
  if (square <= 0) return { value, interval: undefined };
  const root = t * Math.sqrt(Math.max(0, of * under ** 2 + from * over ** 2 - t ** 2 * of * from));
  return { value, interval: { low: (over * under - root) / square, high: (over * under + root) / square } };
}

/** `a` - `b` for two independent estimates, by the recovery of variances from their intervals (Zou and Donner, 2008). */
export function subtract(a: Estimate, b: Estimate): Estimate {
  const value = a.value - b.value;
  if (a.interval === undefined || b.interval === undefined) return { value, interval: undefined };
  return {
    value,
    interval: {
      low: value - Math.hypot(a.value - a.interval.low, b.interval.high - b.value),
      high: value + Math.hypot(a.interval.high - a.value, b.value - b.interval.low),
    },
  };
}

/** The sample standard deviation with its interval by the chi-square distribution of (n - 1)·s²/σ². */
export function deviation(values: readonly number[]): Estimate {
  const value = standardDeviation(values);
  if (!enough(values, values)) return { value, interval: undefined };
  const freedom = values.length - 1;
  const bound = (probability: number) =>
    value * Math.sqrt(freedom / jStat.chisquare.inv(probability, freedom));
  return { value, interval: { low: bound((1 + confidence) / 2), high: bound((1 - confidence) / 2) } };
}

export interface WelchTest {
  /** How often chance alone makes two equal means look at least this different. */
  p: number;
  freedom: number;
}

/**
 * Welch's test of equal means; undefined if either side has fewer than five runs. A large `p` means
 * "no significant difference", which is not "equal". Two samples without any spread are equal (p 1) or not (p 0).
 */
export function welchTest(a: readonly number[], b: readonly number[]): WelchTest | undefined {
  if (!enough(a, b)) return undefined;
  const gap = Math.abs(mean(a) - mean(b));
  const ofA = squaredError(a);
  const ofB = squaredError(b);
  const freedom = satterthwaite(ofA, a.length, ofB, b.length);
  if (ofA + ofB === 0) return { p: gap === 0 ? 1 : 0, freedom };
  const t = gap / Math.sqrt(ofA + ofB);
  return { p: Math.min(1, Math.max(0, 2 * (1 - jStat.studentt.cdf(t, freedom)))), freedom };
}

/**
 * The p of many tests, each raised so that chance alone makes any of them small as seldom as it makes a single
 * one (Holm, 1979); in the order given. Holds however the tests depend on each other.
 */
export function holm(ps: readonly number[]): number[] {
  const raised = new Array<number>(ps.length);
  let largest = 0;
  const ascending = ps.map((p, index) => ({ p, index })).sort((a, b) => a.p - b.p);
  for (const [rank, { p, index }] of ascending.entries()) {
    largest = Math.max(largest, Math.min(1, p * (ps.length - rank)));
    raised[index] = largest;
  }
  return raised;
}

export interface LineFit {
  slope: Estimate;
  intercept: Estimate;
  /** The part of the spread of y that the line accounts for; 1 if y has no spread and the line meets it. */
  rSquared: number;
  points: number;
}

/**
 * The least-squares line through points. Undefined with fewer than two different x. Intervals (from five
 * points on) assume that the spread about the line is the same at every x; if it grows with x, as
 * CPU times' may, that of the intercept is somewhat too wide and that of the slope somewhat too narrow.
 */
export function fitLine(points: readonly { x: number; y: number }[]): LineFit | undefined {
  if (new Set(points.map(({ x }) => x)).size < 2) return undefined;
  const centerX = mean(points.map(({ x }) => x));
  const centerY = mean(points.map(({ y }) => y));
  const sum = (of: (point: { x: number; y: number }) => number) =>
    points.reduce((total, point) => total + of(point), 0);
  const spreadX = sum(({ x }) => (x - centerX) ** 2);
  const spreadY = sum(({ y }) => (y - centerY) ** 2);
  const slope = sum(({ x, y }) => (x - centerX) * (y - centerY)) / spreadX;
  const intercept = centerY - slope * centerX;
  const left = sum(({ x, y }) => (y - intercept - slope * x) ** 2);
  const freedom = points.length - 2;
  const estimate = (value: number, scale: number): Estimate => ({
    value,
    interval:
      points.length >= fewestRuns
        ? around(value, studentQuantile(freedom) * Math.sqrt((left / freedom) * scale))
        : undefined,
  });
  return {
    slope: estimate(slope, 1 / spreadX),
    intercept: estimate(intercept, 1 / points.length + centerX ** 2 / spreadX),
    rSquared: spreadY === 0 ? 1 : Math.max(0, 1 - left / spreadY),
    points: points.length,
  };
}

/** Student's two-sided quantile at the confidence of this file, for a freedom of at least 1. */
export function studentQuantile(freedom: number): number {
  return jStat.studentt.inv((1 + confidence) / 2, freedom);
}

function around(center: number, half: number): Interval {
  return { low: center - half, high: center + half };
}

function enough(a: readonly number[], b: readonly number[]): boolean {
  return a.length >= fewestRuns && b.length >= fewestRuns;
}

/** The squared standard error of the mean. */
function squaredError(values: readonly number[]): number {
  return standardDeviation(values) ** 2 / values.length;
}

/** Degrees of freedom of a sum of two squared errors (Welch and Satterthwaite); between the smaller n - 1 and their sum. */
function satterthwaite(a: number, runsA: number, b: number, runsB: number): number {
  const below = a ** 2 / (runsA - 1) + b ** 2 / (runsB - 1);
  return below === 0 ? runsA + runsB - 2 : (a + b) ** 2 / below;
}

function some(values: readonly number[]): readonly number[] {
  if (values.length === 0 || !values.every(Number.isFinite))
    throw new MigrateError("bug", "statistics of no values, or of values that are not finite");
  return values;
}
