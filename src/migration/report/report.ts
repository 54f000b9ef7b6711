/** The last event of a session, the same on both sides. */

import type { SessionRecord } from "../journal/journal.ts";
import type { MachineRecord } from "../journal/machine-record.ts";
import type { MigrationEvent } from "./events.ts";

export type Report = Extract<MigrationEvent, { event: "done" }>;

/** What was done, from the journal and the figures of this process. */
export function reportOf(
  record: SessionRecord,
  figures: {
    wireBytes: number;
    chunksSent: number;
    foundBytes?: number;
    repeatedBytes?: number;
    seconds: number;
    downtimeMs?: number | undefined;
  },
): Report {
  return {
    event: "done",
    session: record.session,
    name: record.name,
    side: record.side,
    mode: record.mode,
    bytes: record.bytes,
    wireBytes: figures.wireBytes,
    chunksSent: figures.chunksSent,
    foundBytes: figures.foundBytes ?? 0,
    repeatedBytes: figures.repeatedBytes ?? 0,
    seconds: figures.seconds,
    digest: record.digest ?? "",
    ...(figures.downtimeMs === undefined ? {} : { downtimeMs: figures.downtimeMs }),
    ...(record.machine === null ? {} : { runs: wasRunning(record.machine) }),
    owner: record.mode === "move" ? "destination" : "source",
    after: record.mode === "copy" ? "copy" : record.after,
  };
}

function wasRunning(machine: MachineRecord): boolean {
  return machine.side === "source" ? machine.wasRunning : machine.paused !== true;
}
