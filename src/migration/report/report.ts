/** The last event of a session, the same on both sides. */
import { join } from "node:path";
import type { ReadBack } from "../../protocol/offer.ts";
import type { SessionRecord } from "../journal/journal.ts";
import type { MigrationEvent } from "./events.ts";
import type { Tuning } from "./tuning.ts";

export type Report = Extract<MigrationEvent, { event: "done" }>;

/** Returns the session's "done" event, from its record in the journal and this process's figures. */
export function reportOf(
  record: SessionRecord,
  figures: {
    wireBytes: number;
    chunksSent: number;
    foundBytes?: number;
    repeatedBytes?: number;
    seconds: number;
    downtimeMs?: number | undefined;
    /** True if the VM runs where it arrived; undefined if it is only files. */
    runs: boolean | undefined;
    /** Undefined if it is not known: an earlier process was told. */
    readBack?: ReadBack | undefined;
    /** What the digest is about, if it is not the files. */
    proven?: string | undefined;
    leftBehind?: readonly string[];
    tuned?: Tuning | undefined;
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
    ...(figures.runs === undefined ? {} : { runs: figures.runs }),
    ...(figures.readBack === undefined ? {} : { readBack: figures.readBack }),
    ...(figures.proven === undefined ? {} : { proven: figures.proven }),
    ...(figures.leftBehind?.length ? { leftBehind: [...figures.leftBehind] } : {}),
    ...(figures.tuned === undefined ? {} : { tuned: figures.tuned }),
    ...(record.store === null ? {} : { folder: join(record.store, record.name) }),
    ...(record.provider === "libvirt" ? { manager: "libvirt" as const } : {}),
    owner: record.mode === "move" ? "destination" : "source",
    after: record.mode === "copy" ? "copy" : record.after,
  };
}
