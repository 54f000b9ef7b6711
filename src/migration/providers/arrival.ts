/**
 * A VM that arrives on this host, as the migration sees it: whatever receives the parts that do not come as
 * chunks, holds the VM until it is owned, and then resumes it. Everything that differs between kinds of VMs
 * is behind this interface.
 */
import type { MigrateError } from "../../protocol/errors.ts";
import type { MessageBody } from "../../protocol/messages.ts";
import type { ArrivingStreams } from "../../transfer/doors/arriving-streams.ts";
import type { DoorPool } from "../../transfer/doors/door-pool.ts";
import type { Staging } from "../../vm/folder/staging.ts";
import type { SessionRecord } from "../journal/journal.ts";
import type { StreamedPart } from "./departure.ts";

/** The part of a record that never changes: what was offered. */
export type Offered = Pick<
  SessionRecord,
  "session" | "name" | "vm" | "peer" | "store" | "side" | "files" | "tagKey" | "provider" | "kept" | "bytes"
>;

export interface ArrivalOptions {
  staging: Staging;
  home: string;
  /**
   * Undefined while the sessions that a crash interrupted are recovered, before any connection is accepted.
   */
  doors: DoorPool | undefined;
  /**
   * True if the record makes this host the owner: another process of this program may have resumed the VM.
   */
  isOwned: () => boolean;
  /** Called if the VM can no longer become whole here. */
  failed: (error: MigrateError) => void;
  /**
   * Called with bytes received on streams since the last call, the bytes of the VM that were passed on from them, and
   * how many of these the store takes: RAM is in memory.
   */
  received: (wireBytes: number, handedOnBytes: number, storedBytes: number) => void;
  /** Called with a sentence about the VM for this host's people; nobody is told if it is absent. */
  notice?: (message: string) => void;
}

export interface Arrival {
  /** True if most of the VM is received while it still runs at the source. */
  readonly isLive: boolean;
  /** True if parts of the VM come as streams, for which a program has to be started first. */
  readonly hasStreams: boolean;
  /** What comes as streams, as one row of the progress: only the source knows how the bytes divide. */
  readonly streamed: readonly StreamedPart[];
  /** The streams, once a program waits for them. */
  readonly streams: ArrivingStreams | undefined;
  /** What is behind each of the VM's network cards here; undefined if it does not run. */
  readonly cards: MessageBody<"accept">["cards"];
  /** What shows the VM's screen here; absent if that is not this program's to say. */
  readonly vnc?: MessageBody<"accept">["vnc"];
  /** Where the screen is shown, once the VM runs, as a sentence; absent if it is not. */
  readonly screen?: string | undefined;
  /**
   * How long the source may be away before the received data are removed, in milliseconds; null if forever.
   */
  readonly patienceMs: number | null;
  /**
   * Starts the program that waits for the streams; does nothing if it still runs. Returns the body of
   * STARTED. Throws MigrateError, and then leaves nothing running.
   */
  start(): Promise<MessageBody<"started">>;
  /**
   * Compares the received streams with the source's results in SEAL, and waits until the VM is whole and
   * durable. Throws MigrateError.
   */
  seal(sent: Pick<MessageBody<"seal">, "streams" | "paused">): Promise<void>;
  /** Throws NeverRan, or MigrateError "store-failed", if the VM could not be resumed here. */
  checkReady(): Promise<void>;
  /** Tells the programs that have the VM's files open that its folder has its final name. Idempotent. */
  relink(folder: string): void;
  /**
   * Resumes the VM, or checks that it runs. `sure` is true if this process has seen everything that happened
   * before. Throws NeverRan if the VM certainly did not run here and never will, and MigrateError "in-doubt"
   * if that cannot be known.
   */
  resume(sure: boolean): Promise<void>;
  /** Ends the programs that hold the VM. Idempotent. */
  end(): Promise<void>;
  /** Leaves the programs that hold the VM running, and closes the connections to them. Idempotent. */
  leave(): void;
}

/** A VM at the destination as seen by a process other than the `migrate serve` that received it. */
export interface Resident {
  /** Whether the program that holds the VM is there; "files" if the VM is only files. */
  readonly program: "files" | "there" | "gone";
  /** True if that program runs the VM now. */
  runs(): Promise<boolean>;
  /** As `Arrival.relink`. */
  relink(folder: string): void;
  /** Resumes the VM. Throws MigrateError "qemu-failed" if it cannot be resumed. */
  resume(): Promise<void>;
  end(): Promise<void>;
}
