/** What a running VM departs with: what it is, and what the person asked for. */
import type { OfferedMachine } from "../../../protocol/offer.ts";
import type { HeldFiles } from "../../../vm/qemu/held-files.ts";
import type { SocketPlace } from "../streaming/socket-place.ts";
import type { StallLimits } from "../streaming/stall-watch.ts";
import type { SourceQemuRecord } from "./qemu-records.ts";

export interface DepartingOptions {
  /** The files that go as chunks, open. */
  files: HeldFiles;
  /** What OFFER carries of the VM beside its files, and whether it is paused. */
  machine: Omit<OfferedMachine, "paused">;
  /** What the journal keeps of the VM. */
  kept: SourceQemuRecord;
  /** Mirror the disks while the VM runs; otherwise it is stopped before anything is sent. */
  live: boolean;
  downtimeLimitMs: number;
  /** Channels of the RAM beside the main one (QEMU's multifd). */
  channels: number;
  autoConverge: boolean;
  bandwidthBytesPerSec: number | null;
  session: string;
  /** Threads that carry streams. */
  workers: number;
  /** Where its QEMU finds the sockets that it connects to. */
  sockets: SocketPlace;
  /** Limits that replace the usual ones. */
  stallLimits?: StallLimits | undefined;
}
