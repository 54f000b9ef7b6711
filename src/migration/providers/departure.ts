/**
 * A VM that leaves this host, as the migration knows it: what goes as chunks, what goes as streams, and how it
 * is stopped, carried, taken back and retired. Whatever tells one kind of VM from another is behind this.
 */
import type { ControlLink } from "../../channel/control-link.ts";
import type { MigrateError } from "../../protocol/errors.ts";
import type { OfferedMachine } from "../../protocol/offer.ts";
import type { StreamResult, StreamRoute } from "../../transfer/streams/stream-pool.ts";
import type { OpenFiles } from "../../vm/folder/open-files.ts";
import type { SessionRecord } from "../journal/journal.ts";
import type { Observer } from "../report/events.ts";
import type { ProgressMeter } from "../report/progress-meter.ts";

/** Where the streams go, but for what STARTED says. */
export type Route = Omit<StreamRoute, "instance" | "token">;

/** A part of a VM that does not go as chunks, as a row of the progress. */
export interface StreamedPart {
  name: string;
  /** Bytes; with `atMost` a bound. */
  bytes: number;
  atMost?: true;
}

/** A VM that a person named, before anything of it is looked at. */
export interface Candidate {
  readonly provider: string;
  /** Recognises the record of a session about this VM: by its paths, its files, its socket. */
  isIt(record: SessionRecord): boolean;
  /** Looks at the VM and changes nothing. Throws MigrateError "vm-invalid", "policy" or "not-owner". */
  open(): Promise<OpenedVm>;
}

/** What the journal gets to know of a VM that is about to leave. */
export type Facts = Pick<SessionRecord, "name" | "vm" | "files" | "folder" | "bytes" | "kept">;

/** A VM that was looked at. */
export interface OpenedVm {
  readonly facts: Facts;
  /** True if it is the very VM that this session moved away. */
  isStill(gone: SessionRecord): boolean;
  /** True if an open session that was not released may be taken up again with what is here now. */
  resumes(record: SessionRecord): boolean;
  /** Opens the VM's files for the session and gets ready to leave. Throws MigrateError "vm-running" or "source-changed". */
  depart(session: string): Departure;
  /** Leaves the VM as it is. Idempotent; does nothing to what departs. */
  close(): void;
}

export interface Departure {
  /** What goes as chunks, in the order of the record's files. */
  readonly files: OpenFiles;
  /** Bytes that each of these files takes on this host's disk. */
  readonly allocatedBytes: readonly number[];
  /** What OFFER says beside the files; undefined if the VM is files alone. */
  readonly machine: OfferedMachine | undefined;
  /** What goes as streams. */
  readonly streamed: readonly StreamedPart[];
  /** True if the VM runs while most of it is sent. */
  readonly isLive: boolean;
  /** True if a later process can take the session up where this one leaves it. */
  readonly isResumable: boolean;
  /** Bytes of streams that the destination's program has been handed so far. */
  readonly carriedBytes: number;
  /** What went over each stream, once all has; undefined if there are none. */
  readonly streams: readonly StreamResult[] | undefined;
  /** Why nothing can come of it any more, whatever the links do. */
  readonly failure: MigrateError | undefined;
  /** Since when the VM does not run here, on the monotonic clock in milliseconds; undefined while it does. */
  readonly stoppedAtMs: number | undefined;
  /** How long a link may be away before the VM is better resumed here, in milliseconds. */
  readonly patienceMs: number;
  /** Sees to it that what goes as chunks does not change any more. Idempotent. Throws MigrateError. */
  standStill(): Promise<void>;
  /** Numbers of the files that were written since they were last looked at; these have to be sent again. */
  rewritten(): number[];
  /**
   * Has all of the VM sent that does not go as chunks; called again on the next link if this one is lost, and
   * then resumes. Throws what ended the link, or MigrateError if the move has failed.
   */
  carry(link: ControlLink, route: Route, meter: ProgressMeter, observe: Observer): Promise<void>;
  /** Ends what is under way, so that the VM can be taken back. Idempotent; never rejects. */
  halt(): Promise<void>;
  /** Closes files and connections. Idempotent. */
  close(): void;
}
