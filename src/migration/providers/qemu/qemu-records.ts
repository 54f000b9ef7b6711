/** What the journal keeps of a VM that runs under QEMU: enough to end the migration after this process has died. */
import type { ProcessId } from "../../../platform/process-id.ts";
import type { OfferedMachine } from "../../../protocol/offer.ts";
import type { SessionRecord } from "../../journal/journal.ts";

/** The source's half: which QEMU it is, and what is to be retired with it. */
export interface SourceQemuRecord {
  side: "source";
  /** Absolute path of its QMP socket. */
  qmpPath: string;
  qemu: ProcessId;
  /** Whether it ran when the migration began: a VM that was stopped is not resumed. */
  wasRunning: boolean;
  /** Disks, and the files of its virtual TPM: which file each was, as fileIdentity says. */
  retire: { path: string; identity: string }[];
  /** The swtpm of its virtual TPM, whose state folder is to be retired as well. */
  tpm: { swtpm: ProcessId } | null;
}

/** The destination's half: what it was offered. */
export interface ArrivingQemuRecord extends OfferedMachine {
  side: "destination";
}

type Kept = Pick<SessionRecord, "provider" | "side" | "kept">;

/** Of a session that sends a VM from under QEMU; null for any other. */
export function sourceQemuRecord({ provider, side, kept }: Kept): SourceQemuRecord | null {
  return provider === "qemu" && side === "source" ? (kept as SourceQemuRecord | null) : null;
}

/** Of a session that takes one in; null for any other. */
export function arrivingQemuRecord({ provider, side, kept }: Kept): ArrivingQemuRecord | null {
  return provider === "qemu" && side === "destination" ? (kept as ArrivingQemuRecord | null) : null;
}
