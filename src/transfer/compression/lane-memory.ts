/**
 * How many lanes may compress at which level, so that a process stays under 256 MiB: zstd keeps 9 MiB for each
 * thread at level 3, 19 at 6, 36 to 40 at 9 to 12 and 55 to 63 above that, beside some 75 for all else
 * (measured on bodies of 1 MiB, `send --streams N --compress LEVEL`). Pure.
 */
import type { Compression } from "./compression.ts";

/** Up to this level, so many lanes. */
const bounds = [
  { level: 3, lanes: 16 },
  { level: 6, lanes: 8 },
  { level: 9, lanes: 4 },
  { level: 12, lanes: 3 },
  { level: 19, lanes: 2 },
] as const;

/** The most lanes for a setting; "auto" keeps to the lanes, and its levels follow from them. */
export function mostLanes(compression: Compression): number {
  if (typeof compression !== "number") return bounds[0].lanes;
  return bounds.find(({ level }) => compression <= level)?.lanes ?? 1;
}

/** The highest level that so many lanes may use. */
export function highestLevelOf(lanes: number): number {
  return bounds.findLast((bound) => lanes <= bound.lanes)?.level ?? bounds[0].level;
}
