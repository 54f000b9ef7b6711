/** The messages between the main thread of a source and the Workers of its streams; the bytes never pass this way. */
import type { Callee } from "../../channel/call.ts";
import type { PlainError } from "../../protocol/errors.ts";
import type { Compression } from "../compression/compression.ts";
import type { StreamTiming } from "./stream-watch.ts";

/** Where a source's streams go, and how they get in. */
export interface StreamRoute {
  callee: Callee;
  session: string;
  tagKey: Uint8Array;
  /** Of STARTED (hex 32 each): which QEMU, and what lets a stream in. */
  instance: string;
  token: string;
  compression: Compression;
  /** A stream that has been without a connection for so long has failed. */
  retryForMs: number;
  /** In place of the usual ones. */
  timing?: StreamTiming | undefined;
}

/** What went to the destination on a stream: its digest as text, sha256:… */
export interface StreamResult {
  stream: number;
  bytes: number;
  digest: string;
}

/** The main thread to a Worker of streams. */
export type ToStreams =
  | { kind: "route"; route: StreamRoute; mostLevel: number }
  /** Takes the descriptor over as the program's end of the stream. */
  | { kind: "open"; stream: number; fd: number; bandwidthBytesPerSec: number | null }
  | { kind: "rate"; stream: number; bandwidthBytesPerSec: number | null }
  /** Ends everything and closes every descriptor; answered by `dropped`. */
  | { kind: "drop" };

/** A Worker of streams to the main thread. */
export type FromStreams =
  | { kind: "opened"; stream: number }
  | { kind: "link"; stream: number; state: "lost" | "restored"; message: string }
  /**
   * So far: bytes of frames sent, and bytes handed on to either program; `arrivedBytes` are what the other host's
   * kernel has of the connection that carries it now.
   */
  | {
      kind: "progress";
      stream: number;
      sentBytes: number;
      arrivedBytes: number;
      toDestination: number;
      toSource: number;
    }
  | { kind: "ended"; result: StreamResult }
  | { kind: "failed"; stream: number; error: PlainError }
  | { kind: "dropped" };
