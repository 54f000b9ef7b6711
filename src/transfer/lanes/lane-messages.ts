/**
 * The messages between the main thread and the Workers of its lanes. Both are ours, so nothing here is
 * checked; file contents never pass this way.
 */
import type { PlainError } from "../../protocol/errors.ts";
import type { ReadFile } from "../chunks/chunk-reader.ts";
import type { Compression } from "../compression/compression.ts";
import type { LaneRoute } from "./lane-link.ts";
import type { Landing } from "./lane-spread.ts";

/** The main thread to a lane of the source. */
export type ToLane =
  | ({
      kind: "start";
      tagKey: Uint8Array;
      /** Their descriptors are the pool's (LentFiles): a lane reads through them until it has answered "drop". */
      files: ReadFile[];
      /** The memory of the WorkQueue from which all lanes take. */
      queue: SharedArrayBuffer;
      compression: Compression;
      /** The highest level that "auto" may choose. */
      mostLevel: number;
      /** The memory of the lanes' SharedPacer: what all of them together may send. */
      pace: SharedArrayBuffer;
      /** Key of the destination's index; null if chunks are sent without asking for them. */
      indexKey: Uint8Array | null;
      /** Which lane this is, and the memory of KnownPages; null if all data is sent, repeated or not. */
      repeats: { lane: number; memory: SharedArrayBuffer } | null;
    } & LaneRoute)
  /** Something was laid out in the queue. */
  | { kind: "look" }
  /** An answer to "up": the lane begins, or connects again to get another thread of the destination. */
  | { kind: "begin" }
  | { kind: "redial" }
  /** Ends everything at once, and gives the descriptors back by "dropped". */
  | { kind: "drop" };

/** A lane of the source to the main thread. */
export type FromLane =
  /** Connected; waits for "begin" or "redial". */
  | { kind: "up"; landing: Landing | null; tries: number }
  /** Something of what was sent has arrived there, be it less than a chunk. */
  | { kind: "moving" }
  /** Chunks that the destination has, checked and written, or had already: places are pairs of (file, chunk). */
  | {
      kind: "confirmed";
      places: Uint32Array;
      tags: Uint8Array;
      sentChunks: number;
      /** Bytes of data that the destination had in its store. */
      foundBytes: number;
      /** Bytes of data that repeat what it had received, and were not sent. */
      repeatedBytes: number;
      bytesSent: number;
    }
  | { kind: "failed"; error: PlainError }
  /** Nothing is read any more: the descriptors are given back. */
  | { kind: "dropped" };

/** A lane of the destination to the main thread. */
export type FromReceivingLane =
  /** Chunks that are checked and written: places are pairs of (file, chunk). */
  | { kind: "chunks"; session: string; places: Uint32Array; tags: Uint8Array; bytesReceived: number }
  | { kind: "lane-failed"; session: string; error: PlainError };
