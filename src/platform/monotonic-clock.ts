/**
 * The system's monotonic clock, which all threads and processes read alike and nobody can set. Bun's own
 * clocks (performance.now, process.hrtime) count from the start of the thread that reads them.
 */
import { clockGettime, systemError } from "./libc.ts";

const CLOCK_MONOTONIC = 1;
const structure = new Uint8Array(16);
const view = new DataView(structure.buffer);

/** Nanoseconds since some moment in the past: clock_gettime(2). Throws the system's error where there is none. */
export function monotonicNs(): bigint {
  const answer = clockGettime(CLOCK_MONOTONIC, structure);
  if (answer < 0) throw systemError("clock_gettime", answer);
  return view.getBigInt64(0, true) * 1_000_000_000n + view.getBigInt64(8, true);
}
