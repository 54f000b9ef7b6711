/** The messages between the main thread of a destination and its doors. Both are ours, so nothing here is checked. */
import type { ListenAddress } from "../../channel/address.ts";
import type { Credentials } from "../../channel/tls.ts";
import type { PlainError } from "../../protocol/errors.ts";
import type { FrameName } from "../../protocol/frames.ts";
import type { LaneGrant } from "../landing/lane-grant.ts";
import type { TaggedFile } from "../landing/read-tags.ts";
import type { FromReceivingLane } from "../lanes/lane-messages.ts";

/** The main thread to a door of the destination. */
export type ToDoor =
  | {
      kind: "listen";
      places: readonly ListenAddress[];
      credentials: Credentials | null;
      maxStrangers: number;
      /** A connection with a higher descriptor is closed at once. */
      mostDescriptor: number;
      /** Which of how many doors this is. */
      door: number;
      doors: number;
    }
  | { kind: "send"; conn: number; bytes: Uint8Array }
  /** Answered by "flushed" once the connection has taken all that was sent on it. */
  | { kind: "flush"; conn: number }
  | { kind: "finish"; conn: number }
  | { kind: "destroy"; conn: number }
  /** A control frame, or the chunks of a lane, have been looked at; the door may read on. */
  | { kind: "taken"; conn: number }
  /** The peer of a control connection is trusted now. */
  | { kind: "admit"; conn: number }
  | { kind: "open-lane"; conn: number; lane: LaneGrant }
  | { kind: "drop-session"; session: string }
  | { kind: "open-stream"; conn: number; stream: StreamGrant }
  /** Closes the streams of a session, and their programs' connections, and forgets them. */
  | { kind: "drop-streams"; session: string }
  /** The addresses from which trusted peers have come, in place of those that were told before. */
  | { kind: "known"; addresses: readonly string[] }
  /** Reads chunks of a file, and answers with their tags (`read-tags`). */
  | { kind: "read-tags"; id: number; tagged: TaggedFile; first: number; count: number }
  /** Answered by the same message once everything posted before it has been. */
  | { kind: "barrier"; id: number }
  | { kind: "stop" };

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
  | { kind: "listening" }
  | { kind: "listen-failed"; place: ListenAddress; code: string; message: string }
  | {
      kind: "control";
      conn: number;
      peer: string | null;
      exporter: Uint8Array;
      remote: string;
      session: string | null;
      attempt: number;
      /** How far the source has seen this host; null if it gives no receipts. */
      receipts: { seen: number } | null;
    }
  | {
      kind: "lane";
      conn: number;
      peer: string | null;
      remote: string;
      session: string;
      laneToken: string;
    }
  /** A source asks for a stream; `token` came in the laneToken of its HELLO, and is right if STARTED gave it out. */
  | {
      kind: "stream";
      conn: number;
      peer: string | null;
      remote: string;
      session: string;
      token: string;
      stream: number;
    }
  /** The tags of the chunks that were asked for, one after the other; null if the file cannot be read. */
  | {
      kind: "tags-read";
      id: number;
      tags: Uint8Array | null;
      error: { code: string; message: string } | null;
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
      /** Bytes that came over the network since the last message of this kind. */
      bytesReceived: number;
      error: PlainError | null;
    }
  | { kind: "frame"; conn: number; name: FrameName; payload: Uint8Array }
  | { kind: "flushed"; conn: number }
  /** Less than a frame may have come, or gone, on a lane or a stream of the session, or on a control connection (null). */
  | { kind: "moving"; conn: number; session: string | null; came: boolean; went: boolean }
  | { kind: "closed"; conn: number; error: PlainError | null }
  | Exclude<FromReceivingLane, { kind: "chunks" }>
  /** Answered by "taken". */
  | (Extract<FromReceivingLane, { kind: "chunks" }> & { conn: number })
  | { kind: "barrier"; id: number }
  | { kind: "rejected"; remote: string; error: PlainError }
  | { kind: "stopped" };
