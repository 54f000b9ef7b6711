/** A figure before it is drawn: what it shows as a chart, as sentences and as numbers. Pure. */
import type { TopLevelSpec } from "vega-lite";
import { nothing, seconds } from "../notation/notation.ts";
import type { Table } from "../notation/table.ts";
import { inMiB } from "../statistics/cells.ts";
import type { Interval } from "../statistics/statistics.ts";

export interface Figure {
  /** Also its file's name without the ending; lower case letters, digits and hyphens. */
  id: string;
  title: string;
  /** What the picture shows, in words and numbers: its text alternative. */
  description: string;
  /** What a reader must know to read the picture: scales that are cut, intervals that are missing. */
  note: string;
  /** The same numbers as in the picture; the first two columns name a row, an empty RAM size is that of the row above. */
  table: Table;
  spec: TopLevelSpec;
}

/** A figure that was drawn. */
export interface Drawing {
  figure: Figure;
  /** An `<svg>` element for a page that has the rules of `figureStyle`. */
  svg: string;
  /** The same as a file of its own. */
  file: string;
  widthPx: number;
  heightPx: number;
}

/** If the dearest suite takes more than so many times the cheapest, one linear scale does not show the latter. */
export const widestSpan = 10;

/** A mean of milliseconds as figures write it: "0.483 s (95 % interval 0.471 to 0.495)". */
export function meanText(meanMs: number, interval: Interval | undefined): string {
  const between = interval === undefined ? "" : ` (95 % interval ${fromTo(interval, meanMs)})`;
  return `${seconds(meanMs)} s${between}`;
}

/** The interval of a mean of milliseconds, in seconds: "0.471 to 0.495"; a dash if there is none. */
export function fromTo(interval: Interval | undefined, meanMs: number): string {
  if (interval === undefined) return nothing;
  return `${seconds(interval.low, meanMs)} to ${seconds(interval.high, meanMs)}`;
}

/** RAM as figures name it: "128 MiB". */
export function sizeText(ramBytes: number): string {
  return `${inMiB(ramBytes)} MiB`;
}
