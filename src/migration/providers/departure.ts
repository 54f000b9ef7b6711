/**
 * A VM that leaves this host, as the migration sees it: which parts go as chunks and which as streams, and
 * how it is stopped, sent, taken back and retired. Everything that differs between kinds of VMs is behind
 * this interface.
 */
import type { ControlLink } from "../../channel/control-link.ts";
import type { MigrateError } from "../../protocol/errors.ts";
import type { MessageBody } from "../../protocol/messages.ts";
import type { OfferedDomain, OfferedMachine } from "../../protocol/offer.ts";
import type { StreamResult, StreamRoute } from "../../transfer/streams/stream-pool.ts";
import type { OpenFiles } from "../../vm/folder/open-files.ts";
import type { SessionRecord } from "../journal/journal.ts";
import type { Observer } from "../report/events.ts";
import type { ProgressMeter } from "../report/progress-meter.ts";
import type { Tuning } from "../report/tuning.ts";

/** Where the streams go, without the two fields that the destination sends in STARTED. */
export type Route = Omit<StreamRoute, "instance" | "token">;

/** A part of a VM that does not go as chunks, as a row of the progress. */
export interface StreamedPart {
  name: string;
  /** In bytes; an upper bound if `atMost` is set. */
  bytes: number;
  atMost?: true;
}

/** A VM that a person named, before it has been opened. */
export interface Candidate {
  readonly provider: string;
  /**
   * True if the record is of a session about this VM, which is recognised by its paths, its files or its
   * socket.
   */
  isIt(record: SessionRecord): boolean;
  /**
   * True if the session was about this VM, or about what was called so, now that it cannot be opened. Of a socket's
   * path that is so only while nobody listens on it: another VM may have it by now.
   */
  wasMovedBy(record: SessionRecord): boolean;
  /** Opens the VM and changes nothing. Throws MigrateError "vm-invalid", "policy" or "not-owner". */
  open(): Promise<OpenedVm>;
}

/** What the journal records of a VM that is about to leave. */
export type Facts = Pick<SessionRecord, "name" | "vm" | "files" | "folder" | "bytes" | "kept">;

/** A VM that has been opened. */
export interface OpenedVm {
  readonly facts: Facts;
  /** True if it is the same VM that this session moved away. */
  isStill(gone: SessionRecord): boolean;
  /** True if a session that is open and was not released can be resumed with the files as they are now. */
  resumes(record: SessionRecord): boolean;
  /** Opens the VM's files for the session. Throws MigrateError "vm-running" or "source-changed". */
  depart(session: string): Departure;
  /** Closes what `open` opened, and leaves the VM as it is. Idempotent; has no effect on a departure. */
  close(): void;
}

export interface Departure {
  /** What goes as chunks, in the order of the record's files. */
  readonly files: OpenFiles;
  /** What OFFER carries beside the files; undefined if the VM is only files. */
  readonly machine: OfferedMachine | undefined;
  /** What OFFER carries of a domain of libvirt; undefined if the VM is none. */
  readonly domain?: OfferedDomain | undefined;
  /** True if the VM is paused, and is to stay so wherever it is then; undefined if it is only files. */
  readonly isPaused: boolean | undefined;
  /** What goes as streams. */
  readonly streamed: readonly StreamedPart[];
  /** True if the VM runs while most of it is sent. */
  readonly isLive: boolean;
  /** True if a later process can resume the session. */
  readonly isResumable: boolean;
  /** Bytes of streams that the destination's program has received so far. */
  readonly carriedBytes: number;
  /** The result of each stream, once all have ended; undefined if there are none. */
  readonly streams: readonly StreamResult[] | undefined;
  /** Why the move has failed for good, whatever the links do; undefined while it has not. */
  readonly failure: MigrateError | undefined;
  /** When the VM was stopped here, in milliseconds on the monotonic clock; undefined while it runs. */
  readonly stoppedAtMs: number | undefined;
  /** How long the link may be lost before it is better to resume the VM here, in milliseconds. */
  readonly patienceMs: number;
  /**
   * Throws MigrateError "vm-running" or "vm-busy", naming file and holder, if anybody but the VM itself uses its
   * files. Returns what could not be looked at, as a sentence for the person; null if all could.
   */
  requireUnheld(): string | null;
  /** Called whenever the journal is to keep something else of the VM (`Facts.kept`). */
  onKept(keep: (kept: object) => void): void;
  /**
   * Ensures that what goes as chunks no longer changes: from then on `files` tell what is to be offered. Idempotent.
   * Says so if that may take long. Throws MigrateError.
   */
  standStill(observe: Observer): Promise<void>;
  /** The last look before the release. Throws MigrateError if the VM does not stand still. */
  requireStill(): Promise<void>;
  /** Returns the numbers of the files that were written since the last call (or `standStill`), which may be longer now. */
  rewritten(): number[];
  /** Sentences on what will be different at the destination, which has accepted the offer with this. */
  changes(accepted: Pick<MessageBody<"accept">, "cards" | "processor" | "vnc">): readonly string[];
  /**
   * Sends all parts of the VM that do not go as chunks. If the link is lost, it is called again on the next
   * one, and resumes. Throws what ended the link, or MigrateError if the move has failed.
   */
  carry(link: ControlLink, route: Route, meter: ProgressMeter, observe: Observer): Promise<void>;
  /**
   * Changes how the VM is sent, from now on; the lanes that carry its files are not its concern. Throws MigrateError
   * "policy", and changes nothing, if any of it cannot be changed (any more), and "qemu-failed" or "libvirt-failed".
   */
  tune(tuning: Tuning): Promise<void>;
  /**
   * Stops a guest that does not let its move get done, so that it does: from here on its downtime counts. True if it
   * stands still now, false if that would help nobody (no link, nothing of it on its way). Idempotent; absent if the VM
   * does not run while it is sent. Throws MigrateError.
   */
  force?(): Promise<boolean>;
  /** Ends what is in progress, so that the VM can be taken back. Idempotent; never rejects. */
  halt(): Promise<void>;
  /** Closes files and connections. Idempotent. */
  close(): void;
}
