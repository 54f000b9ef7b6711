/**
 * How many lanes may compress at which level, so that a process stays under 256 MiB: a lane takes some 13 MiB at
 * level 1, 20 at 3, 30 at 6, 45 at 9 to 12 and 70 above that, beside some 90 for all else (measured with
 * `send --streams N --compress LEVEL` on a VM of 2 GiB of data). Pure.
 */
import { limits } from "../../protocol/limits.ts";
import type { Compression } from "./compression.ts";

/** Up to this level, so many lanes. */
const bounds = [
  { level: 3, lanes: 8 },
  { level: 6, lanes: 5 },
  { level: 12, lanes: 3 },
  { level: 19, lanes: 2 },
] as const;

/** The most lanes for a setting; "auto" keeps to the lanes, and its levels follow from them. */
export function mostLanes(compression: Compression): number {
  if (compression === "off") return limits.lanes;
  if (compression === "auto") return bounds[0].lanes;
  return bounds.find(({ level }) => compression <= level)?.lanes ?? 1;
}

/** The highest level that so many lanes may use. */
export function highestLevelOf(lanes: number): number {
  return bounds.findLast((bound) => lanes <= bound.lanes)?.level ?? bounds[0].level;
}
