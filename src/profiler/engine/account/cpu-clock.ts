/** What a reading of the thread's CPU clock costs: the account reads it so often that its own cost counts. */
import { threadCpuNs } from "../../../platform/clocks.ts";

const batches = 9;
const readsPerBatch = 4000;

/**
 * What one reading costs on this host, in nanoseconds of CPU time: the median of some batches, after as
 * many readings that warm it up. Takes about 60 ms.
 */
export function calibrateClock(): number {
  const costs: number[] = [];
  for (let batch = 0; batch < 2 * batches; batch++) {
    const from = threadCpuNs();
    for (let i = 0; i < readsPerBatch; i++) threadCpuNs();
    const cost = (threadCpuNs() - from) / (readsPerBatch + 1);
    if (batch >= batches) costs.push(cost);
  }
  return costs.sort((a, b) => a - b)[Math.floor(batches / 2)]!;
}
