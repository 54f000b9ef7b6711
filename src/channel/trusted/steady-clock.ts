/** A clock for what expires: while the process runs, nobody who sets the host's clock back takes time back from it. Pure. */

/**
 * Unix time in milliseconds as `nowMs` tells it, or as it goes on from the latest that this told, by `monotonicMs` (a
 * clock that is not set), if that is later. A clock that was ahead for a while is believed until the process ends.
 */
export function steadyClock(nowMs: () => number, monotonicMs: () => number): () => number {
  let latestMs = Number.NEGATIVE_INFINITY;
  let toldAtMs = monotonicMs();
  return () => {
    const atMs = monotonicMs();
    latestMs = Math.max(nowMs(), latestMs + (atMs - toldAtMs));
    toldAtMs = atMs;
    return latestMs;
  };
}
