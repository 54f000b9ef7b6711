/** What the journal keeps of a VM that runs: enough to end the migration after this process has died. */
import type { ProcessId } from "../../platform/process-id.ts";
import type { OfferedMachine } from "../../protocol/offer.ts";

/** The source's half: which QEMU it is, and what is to be retired with it. */
export interface SourceMachine {
  side: "source";
  /** Absolute path of its QMP socket. */
  qmpPath: string;
  qemu: ProcessId;
  /** Whether it was running when the migration began: a VM that was stopped is not let go on. */
  wasRunning: boolean;
  /** Disks, and the files of its virtual TPM: which file each was, as fileIdentity says. */
  retire: { path: string; identity: string }[];
  /** The swtpm of its virtual TPM, whose state folder is to be retired as well. */
  tpm: { swtpm: ProcessId } | null;
}

/** The destination's half: what it was offered. */
export interface ArrivingMachine extends OfferedMachine {
  side: "destination";
}

export type MachineRecord = SourceMachine | ArrivingMachine;

export function sourceMachine(machine: MachineRecord | null): SourceMachine | null {
  return machine?.side === "source" ? machine : null;
}

export function arrivingMachine(machine: MachineRecord | null): ArrivingMachine | null {
  return machine?.side === "destination" ? machine : null;
}
