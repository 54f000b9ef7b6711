/**
 * A place on this host where a VM lands, as the migration knows it: what takes in what does not come as chunks,
 * holds the VM until it is owned, and resumes it then. Whatever tells one kind of VM from another is behind this.
 */
import type { MigrateError } from "../../protocol/errors.ts";
import type { MessageBody } from "../../protocol/messages.ts";
import type { ArrivingStreams } from "../../transfer/doors/arriving-streams.ts";
import type { DoorPool } from "../../transfer/doors/door-pool.ts";
import type { Staging } from "../../vm/folder/staging.ts";
import type { SessionRecord } from "../journal/journal.ts";
import type { StreamedPart } from "./departure.ts";

/** A record's half that never changes: what was offered. */
export type Offered = Pick<
  SessionRecord,
  "session" | "name" | "peer" | "store" | "side" | "files" | "tagKey" | "provider" | "kept" | "bytes"
>;

export interface ArrivalOptions {
  staging: Staging;
  home: string;
  /** Undefined while what a crash left is dealt with, before anybody is let in. */
  doors: DoorPool | undefined;
  /** The record gives the VM to this host: another process of ours may have resumed it. */
  isOwned: () => boolean;
  /** The VM cannot become whole here any more. */
  failed: (error: MigrateError) => void;
  /** Bytes that came on streams, and what of the VM was handed on. */
  received: (wireBytes: number, handedOnBytes: number) => void;
}

export interface Arrival {
  /** True if most of the VM comes while it still runs at the source. */
  readonly isLive: boolean;
  /** True if some of it comes as streams, which something has to be started for. */
  readonly hasStreams: boolean;
  /** What comes as streams, as one row of the progress: only the source knows what is in it. */
  readonly streamed: readonly StreamedPart[];
  /** The streams, once something waits for them. */
  readonly streams: ArrivingStreams | undefined;
  /** How long the source may be away before what came is removed, in milliseconds; null for ever. */
  readonly patienceMs: number | null;
  /** Starts what waits for the streams; if that is still there, nothing happens. Throws MigrateError; nothing is left running then. */
  start(): Promise<MessageBody<"started">>;
  /** Compares the streams with what the source says it sent, and waits until the VM is whole and durable. Throws MigrateError. */
  seal(sent: NonNullable<MessageBody<"seal">["streams"]>): Promise<void>;
  /** Throws NeverRan, or MigrateError "store-failed", if the VM could not be resumed here. */
  checkReady(): Promise<void>;
  /** The VM's folder has its final name: who has its files open gets to know it. Idempotent. */
  relink(folder: string): void;
  /**
   * Resumes the VM, or sees that it runs. `sure` if this process has seen all that came before. Throws NeverRan if
   * it certainly did not run here and never will, and MigrateError "in-doubt" if that cannot be told.
   */
  resume(sure: boolean): Promise<void>;
  /** Ends what holds the VM. Idempotent. */
  end(): Promise<void>;
  /** Leaves what holds the VM to itself. Idempotent. */
  leave(): void;
}

/** A VM at the destination as a process sees it that is not the serve which received it. */
export interface Resident {
  /** The program that holds it; "files" if the VM is files alone. */
  readonly program: "files" | "there" | "gone";
  /** True if that program runs the VM now. */
  runs(): Promise<boolean>;
  /** As of an arrival. */
  relink(folder: string): void;
  /** Throws MigrateError "qemu-failed" if it does not run then. */
  resume(): Promise<void>;
  end(): Promise<void>;
}
