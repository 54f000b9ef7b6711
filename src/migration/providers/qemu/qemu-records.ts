/**
 * What the journal keeps of a VM that runs under QEMU: enough to end the migration after this process has
 * died.
 */
import type { ProcessId } from "../../../platform/process-id.ts";
import type { OfferedMachine } from "../../../protocol/offer.ts";
import type { SessionRecord } from "../../journal/journal.ts";

/** The source's part: which QEMU it is, and what is to be retired with it. */
export interface SourceQemuRecord {
  side: "source";
  /** Absolute path of its QMP socket. */
  qmpPath: string;
  qemu: ProcessId;
  /** True if it ran when the migration began: a VM that was paused is not resumed. */
  wasRunning: boolean;
  /** Its disks and the state folder of its virtual TPM, each with its identity (`fileIdentity`). */
  retire: { path: string; identity: string }[];
  /** The swtpm process of its virtual TPM, which is ended after QEMU. */
  tpm: { swtpm: ProcessId } | null;
  /** What of its disks does not move, on the person's word; absent in the records of earlier versions. */
  leftBehind?: string[];
}

/** The destination's part: what it was offered. */
export interface ArrivingQemuRecord extends OfferedMachine {
  side: "destination";
}

type Kept = Pick<SessionRecord, "provider" | "side" | "kept">;

/** Returns the record of a session that sends a VM from QEMU; null for any other session. */
export function sourceQemuRecord({ provider, side, kept }: Kept): SourceQemuRecord | null {
  return provider === "qemu" && side === "source" ? (kept as SourceQemuRecord | null) : null;
}

/** Returns the record of a session that receives such a VM; null for any other session. */
export function arrivingQemuRecord({ provider, side, kept }: Kept): ArrivingQemuRecord | null {
  return provider === "qemu" && side === "destination" ? (kept as ArrivingQemuRecord | null) : null;
}
