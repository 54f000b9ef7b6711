/** What each kind of VM provides: how its sessions end at the source, and how such a VM arrives. */
import type { Surroundings } from "../../protocol/asking.ts";
import type { ImageFormat } from "../../protocol/disk-head.ts";
import type { MessageBody } from "../../protocol/messages.ts";
import type { FileKind, Offer } from "../../protocol/offer.ts";
import type { Landed } from "../../vm/folder/staging.ts";
import type { SessionRecord } from "../journal/journal.ts";
import type { Arrival, ArrivalOptions, Offered, Resident } from "./arrival.ts";
import type { Departure } from "./departure.ts";
import type { LibvirtPolicy } from "./libvirt/arriving-xml.ts";
import type { QemuPolicy } from "./qemu/arriving-command.ts";
import type { TpmHere } from "./tpm-at-source.ts";

/** What this destination allows VMs that are more than files. */
export interface LandingPolicy {
  /** VMs that run under QEMU alone; null if it accepts none. */
  qemu: QemuPolicy | null;
  /** VMs of libvirt; absent if it accepts none. */
  libvirt?: LibvirtPolicy | undefined;
}

/** A place to which something of a VM that arrives is written. */
export interface DeliveryPlace {
  /** What comes there, as a person reads it. */
  what: string;
  /** Absolute. */
  path: string;
}

/** The size of an offered VM. */
export interface CheckedOffer {
  /** Bytes of the whole VM, RAM included. */
  bytes: number;
}

/** A part of a VM that comes to lie in the store. */
export interface StoredPart {
  bytes: number;
  /** Bytes of it that hold data; unknown for a session that version 0.1.0 began. */
  allocatedBytes?: number | undefined;
}

/** Bytes that these parts need on the store's disk: holes need no room, whatever a file's size. Pure. */
export function roomOf(parts: readonly StoredPart[]): number {
  return parts.reduce((sum, { bytes, allocatedBytes = 0 }) => sum + Math.min(allocatedBytes, bytes), 0);
}

/** What vm.json contains beside the files that came as chunks. */
export interface PublishedParts {
  /** Disks that came as streams, and what they were made as. */
  disks: readonly { name: string; format: ImageFormat }[];
  /** What a QEMU is started with for it; absent if it is files alone. */
  definition?: Record<string, unknown>;
  /** How it is started on this host, as it was when it was offered. */
  here?: object;
  /** Whose the VM is to run from then on, if that is another program. */
  manager?: "libvirt";
  /** Files that are not there any more once the VM is taken over. */
  passing?: readonly FileKind[];
  /** True if the files change as soon as the VM runs: recorded digests would then raise false alarms. */
  changes: boolean;
}

/** What SEAL held together beside the files, as `sealed` keeps it. */
export type SealedBound = NonNullable<MessageBody<"seal">["bound"]>;

/** For whom this host's programs are asked. */
export interface FittingAsker {
  source: string;
  isOver(): boolean;
  /** MIGRATE_HOME of this host. */
  home: string;
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
   * Source, between the release and the destination's hearing of it: takes away what could start the VM here without
   * this program; `keep` makes that durable. Idempotent. Throws StillHere if the VM goes on here and was never taken away,
   * and MigrateError "in-doubt" if it cannot be.
   */
  withdraw?(
    record: SessionRecord,
    how: { departure: Departure | undefined; keep: (kept: object) => void },
  ): Promise<void>;
  /**
   * Source: ends the VM's programs here for good, and renames, deletes or keeps its files, as the record
   * requires. Idempotent. `warn` is told of what stays that should not. Throws MigrateError "io".
   */
  retire(
    record: SessionRecord,
    home: string,
    departure?: Departure,
    warn?: (sentence: string) => void,
  ): Promise<void>;
  /** Source: the files that belong to this VM alone: path and identity of each. */
  ownFiles(record: SessionRecord): { path: string; identity: string }[];
  /** Source: what of the VM's virtual TPM lies here; null if it has none. */
  tpmHere(record: SessionRecord): TpmHere | null;
  /** Source: what became of a VM that was given back, if it does not go on as before: a sentence's end. */
  givenBackHint?(record: SessionRecord): string | undefined;
  /** Source: what of the VM stays here on the person's word, and what becomes of it here, as parts of sentences. */
  leftBehind(record: SessionRecord): readonly { what: string; fate: string }[];
  /** What the digest of a session is about, as the end of a sentence; undefined if it is the VM's files. */
  provenOf(record: SessionRecord): string | undefined;
  /** How long the destination may take to answer, in milliseconds; undefined if there is no limit. */
  answerMs(record: SessionRecord): number | undefined;
  /** True if the VM runs at the destination, false if it is paused there; undefined if it is only files. */
  runsThere(record: SessionRecord): boolean | undefined;

  /** Destination: what the journal keeps of an offer, and of how this host takes it in, if it is told. */
  keep(offer: Offer, policy?: LandingPolicy): object | null;
  /** Destination: true if a repeated offer has the same of what is kept of it. */
  sameKept(record: SessionRecord, offer: Offer): boolean;
  /** Destination: paths below the VM's folder of the files that do not change before it is owned. */
  sealedPaths(record: SessionRecord): string[];
  /** Destination: what is to be kept once the VM was sealed; `landed` are the files at `sealedPaths`. */
  sealed(record: SessionRecord, seal: MessageBody<"seal">, landed: Landed): object;
  /** Destination: the files that were sealed; none if that was done by an earlier version. */
  landed(record: SessionRecord): Landed;
  /**
   * Destination: checks an offer, before anything is made for it. Throws MigrateError "policy" or "limit".
   */
  check(offer: Offer, policy: LandingPolicy): CheckedOffer;
  /**
   * Destination, once `check` has nothing against an offer, and before anything is made for it: asks this host's
   * programs whether they can run the VM. Throws MigrateError, "cancelled" if the asker is over before its turn.
   */
  requireFitting?(offer: Offer, policy: LandingPolicy, asker: FittingAsker): Promise<void>;
  /**
   * Destination: how the VM of an offer that `check` has nothing against would run here; what cannot be told is left out.
   */
  surroundings?(offer: Offer, policy: LandingPolicy, asker: FittingAsker): Promise<Surroundings>;
  /** Destination: what of a session comes to lie in the store. */
  stored(record: SessionRecord): StoredPart[];
  /** Destination: where, beside the store, something of its VMs comes to lie, if they are taken; `home` is MIGRATE_HOME. */
  delivers?(home: string, policy: LandingPolicy): readonly DeliveryPlace[];
  /** Destination: where the permanent state of the VM's virtual TPM lies once it is owned; null if it has none. */
  tpmThere?(record: Pick<SessionRecord, "provider" | "side" | "kept">, folder: string): string | null;
  arrive(offered: Offered, policy: LandingPolicy, options: ArrivalOptions): Arrival;
  resident(record: SessionRecord, home: string): Resident;
  published(record: SessionRecord): PublishedParts;
  /**
   * Destination, now and then: keeps what its VMs leave in the home from growing without end; `isOpen` tells of a
   * session whether it has not ended. Never throws.
   */
  upkeep?(home: string, isOpen: (session: string) => boolean, nowMs: number): void;
}
