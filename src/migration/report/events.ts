/**
 * What a running migration tells its observer. These objects are the `--json` output as they stand
 * and the only thing the terminal draws from; a field is added, never renamed.
 */
import type { ErrorCode, Side } from "../../protocol/errors.ts";
import type { Mode, Phase } from "../ownership/phases.ts";

export interface FileProgress {
  /** The file's base name at the destination. */
  file: string;
  /** Logical size in bytes. */
  bytes: number;
  /** Bytes of it that are known to be right at the destination; never goes down within a session. */
  doneBytes: number;
  /** `bytes` is a bound: what of it will come, and how often, is not known. */
  atMost?: true;
}

export type MigrationEvent =
  | {
      event: "listening";
      /** host:port, the port a real one. */
      address: string;
      /** sha256:<64 hex digits>; absent with --insecure. */
      fingerprint?: string;
      /** A one-time ticket; absent with --insecure. */
      ticket?: string;
      /** The ready command line for the source. */
      command: string;
      store: string;
      insecure: boolean;
      /** VMs that run are taken in as well. */
      qemu: boolean;
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
      /** True where an earlier attempt of the same session is taken up. */
      resumed: boolean;
    }
  | { event: "paired"; peer: string }
  | {
      /** The destination's index of its store is up to date. */
      event: "indexed";
      /** Files that were new or had changed, and the blocks in them: what was read for it just now. */
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
      /** Bytes that needed no sending: zero pages, holes, and what the destination had. */
      savedBytes: number;
      seconds: number;
    }
  | {
      /** RAM of a running VM on its way: QEMU's own figures. */
      event: "ram";
      session: string;
      name: string;
      /** Passes over the dirty memory, the first one counted. */
      iteration: number;
      remainingBytes: number;
      transferredBytes: number;
      totalBytes: number;
      dirtyBytesPerSec: number;
      bandwidthBytesPerSec: number;
      expectedDowntimeMs: number;
      /** How much of the guest's time is taken away so that it converges; 0 where none is. */
      throttlePercent: number;
    }
  | {
      event: "link";
      session: string;
      name: string;
      state: "lost" | "restored";
      message: string;
      attempt: number;
      retryInMs: number;
    }
  | { event: "warning"; message: string }
  | { event: "notice"; message: string }
  | {
      event: "done";
      session: string;
      name: string;
      side: Side;
      mode: Mode;
      bytes: number;
      wireBytes: number;
      /** Chunk payload bytes sent more than once or over again after a resume are in wireBytes too. */
      chunksSent: number;
      /** Source only: bytes of data that the destination had in its store and took from there. */
      foundBytes: number;
      /** Source only: bytes of data that the VM has more than once, and that were not sent again. */
      repeatedBytes: number;
      seconds: number;
      /** sha256:<64 hex digits> over the VM's files, checked by both sides. */
      digest: string;
      owner: Side;
      /** Of a VM that ran: from its stop on the source to the destination's word that it runs, on the source's clock. */
      downtimeMs?: number;
      /** Of a VM that came as one under QEMU: whether it runs there now, or is paused as it was before. */
      runs?: boolean;
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
      session?: string;
    };

export type Observer = (event: MigrationEvent) => void;
