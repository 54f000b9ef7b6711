/**
 * The streams of one QEMU that was started at the destination, for the main thread: who may
 * open one, which door holds it, and how each of them ended.
 */
import { timingSafeEqual } from "node:crypto";
import { MigrateError } from "../../protocol/errors.ts";
import { encodeError } from "../../protocol/messages.ts";
import type { StreamResult } from "../streams/stream-messages.ts";
import type { FromDoor } from "./door-messages.ts";
import type { DoorPool } from "./door-pool.ts";
import { laneRefused } from "./lane-refusal.ts";

type Asked = Extract<FromDoor, { kind: "stream" }>;
type State = Extract<FromDoor, { kind: "stream-state" }>;

export interface ArrivingStreamsOptions {
  session: string;
  /** The source that the session belongs to: its fingerprint, or `insecure`. */
  peer: string;
  /** Of STARTED, hex 32 each: this QEMU, and the word that lets a stream in. */
  instance: string;
  token: string;
  tagKey: Uint8Array;
  doors: Pick<DoorPool, "post" | "postAll">;
  /** The unix socket of a stream's program; null if there is no such stream. */
  path: (stream: number) => string | null;
  /** A stream has failed; what comes of the others is worth nothing then. Called once. */
  failed: (error: MigrateError) => void;
  /** Bytes of frames that came over the network since the last call, and bytes that QEMU was handed, of a stream. */
  received: (wireBytes: number, handedOnBytes: number, stream: number) => void;
}

interface Arriving {
  /** The door that holds it, from its first opening on. */
  door: number;
  handedOnBytes: number;
  result: StreamResult | undefined;
}

interface Waiting {
  streams: readonly number[];
  done: PromiseWithResolvers<void>;
  timer: Timer;
}

export class ArrivingStreams {
  readonly #options: ArrivingStreamsOptions;
  readonly #streams = new Map<number, Arriving>();
  readonly #waiting = new Set<Waiting>();
  #failure: MigrateError | undefined;
  #isDropped = false;

  constructor(options: ArrivingStreamsOptions) {
    this.#options = options;
  }

  /**
   * A source asks for a stream: it is let in, sent to the door that holds the stream (`busy`), or turned
   * away, for whatever reason with the same `policy`. A source that was let in is told why the streams failed.
   */
  admit(door: number, message: Asked): void {
    const { doors, session, instance, tagKey } = this.#options;
    const path = this.#pathFor(message);
    const refuse = (error: MigrateError) => {
      doors.post(door, { kind: "send", conn: message.conn, bytes: encodeError(error) });
      doors.post(door, { kind: "finish", conn: message.conn });
    };
    const known = this.#streams.get(message.stream);
    if (path === null) refuse(laneRefused());
    else if (this.#failure) refuse(this.#failure);
    else if (known !== undefined && known.door !== door) refuse(elsewhere());
    else {
      if (known === undefined)
        this.#streams.set(message.stream, { door, handedOnBytes: 0, result: undefined });
      const stream = { session, instance, stream: message.stream, tagKey, path };
      doors.post(door, { kind: "open-stream", conn: message.conn, stream });
    }
  }

  /** What a door reports of a stream; a report about another QEMU's is ignored. */
  receive(door: number, message: State): void {
    const { session, instance } = this.#options;
    if (message.session !== session || message.instance !== instance || this.#isDropped) return;
    const stream = this.#streams.get(message.stream);
    if (stream === undefined || stream.door !== door) return;
    const handedOnBytes = message.bytes - stream.handedOnBytes;
    stream.handedOnBytes = message.bytes;
    if (message.bytesReceived > 0 || handedOnBytes > 0) {
      this.#options.received(message.bytesReceived, handedOnBytes, message.stream);
    }
    if (message.state === "ended" && message.digest !== null && stream.result === undefined) {
      stream.result = { stream: message.stream, bytes: message.bytes, digest: message.digest };
      this.#wake();
    }
    if (message.state === "failed" && this.#failure === undefined) {
      const { code, message: text, side } = message.error ?? { code: "bug", message: "a stream failed" };
      this.#failure = new MigrateError(code, text, { side: side ?? "destination" });
      this.#wake();
      this.#options.failed(this.#failure);
    }
  }

  /** The source's direction of each stream that has ended, in the order of their numbers. */
  results(): StreamResult[] {
    const results = [...this.#streams.values()].flatMap(({ result }) => result ?? []);
    return results.sort((one, other) => one.stream - other.stream);
  }

  /**
   * Resolves once the source's direction of all of these has ended. Rejects with the MigrateError of the
   * first stream that fails, with "integrity" after `timeoutMs`, with "cancelled" once they are dropped.
   */
  allEnded(streams: readonly number[], timeoutMs: number): Promise<void> {
    const done = Promise.withResolvers<void>();
    const waiting: Waiting = {
      streams,
      done,
      timer: setTimeout(() => {
        this.#waiting.delete(waiting);
        const missing = streams.filter((stream) => this.#streams.get(stream)?.result === undefined);
        done.reject(
          new MigrateError("integrity", `streams have not come to their end: ${missing.join(", ")}`, {
            side: "destination",
          }),
        );
      }, timeoutMs),
    };
    this.#waiting.add(waiting);
    this.#wake();
    return done.promise;
  }

  /** Closes and forgets them all, at every door. Idempotent. */
  drop(): void {
    if (this.#isDropped) return;
    this.#isDropped = true;
    this.#failure ??= new MigrateError("cancelled", "the streams were closed", { side: "destination" });
    this.#options.doors.postAll({ kind: "drop-streams", session: this.#options.session });
    this.#wake();
  }

  #wake(): void {
    for (const waiting of [...this.#waiting]) {
      const isOver = waiting.streams.every((stream) => this.#streams.get(stream)?.result !== undefined);
      if (!isOver && this.#failure === undefined) continue;
      this.#waiting.delete(waiting);
      clearTimeout(waiting.timer);
      if (this.#failure) waiting.done.reject(this.#failure);
      else waiting.done.resolve();
    }
  }

  /** Where the stream that is asked for leads; null for one who may not have it. */
  #pathFor({ peer, session, token, stream }: Asked): string | null {
    const expected = Buffer.from(this.#options.token, "hex");
    const given = Buffer.from(token, "hex");
    const holds = given.length === expected.length && timingSafeEqual(given, expected);
    const isOurs = session === this.#options.session && (peer ?? "insecure") === this.#options.peer;
    return holds && isOurs && !this.#isDropped ? this.#options.path(stream) : null;
  }
}

function elsewhere(): MigrateError {
  return new MigrateError("busy", "another part of this host holds the stream; connect again", {
    side: "destination",
  });
}
