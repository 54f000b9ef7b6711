/** What a kind of VM brings along: how its sessions are ended at the source, and how one lands here. */
import type { Offer } from "../../protocol/offer.ts";
import type { SessionRecord } from "../journal/journal.ts";
import type { Arrival, ArrivalOptions, Offered, Resident } from "./arrival.ts";
import type { Departure } from "./departure.ts";
import type { QemuPolicy } from "./qemu/arriving-command.ts";

/** What this destination lets VMs have that run; null if none are taken. */
export interface LandingPolicy {
  qemu: QemuPolicy | null;
}

/** How large what is offered is. */
export interface CheckedOffer {
  /** Bytes of the whole VM, RAM included. */
  bytes: number;
  /** Bytes that it takes on the store's disk. */
  roomBytes: number;
}

/** What vm.json says beside the files that came as chunks. */
export interface PublishedParts {
  /** Names of disks that came as streams. */
  disks: readonly string[];
  /** True if the files change from the first moment on: a digest of them would be a false alarm. */
  changes: boolean;
}

export interface Provider {
  readonly name: string;

  /** Source: true if the VM may stand still by our doing and is to be resumed if it stays here. */
  standsStill(record: SessionRecord): boolean;
  /** Source: resumes the VM. Idempotent. `departure` is the one of this process, if there is one. Throws MigrateError "qemu-failed". */
  resumeHere(record: SessionRecord, departure?: Departure): Promise<void>;
  /**
   * Source: ends what runs of the VM here, for good, and renames, deletes or keeps its files, as the record says.
   * Idempotent. Throws MigrateError "io".
   */
  retire(record: SessionRecord, home: string, departure?: Departure): Promise<void>;
  /** Source: the files that are the VM's own, and no others' too: path and identity of each. */
  ownFiles(record: SessionRecord): { path: string; identity: string }[];
  /** How long the destination may take over an answer, in milliseconds; undefined for as long as it likes. */
  answerMs(record: SessionRecord): number | undefined;
  /** Whether the VM runs where it arrives, or is paused there; undefined if it is files alone. */
  runsThere(record: SessionRecord): boolean | undefined;

  /** Destination: what the journal keeps of an offer. */
  keep(offer: Offer): object | null;
  /** Destination: what is wrong with an offer, before anything is made for it. Throws MigrateError "policy" or "limit". */
  check(offer: Offer, policy: LandingPolicy): CheckedOffer;
  arrive(offered: Offered, policy: LandingPolicy, options: ArrivalOptions): Arrival;
  resident(record: SessionRecord, home: string): Resident;
  published(record: SessionRecord): PublishedParts;
}
