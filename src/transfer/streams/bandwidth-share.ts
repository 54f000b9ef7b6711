/**
 * How one bandwidth is divided among streams of which some send little: what those leave is for the others.
 * Pure.
 */

/** A stream that sends this part of what it may, or more, would send more. */
const hungryPart = 0.75;

export interface StreamUse {
  /** What it has sent lately, in bytes a second. */
  usedBytesPerSec: number;
  /** What it was allowed to. */
  shareBytesPerSec: number;
}

/**
 * What each stream may send from now on in bytes a second, in the order given, so that all together keep to
 * `bandwidthBytesPerSec`. One that sends little may still send as much as an even division allows, so that
 * it shows when it has more.
 */
export function bandwidthShares(bandwidthBytesPerSec: number, streams: readonly StreamUse[]): number[] {
  const evenShare = bandwidthBytesPerSec / Math.max(1, streams.length);
  const wanted = streams.map(({ usedBytesPerSec: used, shareBytesPerSec: share }) =>
    used >= share * hungryPart ? Number.POSITIVE_INFINITY : used,
  );
  let rest = bandwidthBytesPerSec;
  let level = evenShare;
  // Least first: what one leaves makes the share of those behind it larger.
  for (const [at, want] of [...wanted].sort((a, b) => a - b).entries()) {
    level = rest / (streams.length - at);
    rest -= Math.min(want, level);
  }
  return wanted.map((want) => (want > evenShare ? level : evenShare));
}
