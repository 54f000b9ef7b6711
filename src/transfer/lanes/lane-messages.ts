/**
 * What the main thread and its Workers say to each other. Both are ours, so nothing here is checked;
 * file contents never pass this way.
 */
import type { Credentials } from "../../channel/tls.ts";
import type { ErrorCode, Side } from "../../protocol/errors.ts";
import type { FrameName } from "../../protocol/frames.ts";
import type { Compression } from "../compression/compression.ts";
import type { FinderGrant } from "../reuse/store/block-finder.ts";
import type { LaneRoute } from "./lane-link.ts";
import type { Landing } from "./lane-spread.ts";

export interface WireError {
  code: ErrorCode;
  message: string;
  side?: Side | undefined;
}

/** The main thread to a lane of the source. */
export type ToLane =
  | ({
      kind: "start";
      tagKey: Uint8Array;
      files: { path: string; bytes: number }[];
      /** The memory of the WorkQueue from which all lanes take. */
      queue: SharedArrayBuffer;
      compression: Compression;
      /** The highest level that "auto" may choose. */
      mostLevel: number;
      /** What all lanes together may send, and the memory of their SharedPacer; null where nothing holds them back. */
      pace: { bandwidthBytesPerSec: number; memory: SharedArrayBuffer } | null;
      /** Key of the destination's index; null where chunks are sent without asking for them. */
      indexKey: Uint8Array | null;
      /** Which lane this is, and the memory of KnownPages; null where nothing is sent as a copy of something. */
      copies: { lane: number; memory: SharedArrayBuffer } | null;
    } & LaneRoute)
  /** Something was laid out in the queue. */
  | { kind: "look" }
  /** An answer to "up": the lane begins, or connects again to get another thread of the destination. */
  | { kind: "begin" }
  | { kind: "redial" }
  | { kind: "stop" };

/** A lane of the source to the main thread. */
export type FromLane =
  /** Connected, and waiting to be told how to go on. */
  | { kind: "up"; landing: Landing | null; tries: number }
  /** Chunks that are right at the destination now: places are pairs of (file, chunk). */
  | {
      kind: "right";
      places: Uint32Array;
      tags: Uint8Array;
      sentChunks: number;
      /** Bytes of data that the destination had in its store. */
      foundBytes: number;
      /** Bytes of data that it had received already, and were sent as copies. */
      repeatedBytes: number;
      bytesSent: number;
    }
  | { kind: "failed"; error: WireError }
  | { kind: "stopped"; bytesSent: number };

/** The main thread to a door of the destination. */
export type ToDoor =
  | {
      kind: "listen";
      host: string;
      port: number;
      credentials: Credentials | null;
      maxStrangers: number;
      /** Which of how many doors this is. */
      door: number;
      doors: number;
    }
  | { kind: "send"; conn: number; bytes: Uint8Array }
  | { kind: "finish"; conn: number }
  | { kind: "destroy"; conn: number }
  /** A control frame has been looked at; the door may read on. */
  | { kind: "taken"; conn: number }
  /** The peer of a control connection is trusted now. */
  | { kind: "admit"; conn: number }
  | { kind: "open-lane"; conn: number; lane: LaneGrant }
  | { kind: "drop-session"; session: string }
  | { kind: "open-stream"; conn: number; stream: StreamGrant }
  /** Closes the streams of a session, and their programs' connections, and forgets them. */
  | { kind: "drop-streams"; session: string }
  /** Answered by the same message once everything posted before it has been. */
  | { kind: "barrier"; id: number }
  | { kind: "stop" };

/** What a lane of the destination needs to know about its session. */
export interface LaneGrant {
  session: string;
  tagKey: Uint8Array;
  files: { path: string; bytes: number }[];
  /** True where the files may hold something already, so that zeros must be made. */
  used: boolean;
  /** Where the lane looks for blocks that the source describes; null where it may not describe any. */
  finder: LaneFinder | null;
}

/** What a lane looks through, and whether the store's files can share blocks with each other (reflink). */
export type LaneFinder = FinderGrant & { sharesBlocks: boolean };

/** What a stream of the destination needs to know. */
export interface StreamGrant {
  session: string;
  /** The QEMU that was started for the session (hex 32). */
  instance: string;
  stream: number;
  tagKey: Uint8Array;
  /** The unix socket on which the stream's program listens; connected to when the stream is first opened. */
  path: string;
}

/** A door of the destination to the main thread. */
export type FromDoor =
  | { kind: "listening"; port: number }
  | { kind: "listen-failed"; code: string; message: string }
  | {
      kind: "control";
      conn: number;
      peer: string | null;
      exporter: Uint8Array;
      remote: string;
      session: string | null;
      attempt: number;
    }
  | {
      kind: "lane";
      conn: number;
      peer: string | null;
      remote: string;
      session: string;
      laneToken: string;
    }
  /** A source asks for a stream; `laneToken` is the streamToken of STARTED. */
  | {
      kind: "stream";
      conn: number;
      peer: string | null;
      remote: string;
      session: string;
      laneToken: string;
      stream: number;
    }
  /** How a stream fares. Of the source's direction: what was handed on, and once it has ended its digest. */
  | {
      kind: "stream-state";
      session: string;
      instance: string;
      stream: number;
      state: "open" | "ended" | "failed";
      bytes: number;
      digest: string | null;
      /** Bytes that came over the network since this was last said. */
      bytesReceived: number;
      error: WireError | null;
    }
  | { kind: "frame"; conn: number; name: FrameName; payload: Uint8Array }
  | { kind: "closed"; conn: number; error: WireError | null }
  | { kind: "chunks"; session: string; places: Uint32Array; tags: Uint8Array; bytesReceived: number }
  | { kind: "lane-failed"; session: string; error: WireError }
  | { kind: "barrier"; id: number }
  | { kind: "rejected"; remote: string; error: WireError }
  | { kind: "stopped" };
