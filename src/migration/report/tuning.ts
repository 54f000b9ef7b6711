/** What a person may change of a move while it runs. Pure. */
import * as v from "valibot";

/** No downtime limit is longer, in milliseconds: QEMU's own bound is 2000 s, and nobody waits that long. */
export const mostDowntimeLimitMs = 60_000;

/** At most so many bytes a second; null for as many as the link carries. */
const rate = v.nullable(v.pipe(v.number(), v.safeInteger(), v.minValue(1)));
const limitMs = v.pipe(v.number(), v.safeInteger(), v.minValue(1), v.maxValue(mostDowntimeLimitMs));

export const tuningSchema = v.strictObject({
  bandwidthBytesPerSec: v.exactOptional(rate),
  /** QEMU stops the guest once it expects to be done in this time. */
  downtimeLimitMs: v.exactOptional(limitMs),
  /** Whether the guest is slowed down if it writes memory faster than the link carries it. */
  autoConverge: v.exactOptional(v.boolean()),
});

export type Tuning = v.InferOutput<typeof tuningSchema>;
