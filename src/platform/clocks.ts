/**
 * The kernel's clocks that Bun does not offer: clock_gettime(2). Bun's own (performance.now, process.hrtime)
 * count from the start of the thread that reads them.
 */
import { clockGettime, systemError } from "./libc.ts";

const CLOCK_MONOTONIC = 1;
const CLOCK_THREAD_CPUTIME_ID = 3;

/** struct timespec: seconds i64, nanoseconds i64. One for all readings, so that a reading costs as little as may be. */
const timespec = new BigInt64Array(2);
const structure = new Uint8Array(timespec.buffer);

function read(clock: number): void {
  const answer = clockGettime(clock, structure);
  if (answer < 0) throw systemError("clock_gettime", answer);
}

/**
 * Nanoseconds since some moment in the past, on the clock that all threads and processes read alike and nobody
 * can set. Throws a SystemError if there is no such clock.
 */
export function monotonicNs(): bigint {
  read(CLOCK_MONOTONIC);
  return timespec[0]! * 1_000_000_000n + timespec[1]!;
}

/** CPU time of the calling thread in nanoseconds since it began. Throws as `monotonicNs` does. */
export function threadCpuNs(): number {
  read(CLOCK_THREAD_CPUTIME_ID);
  return Number(timespec[0]) * 1e9 + Number(timespec[1]);
}
