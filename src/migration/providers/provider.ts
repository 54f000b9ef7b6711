/** What each kind of VM provides: how its sessions end at the source, and how such a VM arrives. */
import type { Offer } from "../../protocol/offer.ts";
import type { SessionRecord } from "../journal/journal.ts";
import type { Arrival, ArrivalOptions, Offered, Resident } from "./arrival.ts";
import type { Departure } from "./departure.ts";
import type { QemuPolicy } from "./qemu/arriving-command.ts";

/** What this destination allows running VMs; null if it accepts none. */
export interface LandingPolicy {
  qemu: QemuPolicy | null;
}

/** The size of an offered VM. */
export interface CheckedOffer {
  /** Bytes of the whole VM, RAM included. */
  bytes: number;
  /** Bytes that it needs on the store's disk. */
  roomBytes: number;
}

/** What vm.json contains beside the files that came as chunks. */
export interface PublishedParts {
  /** Names of disks that came as streams. */
  disks: readonly string[];
  /** What a QEMU is started with for it; absent if it is files alone. */
  definition?: Record<string, unknown>;
  /** True if the files change as soon as the VM runs: recorded digests would then raise false alarms. */
  changes: boolean;
}

export interface Provider {
  readonly name: string;

  /** Source: true if this program may have stopped the VM, which is to be resumed if it stays here. */
  standsStill(record: SessionRecord): boolean;
  /**
   * Source: resumes the VM. Idempotent. `departure` is this process's, if it has one. Throws MigrateError
   * "qemu-failed".
   */
  resumeHere(record: SessionRecord, departure?: Departure): Promise<void>;
  /**
   * Source: ends the VM's programs here for good, and renames, deletes or keeps its files, as the record
   * requires. Idempotent. Throws MigrateError "io".
   */
  retire(record: SessionRecord, home: string, departure?: Departure): Promise<void>;
  /** Source: the files that belong to this VM alone: path and identity of each. */
  ownFiles(record: SessionRecord): { path: string; identity: string }[];
  /** How long the destination may take to answer, in milliseconds; undefined if there is no limit. */
  answerMs(record: SessionRecord): number | undefined;
  /** True if the VM runs at the destination, false if it is paused there; undefined if it is only files. */
  runsThere(record: SessionRecord): boolean | undefined;

  /** Destination: what the journal keeps of an offer. */
  keep(offer: Offer): object | null;
  /**
   * Destination: checks an offer, before anything is made for it. Throws MigrateError "policy" or "limit".
   */
  check(offer: Offer, policy: LandingPolicy): CheckedOffer;
  arrive(offered: Offered, policy: LandingPolicy, options: ArrivalOptions): Arrival;
  resident(record: SessionRecord, home: string): Resident;
  published(record: SessionRecord): PublishedParts;
}
