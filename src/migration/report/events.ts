/**
 * What a running migration reports to its observer. These objects are the `--json` output as they stand, and
 * the only thing from which the terminal draws; a field may be added, but is never renamed.
 */

import type { ErrorCode, Side } from "../../protocol/errors.ts";
import type { ReadBack } from "../../protocol/offer.ts";
import type { Mode, Phase } from "../ownership/phases.ts";
import type { Tuning } from "./tuning.ts";

export type { Tuning } from "./tuning.ts";

export interface FileProgress {
  /** The file's base name at the destination. */
  file: string;
  /** Logical size in bytes. */
  bytes: number;
  /** Bytes known to be right at the destination; never decreases within a session. */
  doneBytes: number;
  /** `bytes` is an upper bound: how much of it will be sent, and how often, is not known. */
  atMost?: true;
}

export type MigrationEvent =
  | {
      event: "listening";
      /**
       * host:port, or unix:PATH; two of them have a comma between. The port is the one that the system chose if 0 was
       * asked for.
       */
      address: string;
      /** By which of its addresses other hosts reach it, each with its port, the likeliest first. */
      addresses: string[];
      /** sha256:<64 hex digits>; absent with --insecure. */
      fingerprint?: string;
      /** A one-time ticket; absent with --insecure. */
      ticket?: string;
      /** The ready command line for the source. */
      command: string;
      store: string;
      /** Every place to which something of a VM is written, the store first, and what that is. */
      delivers: { what: string; path: string }[];
      insecure: boolean;
      /** Running VMs are accepted as well. */
      qemu: boolean;
      /** VMs of libvirt are accepted as well. */
      libvirt: boolean;
    }
  | {
      event: "session";
      session: string;
      name: string;
      side: Side;
      mode: Mode;
      /** The other side: its fingerprint, or "insecure". */
      peer: string;
      bytes: number;
      /** True if an earlier attempt of the same session is resumed. */
      resumed: boolean;
    }
  | { event: "paired"; peer: string }
  | {
      /** The other host has proven what it runs, and this host's policy for it allows that. */
      event: "attested";
      /** "" and no name where it is about no VM. */
      session: string;
      name: string;
      peer: string;
      /** Before which step. */
      moment: "offer" | "start" | "again" | "release" | "verify";
      /** Version of the policy. */
      policy: number;
      seconds: number;
    }
  | {
      /** The destination's index of its store is up to date. */
      event: "indexed";
      /** Files that were new or had changed, and the blocks in them: what was read for this update. */
      files: number;
      blocks: number;
      bytesRead: number;
      seconds: number;
    }
  | { event: "phase"; session: string; name: string; phase: Phase }
  | {
      event: "progress";
      session: string;
      name: string;
      phase: Phase;
      files: FileProgress[];
      bytes: number;
      doneBytes: number;
      /** Bytes sent (source) or received (destination) on all connections of this process. */
      wireBytes: number;
      /** Bytes that did not have to be sent: zero pages, holes, and what the destination had already. */
      savedBytes: number;
      seconds: number;
    }
  | {
      /** RAM of a running VM while it is sent: QEMU's own figures. */
      event: "ram";
      session: string;
      name: string;
      /** Passes over the dirty memory, including the first. */
      iteration: number;
      remainingBytes: number;
      transferredBytes: number;
      totalBytes: number;
      dirtyBytesPerSec: number;
      bandwidthBytesPerSec: number;
      expectedDowntimeMs: number;
      /**
       * Percentage of the guest's CPU time that QEMU withholds so that the migration converges; 0 if none.
       */
      throttlePercent: number;
    }
  /** Source only: a person has changed the move on its way; what is absent stays as it was. */
  | ({ event: "tuned"; session: string; name: string } & Tuning)
  | {
      event: "link";
      session: string;
      name: string;
      state: "lost" | "restored";
      message: string;
      attempt: number;
      retryInMs: number;
    }
  | {
      /** Destination only: nothing of the session is on its way any more. */
      event: "stopped";
      session: string;
      name: string;
      /** Given up for good, or waiting for the source to come back. */
      why: "cancelled" | "link-lost";
    }
  /** With the session that it is about and the name of its VM, where they are known. */
  | { event: "warning"; message: string; session?: string; name?: string }
  | { event: "notice"; message: string; session?: string; name?: string }
  | {
      event: "done";
      session: string;
      name: string;
      side: Side;
      mode: Mode;
      bytes: number;
      wireBytes: number;
      /** Chunks sent, counting each repetition, as `wireBytes` does. */
      chunksSent: number;
      /** Source only: bytes of data that the destination had in its store and took from there. */
      foundBytes: number;
      /** Source only: bytes of data that occur in the VM more than once, and were not sent again. */
      repeatedBytes: number;
      seconds: number;
      /** sha256:<64 hex digits> over the VM's files and streams, checked by both sides. */
      digest: string;
      /**
       * From where the destination has read back the files that it had written, before it said that it had them:
       * "none" if it has compared what arrived alone; absent if an earlier process was told.
       */
      readBack?: ReadBack;
      /** What the digest is about, as the end of a sentence; absent if it is the VM's files. */
      proven?: string;
      /** Source only: what of the VM did not move, as the person allowed. */
      leftBehind?: string[];
      /** Destination only: where the VM lies. */
      folder?: string;
      owner: Side;
      /**
       * Only for a VM that ran: from its stop at the source until the destination answered that it runs, on
       * the source's clock.
       */
      downtimeMs?: number;
      /**
       * Only for a VM under QEMU: true if it runs at the destination, false if it is paused there as it was
       * before.
       */
      runs?: boolean;
      /** Whose the VM is to run, if that is another program. */
      manager?: "libvirt";
      /** Source only: what a person changed on the way, as it was in the end; absent if nothing. */
      tuned?: Tuning;
      /** What became of the source's files. */
      after: "keep" | "rename" | "delete" | "copy";
    }
  | {
      event: "error";
      code: ErrorCode;
      side: Side;
      phase: string;
      message: string;
      hint?: string;
      /** The session that it is about and the name of its VM, where they are known. */
      session?: string;
      name?: string;
    };

export type Observer = (event: MigrationEvent) => void;
