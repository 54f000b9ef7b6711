/** Events of a running VM's move as the tests of what a person sees make them up. */
import type { MigrationEvent } from "../../src/migration/report/events.ts";
import { noProgress, type ProgressState, progressAfter } from "../../src/terminal/progress-state.ts";

const MiB = 2 ** 20;

/** The RAM of a VM of 256 MiB, in its third pass. */
export function ram(more: Partial<Extract<MigrationEvent, { event: "ram" }>> = {}): MigrationEvent {
  return {
    event: "ram",
    session: "s1",
    name: "web1",
    iteration: 3,
    remainingBytes: 12.3 * MiB,
    transferredBytes: 300 * MiB,
    totalBytes: 256 * MiB,
    dirtyBytesPerSec: 45 * MiB,
    bandwidthBytesPerSec: 100 * MiB,
    expectedDowntimeMs: 120,
    throttlePercent: 0,
    ...more,
  };
}

/** What is known once these were heard, all of them at the beginning. */
export function after(...events: MigrationEvent[]): ProgressState {
  return events.reduce((state, event) => progressAfter(state, event, 0), noProgress);
}
