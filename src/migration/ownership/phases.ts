/** What a migration does to the VM at the source: move it away, or make a second VM of it. */
export type Mode = "move" | "copy";

/**
 * The phases of a migration in order, by the names that are usual for live migration, and the ways it can
 * end.
 */
export const phases = [
  "begin",
  "prepare",
  "pre-copy",
  "stop-and-copy",
  "seal",
  "handover",
  "confirm",
] as const;
export type Phase = (typeof phases)[number];

export const outcomes = ["completed", "cancelled", "failed"] as const;
export type Outcome = (typeof outcomes)[number];
