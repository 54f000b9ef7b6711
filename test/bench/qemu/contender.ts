/** One way of moving a guest that runs under QEMU from one QEMU to another. */
import type { RunningGuest } from "../../support/guests/running-guest.ts";
import type { Link } from "../link.ts";

export interface QemuContender {
  name: string;
  /** For the table. */
  title: string;
  /** Why this machine's QEMU cannot do it; undefined where it can. Absent where every QEMU can. */
  whyNot?(): Promise<string | undefined>;
  /**
   * Makes the destination ready, in a folder of this run and at the link's other end. What it does is
   * not measured. The source's QEMU is at the link's source.
   */
  prepare(source: RunningGuest, folder: string, link: Link): Promise<QemuAttempt>;
}

/** What is known once the guest has been moved. */
export interface Moved {
  /** What the mover itself counted, in milliseconds: the guest's pause, on the source's clock. */
  downtimeMs: number | undefined;
  /** What the mover itself says that it took, in seconds. */
  ownSeconds: number | undefined;
}

/** A destination that waits, and the processes that a move takes beside the source's QEMU. */
export interface QemuAttempt {
  /** Moves the guest; settles when the mover says that it is done and the guest runs over there. */
  move(): Promise<Moved>;
  /** CPU time so far of all processes at the source beside its QEMU, in milliseconds. */
  sourceCpuMs(): number;
  /** CPU time so far of all processes at the destination, in milliseconds. */
  destinationCpuMs(): number;
  /** Throws unless the guest ticks on at the destination. */
  confirm(tick: number): Promise<void>;
  /** Ends all that was started. Never throws. */
  cleanUp(): Promise<void>;
}
