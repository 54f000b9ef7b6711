/** What becomes of the VM at the source: it leaves, or a second VM is made of it there. */
export type Mode = "move" | "copy";

/** The phases of a migration, in the field's own words and in order, and the ways it can end. */
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
