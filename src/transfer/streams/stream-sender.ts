/**
 * A stream at the source: connects to the destination, and again whenever that connection is lost, until
 * both programs have ended it or it has been away for too long. Runs in a Worker
 * (src/stream.worker.ts).
 */
import { closeSync } from "node:fs";
import { call } from "../../channel/call.ts";
import type { FrameSocket } from "../../channel/frame-socket.ts";
import { asMigrateError, MigrateError, toPlainError } from "../../protocol/errors.ts";
import { deadlines } from "../../protocol/limits.ts";
import type { StreamCompressor } from "./stream-compressor.ts";
import { StreamEnd } from "./stream-end.ts";
import type { FromStreams, StreamRoute } from "./stream-messages.ts";
import { streamTiming } from "./stream-watch.ts";

/** How long is waited before connecting again: the first time, and at most. */
const firstDelayMs = 100;
const longestDelayMs = 2_000;
/** How long a connection may take to stand: short at first, since a lost SYN is sent again only slowly. */
const firstDialMs = 2_000;
/** How often a connection may come to a door that does not hold the stream, each time with an even chance. */
const busyTries = 200;
/** How often progress is reported. */
const progressMs = 100;

export class StreamSender {
  readonly #route: StreamRoute;
  readonly #stream: number;
  readonly #post: (message: FromStreams) => void;
  readonly #end: StreamEnd;
  readonly #closed = Promise.withResolvers<void>();
  readonly #closing = new AbortController();
  readonly #progress: Timer;
  #link: FrameSocket | undefined;
  #sentBytes = 0;
  #reported = "";

  constructor(options: {
    route: StreamRoute;
    stream: number;
    /** Of the thread. */
    compressor: StreamCompressor;
    bandwidthBytesPerSec: number | null;
    post: (message: FromStreams) => void;
  }) {
    const { route, stream, compressor, bandwidthBytesPerSec, post } = options;
    this.#route = route;
    this.#stream = stream;
    this.#post = post;
    this.#end = new StreamEnd({
      side: "source",
      stream,
      tagKey: route.tagKey,
      instance: route.instance,
      timing: route.timing ?? streamTiming,
      bandwidthBytesPerSec,
      ...(route.compression === "off" ? {} : { compressed: compressor.stream() }),
      inboundEnded: () => {},
      over: () => this.#over(),
      failed: (error) => this.#failed(error),
    });
    this.#progress = setInterval(() => this.#reportProgress(), progressMs);
  }

  /** Takes the program's descriptor over and carries the stream to its end, which it reports. Never rejects. */
  async run(fd: number): Promise<void> {
    try {
      try {
        await this.#end.local.adopt(fd);
      } catch (cause) {
        closeSync(fd);
        throw new MigrateError("qemu-failed", "a connection of the source's QEMU was gone at once", {
          side: "source",
          cause,
        });
      }
      await this.#carry();
    } catch (thrown) {
      this.#end.fail(thrown);
    }
  }

  pace(bandwidthBytesPerSec: number | null): void {
    this.#end.pace(bandwidthBytesPerSec);
  }

  /** Ends it at once; nothing more is sent or reported. */
  close(): void {
    this.#end.close();
    this.#link?.destroy();
    this.#stop();
  }

  /** Connection after connection, until the stream is closed. Throws what ends it. */
  async #carry(): Promise<void> {
    // A connection that carries nothing, however often it stands, is as good as none.
    let idleSinceMs = performance.now();
    let carriedBytes = 0;
    let opened = false;
    let delayMs = firstDelayMs;
    let dialMs = firstDialMs;
    while (!this.#end.isClosed) {
      try {
        const { lost } = await this.#connect(dialMs);
        if (this.#end.isClosed) return;
        if (opened) this.#post({ kind: "link", stream: this.#stream, state: "restored", message: "" });
        else this.#post({ kind: "opened", stream: this.#stream });
        opened = true;
        dialMs = firstDialMs;
        const why = await lost;
        if (this.#end.isClosed) return;
        if (this.#carriedBytes > carriedBytes || this.#end.outbox.unacknowledged.length === 0) {
          idleSinceMs = performance.now();
          carriedBytes = this.#carriedBytes;
          delayMs = firstDelayMs;
        } else if (performance.now() - idleSinceMs >= this.#route.retryForMs) throw why;
        this.#post({ kind: "link", stream: this.#stream, state: "lost", message: why.message });
      } catch (thrown) {
        const error = asMigrateError(thrown);
        if (error.code !== "network") throw error;
        const idleMs = performance.now() - idleSinceMs;
        if (idleMs + delayMs >= this.#route.retryForMs) throw error;
        dialMs = Math.min(dialMs * 2, deadlines.helloMs);
      }
      await Promise.race([Bun.sleep(delayMs), this.#closed.promise]);
      delayMs = Math.min(delayMs * 2, longestDelayMs);
    }
  }

  /** Bytes that the other end has handed on, and that were handed on here. */
  get #carriedBytes(): number {
    return this.#end.outbox.deliveredBytes + this.#end.inbox.handedOnBytes;
  }

  /**
   * One connection, up to WELCOME; `lost` resolves with why it went. Rejects with the MigrateError that
   * `call` rejects with: "busy" if another door still has the stream.
   */
  async #connect(timeoutMs: number): Promise<{ lost: Promise<MigrateError> }> {
    const { callee, session, token } = this.#route;
    const lost = Promise.withResolvers<MigrateError>();
    await call(callee, "stream", {
      hello: () => ({
        session,
        // The wire has one field for both kinds of token.
        laneToken: token,
        stream: this.#stream,
        received: this.#end.inbox.begin(),
      }),
      welcomed: (link, { received }) => {
        if (received === undefined) {
          throw new MigrateError("protocol", "a stream was welcomed without what has been received");
        }
        this.#end.carry(link, received);
        this.#link = link;
        return {
          frame: (name, payload) => this.#end.frame(link, name, payload),
          broken: (error) => this.#end.fail(error),
          closed: (error) => {
            this.#sentBytes += link.bytesSent;
            if (this.#link === link) this.#link = undefined;
            this.#end.uncarry(link);
            lost.resolve(error ?? new MigrateError("network", "a stream was closed by the other side"));
          },
        };
      },
      busyTries,
      timeoutMs,
      signal: this.#closing.signal,
    });
    return { lost: lost.promise };
  }

  #over(): void {
    this.#end.finish();
    this.#reportProgress();
    const { bytes, digest } = this.#end.outbox;
    const text = `sha256:${digest!.toString("hex")}`;
    this.#post({ kind: "ended", result: { stream: this.#stream, bytes, digest: text } });
    this.#stop();
  }

  #failed(error: MigrateError): void {
    this.#reportProgress();
    this.#post({ kind: "failed", stream: this.#stream, error: toPlainError(error) });
    this.#stop();
  }

  /** Nothing is reported any more, and no connection is made. */
  #stop(): void {
    clearInterval(this.#progress);
    this.#closing.abort();
    this.#closed.resolve();
  }

  #reportProgress(): void {
    const sentBytes = this.#sentBytes + (this.#link?.bytesSent ?? 0);
    const toDestination = this.#end.outbox.deliveredBytes;
    const toSource = this.#end.inbox.handedOnBytes;
    const arrivedBytes = this.#link?.sending?.acknowledgedBytes ?? 0;
    const now = `${sentBytes} ${arrivedBytes} ${toDestination} ${toSource}`;
    if (now === this.#reported) return;
    this.#reported = now;
    this.#post({ kind: "progress", stream: this.#stream, sentBytes, arrivedBytes, toDestination, toSource });
  }
}
