/**
 * The CPU clock of the calling thread, read so often that its own cost counts: as cheap as a system call
 * can be made from here, and calibrated.
 */
import { clockGettime, systemError } from "../../../platform/libc.ts";

/** clock_gettime(2). */
const CLOCK_THREAD_CPUTIME_ID = 3;

const seconds = new BigInt64Array(2);
const structure = new Uint8Array(seconds.buffer);

/** CPU time of this thread in nanoseconds. Throws the system's error where there is no such clock. */
export function cpuNs(): number {
  const answer = clockGettime(CLOCK_THREAD_CPUTIME_ID, structure);
  if (answer < 0) throw systemError("clock_gettime", answer);
  return Number(seconds[0]) * 1e9 + Number(seconds[1]);
}

const batches = 9;
const readsPerBatch = 4000;

/**
 * What one reading costs on this host, in nanoseconds of CPU time: the median of some batches, after as
 * many readings that warm it up. Takes about 60 ms.
 */
export function calibrateClock(): number {
  const costs: number[] = [];
  for (let batch = 0; batch < 2 * batches; batch++) {
    const from = cpuNs();
    for (let i = 0; i < readsPerBatch; i++) cpuNs();
    const cost = (cpuNs() - from) / (readsPerBatch + 1);
    if (batch >= batches) costs.push(cost);
  }
  return costs.sort((a, b) => a - b)[Math.floor(batches / 2)]!;
}
