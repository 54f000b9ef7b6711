/**
 * The streams that one door of the destination holds: each is connected to its program when a source
 * first opens it, and waits there for the source when the network is lost.
 */
import type { FrameSocket } from "../../channel/frame-socket.ts";
import { turnAway } from "../../channel/turn-away.ts";
import { MigrateError, toPlainError } from "../../protocol/errors.ts";
import type { FrameName } from "../../protocol/frames.ts";
import { limits } from "../../protocol/limits.ts";
import { encodeMessage } from "../../protocol/messages.ts";
import { software } from "../../protocol/software.ts";
import { StreamEnd } from "../streams/stream-end.ts";
import { streamTiming } from "../streams/stream-watch.ts";
import type { FromDoor, StreamGrant } from "./door-messages.ts";

/** How often it is reported how much has come. */
const progressMs = 100;

/** A stream at the destination, and the connection that waits for its program or carries it. */
export class HostedStream {
  readonly #grant: StreamGrant;
  readonly #post: (message: FromDoor) => void;
  readonly #end: StreamEnd;
  readonly #progress: Timer;
  #link: FrameSocket | undefined;
  #countedBytes = 0;
  #uncountedBytes = 0;
  /** What the source has of our bytes, by its HELLO. */
  #received = 0;
  #stands = false;
  #failure: MigrateError | undefined;

  constructor(grant: StreamGrant, post: (message: FromDoor) => void) {
    this.#grant = grant;
    this.#post = post;
    this.#end = new StreamEnd({
      side: "destination",
      stream: grant.stream,
      tagKey: grant.tagKey,
      instance: grant.instance,
      timing: streamTiming,
      bandwidthBytesPerSec: null,
      inboundEnded: () => this.#report("ended"),
      over: () => {},
      failed: (error) => {
        this.#failure = error;
        clearInterval(this.#progress);
        this.#report("failed", error);
      },
    });
    this.#progress = setInterval(() => {
      if (this.#count() > 0) this.#report("open");
    }, progressMs);
    void this.#connect();
  }

  get session(): string {
    return this.#grant.session;
  }

  /** A source has come for it, with `received` in its HELLO; a connection that was there before is closed. */
  open(link: FrameSocket, received: number): void {
    const before = this.#link;
    this.#count();
    this.#link = link;
    this.#countedBytes = 0;
    this.#received = received;
    before?.destroy(new MigrateError("network", "a newer connection took its place"));
    if (this.#failure) turnAway(link, this.#failure);
    else if (this.#stands) this.#welcome();
  }

  /** A frame that came on `link`. Throws what is wrong with it; then `broken` is to be called. */
  frame(link: FrameSocket, name: FrameName, payload: Buffer): void {
    this.#end.frame(link, name, payload);
  }

  /** What came on `link` was wrong: the stream has failed, if it was its connection. */
  broken(link: FrameSocket, error: MigrateError): void {
    if (this.#link === link) this.#fail(error);
    else link.destroy(error);
  }

  /** This connection is gone. */
  closed(link: FrameSocket): void {
    if (this.#link !== link) return;
    this.#count();
    this.#link = undefined;
    this.#end.uncarry(link);
  }

  /** Ends it at once; the peer is not told. */
  drop(): void {
    clearInterval(this.#progress);
    this.#end.close();
    this.#link?.destroy();
  }

  async #connect(): Promise<void> {
    try {
      await this.#end.local.connect(this.#grant.path);
    } catch (cause) {
      const what = `the destination's QEMU does not take stream ${this.#grant.stream}`;
      this.#fail(new MigrateError("qemu-failed", what, { side: "destination", cause }));
      return;
    }
    if (this.#end.isClosed) return;
    this.#stands = true;
    this.#report("open");
    this.#welcome();
  }

  #welcome(): void {
    const link = this.#link;
    if (link === undefined || link.closed) return;
    try {
      const received = this.#end.inbox.begin();
      const welcome = { version: limits.version, software, trusted: true, received };
      this.#end.outbox.acknowledge(this.#received);
      link.standing = "stream-destination";
      link.send(encodeMessage("welcome", welcome))?.catch(() => {});
      this.#end.carry(link, this.#received);
    } catch (thrown) {
      this.#fail(thrown);
    }
  }

  #fail(thrown: unknown): void {
    const link = this.#link;
    // A connection that waits to carry the stream is told as well.
    if (link) {
      this.#end.uncarry(link);
      turnAway(link, thrown);
    }
    this.#end.fail(thrown);
  }

  /** Bytes that came since the last report. */
  #count(): number {
    const bytesReceived = this.#link?.bytesReceived ?? 0;
    this.#uncountedBytes += Math.max(0, bytesReceived - this.#countedBytes);
    this.#countedBytes = bytesReceived;
    return this.#uncountedBytes;
  }

  #report(state: "open" | "ended" | "failed", error?: MigrateError): void {
    const { session, instance, stream } = this.#grant;
    const { handedOnBytes, digest } = this.#end.inbox;
    const bytesReceived = this.#count();
    this.#uncountedBytes = 0;
    this.#post({
      kind: "stream-state",
      session,
      instance,
      stream,
      state: state === "open" && digest !== undefined ? "ended" : state,
      bytes: handedOnBytes,
      digest: digest === undefined ? null : `sha256:${digest.toString("hex")}`,
      bytesReceived,
      error: error === undefined ? null : toPlainError(error),
    });
  }
}

export class StreamHost {
  readonly #post: (message: FromDoor) => void;
  readonly #streams = new Map<string, HostedStream>();

  constructor(post: (message: FromDoor) => void) {
    this.#post = post;
  }

  /** Lets a source in to a stream, which is begun if it was not there; `received` is of its HELLO. */
  open(grant: StreamGrant, link: FrameSocket, received: number): HostedStream {
    const key = `${grant.session} ${grant.instance} ${grant.stream}`;
    let stream = this.#streams.get(key);
    if (stream === undefined) {
      stream = new HostedStream(grant, this.#post);
      this.#streams.set(key, stream);
    }
    stream.open(link, received);
    return stream;
  }

  /** Ends and forgets the streams of a session, or all of them. */
  drop(session?: string): void {
    for (const [key, stream] of this.#streams) {
      if (session !== undefined && stream.session !== session) continue;
      stream.drop();
      this.#streams.delete(key);
    }
  }
}
