/**
 * What the journal keeps of a VM that runs under QEMU: enough to end the migration after this process has
 * died.
 */
import type { ProcessId } from "../../../platform/process-id.ts";
import type { OfferedMachine } from "../../../protocol/offer.ts";
import type { VmPolicy } from "../../../protocol/vm-policy.ts";
import type { Landed } from "../../../vm/folder/staging.ts";
import type { MigrationSettings } from "../../../vm/qemu/outgoing/migration-settings.ts";
import type { SessionRecord } from "../../journal/journal.ts";
import type { SealedBound } from "../provider.ts";
import type { KeptSeal } from "../tpm-at-source.ts";

/** The source's part: which QEMU it is, and what is to be retired with it. */
export interface SourceQemuRecord extends KeptSeal {
  side: "source";
  /** Absolute path of its QMP socket. */
  qmpPath: string;
  qemu: ProcessId;
  /** True if it would run now if the move did not hold it: a VM that was paused is not resumed. */
  wasRunning: boolean;
  /**
   * The settings of QEMU's migrations before this move changed anything of it; null until then. Absent in records of
   * earlier versions, which did not keep them.
   */
  before?: MigrationSettings | null;
  /** Its disks and the state folder of its virtual TPM, each with its identity (`fileIdentity`). */
  retire: { path: string; identity: string }[];
  /**
   * The swtpm process of its virtual TPM, which is ended after QEMU, and the folder of its state, which records of
   * earlier versions have in `retire` alone.
   */
  tpm: { swtpm: ProcessId; state?: { path: string; identity: string } } | null;
  /** What of its disks does not move, on the person's word; absent in the records of earlier versions. */
  leftBehind?: string[];
  /** False: its cards do not say where it is if it goes on here. */
  announces?: boolean;
  /** True: it stood still for its move, and its agent sets its clock if it goes on here. */
  setsTime?: boolean;
}

/** The destination's part: what it was offered. */
export interface ArrivingQemuRecord extends OfferedMachine {
  side: "destination";
  /** Once it was sealed: whether the VM was paused at the switchover; `paused` is what it was when it was offered. */
  sealedPaused?: boolean;
  /** Once it was sealed: its files. */
  landed?: Landed;
  /** What the seal held together beside the files. */
  bound?: SealedBound;
  /** The VM's own policy, if it has one. */
  vmPolicy?: VmPolicy;
  /** How VMs were run here when it was offered (booting/start-rules.ts); absent in records of earlier versions. */
  here?: object;
}

/** True if the VM was paused at the source, and is not resumed here. */
export function staysPaused({ paused, sealedPaused }: ArrivingQemuRecord): boolean {
  return sealedPaused ?? paused === true;
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
