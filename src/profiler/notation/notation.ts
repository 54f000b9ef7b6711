/** How the profiler writes numbers, everywhere alike. Pure. */
import type { Estimate, Interval, Summary } from "../statistics/statistics.ts";

/** Written in place of a value that was not measured. */
export const nothing = "–";

/** Milliseconds as seconds: "13.08", three decimals below one second. `like` sets the decimals of another value. */
export function seconds(ms: number, like: number = ms): string {
  return plainNumber(ms / 1000, decimals(like / 1000));
}

/** A mean of milliseconds in seconds with its interval: "13.08 ± 0.12", or "13.08 (3 runs)" if there is none. */
export function meanSeconds(summary: Summary): string {
  const center = seconds(summary.mean);
  return summary.interval === undefined
    ? `${center} (${runs(summary.runs)})`
    : `${center} ± ${seconds(halfWidth(summary.interval), summary.mean)}`;
}

/** The same in milliseconds: "24.1 ± 0.6". */
export function meanMilliseconds(summary: Summary): string {
  const digits = summary.mean >= 100 ? 0 : summary.mean >= 1 ? 1 : 2;
  const center = plainNumber(summary.mean, digits);
  return summary.interval === undefined
    ? `${center} (${runs(summary.runs)})`
    : `${center} ± ${plainNumber(halfWidth(summary.interval), digits)}`;
}

/** A ratio or a number with its interval: "1.42 [1.38, 1.46]", or "1.42" alone. */
export function withInterval(estimate: Estimate, write: (value: number) => string = ratioText): string {
  return estimate.interval === undefined
    ? write(estimate.value)
    : `${write(estimate.value)} ${intervalText(estimate.interval, write)}`;
}

/** "[1.38, 1.46]" */
export function intervalText(interval: Interval, write: (value: number) => string = ratioText): string {
  return `[${write(interval.low)}, ${write(interval.high)}]`;
}

/** "1.42", "12.3" */
export function ratioText(value: number): string {
  return plainNumber(value, Math.abs(value) >= 10 ? 1 : 2);
}

/** A number for a fit: "0.480", "40.39" */
export function preciseText(value: number): string {
  return plainNumber(value, Math.abs(value) >= 10 ? 2 : 3);
}

/** A part as percent: 0.9 is "90 %", 0.041 is "4.1 %". */
export function percent(part: number): string {
  if (!Number.isFinite(part)) return nothing;
  return `${plainNumber(part * 100, Math.abs(part) >= 0.0995 ? 0 : 1)} %`;
}

/** "1 run", "5 runs" */
export function runs(count: number): string {
  return `${count} ${count === 1 ? "run" : "runs"}`;
}

/** "a", "a and b", "a, b and c" */
export function list(words: readonly string[]): string {
  return words.length < 2 ? (words[0] ?? "") : `${words.slice(0, -1).join(", ")} and ${words.at(-1)}`;
}

function halfWidth(interval: Interval): number {
  return (interval.high - interval.low) / 2;
}

function decimals(value: number): number {
  const size = Math.abs(value);
  return size >= 100 ? 1 : size >= 1 ? 2 : 3;
}

/** toFixed without "-0.00", and without an end for what has none. */
function plainNumber(value: number, digits: number): string {
  if (!Number.isFinite(value)) return nothing;
  const text = value.toFixed(digits);
  return Number(text) === 0 ? (0).toFixed(digits) : text;
}
