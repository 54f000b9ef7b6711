/**
 * A stream at the source: connects to the destination, and again whenever that connection is lost, until
 * both programs have said their last or it has been away for too long. Runs in a Worker
 * (src/stream.worker.ts).
 */
import { closeSync } from "node:fs";
import { peerError } from "../../channel/control-link.ts";
import { dial } from "../../channel/dial.ts";
import type { FrameSocket } from "../../channel/frame-socket.ts";
import { asMigrateError, MigrateError } from "../../protocol/errors.ts";
import { deadlines, limits } from "../../protocol/limits.ts";
import { decodeMessage, encodeMessage, type MessageBody } from "../../protocol/messages.ts";
import type { StreamCompressor } from "./stream-compressor.ts";
import { StreamEnd } from "./stream-end.ts";
import type { FromStreams, StreamRoute } from "./stream-messages.ts";
import type { StreamTiming } from "./stream-watch.ts";

/** How long is waited before connecting again: the first time, and at most. */
const firstDelayMs = 100;
const longestDelayMs = 2_000;
/** How long a connection may take to stand: short at first, since a lost SYN is sent again only slowly. */
const firstDialMs = 2_000;
/** How often another door of the destination may have been met in a row, each with an even chance. */
const mostBusy = 200;
/** How often progress is told. */
const progressMs = 100;

export class StreamSender {
  readonly #route: StreamRoute;
  readonly #stream: number;
  readonly #post: (message: FromStreams) => void;
  readonly #end: StreamEnd;
  readonly #closed = Promise.withResolvers<void>();
  readonly #progress: Timer;
  #link: FrameSocket | undefined;
  #sentBytes = 0;
  #told = "";

  constructor(options: {
    route: StreamRoute;
    stream: number;
    timing: StreamTiming;
    /** Of the thread. */
    compressor: StreamCompressor;
    bandwidthBytesPerSec: number | null;
    post: (message: FromStreams) => void;
  }) {
    const { route, stream, timing, compressor, bandwidthBytesPerSec, post } = options;
    this.#route = route;
    this.#stream = stream;
    this.#post = post;
    this.#end = new StreamEnd({
      side: "source",
      stream,
      tagKey: route.tagKey,
      instance: route.instance,
      timing,
      bandwidthBytesPerSec,
      ...(route.compression === "off" ? {} : { compressed: compressor.stream() }),
      inboundEnded: () => {},
      over: () => this.#over(),
      failed: (error) => this.#failed(error),
    });
    this.#progress = setInterval(() => this.#tell(), progressMs);
  }

  /** Takes the program's descriptor over and carries the stream to its end; says how that went. Never rejects. */
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

  pace(bandwidthBytesPerSec: number): void {
    this.#end.pace(bandwidthBytesPerSec);
  }

  /** Ends it at once; nothing more is said. */
  close(): void {
    clearInterval(this.#progress);
    this.#end.close();
    this.#link?.destroy();
    this.#closed.resolve();
  }

  /** Connection after connection, until the stream is closed; throws what it cannot go on after. */
  async #carry(): Promise<void> {
    let lostAtMs = performance.now();
    let opened = false;
    let busy = 0;
    let delayMs = firstDelayMs;
    let dialMs = firstDialMs;
    while (!this.#end.isClosed) {
      try {
        const { lost } = await this.#connect(dialMs);
        if (this.#end.isClosed) return;
        if (opened) this.#post({ kind: "link", stream: this.#stream, state: "restored", message: "" });
        else this.#post({ kind: "opened", stream: this.#stream });
        opened = true;
        busy = 0;
        delayMs = firstDelayMs;
        dialMs = firstDialMs;
        const why = await lost;
        if (this.#end.isClosed) return;
        lostAtMs = performance.now();
        this.#post({ kind: "link", stream: this.#stream, state: "lost", message: why.message });
      } catch (thrown) {
        const error = asMigrateError(thrown);
        if (error.code === "busy" && ++busy <= mostBusy) continue;
        if (error.code !== "network") throw error;
        const awayMs = performance.now() - lostAtMs;
        if (awayMs + delayMs >= this.#route.retryForMs) throw error;
        dialMs = Math.min(dialMs * 2, deadlines.helloMs);
      }
      await Promise.race([Bun.sleep(delayMs), this.#closed.promise]);
      delayMs = Math.min(delayMs * 2, longestDelayMs);
    }
  }

  /**
   * One connection, up to WELCOME; `lost` resolves with why it went. Rejects with MigrateError
   * "network", "busy" where another door has the stream, or what the destination refused it with.
   */
  async #connect(timeoutMs: number): Promise<{ lost: Promise<MigrateError> }> {
    const { host, port, credentials, peer, session, streamToken } = this.#route;
    const link = await dial({
      host,
      port,
      credentials: credentials ?? undefined,
      standing: "stream-source",
      checkPeer: (fingerprint) =>
        fingerprint === peer
          ? null
          : new MigrateError(
              "wrong-identity",
              `another host answered at ${host}:${port}, with ${fingerprint}`,
            ),
      timeoutMs,
    });
    this.#link = link;
    const lost = Promise.withResolvers<MigrateError>();
    const welcomed = Promise.withResolvers<void>();
    let isIn = false;
    link.handler = {
      frame: (name, payload) => {
        if (isIn) {
          this.#end.frame(link, name, payload);
        } else if (name === "welcome") {
          const { body } = decodeMessage("welcome", payload) as { body: MessageBody<"welcome"> };
          if (body.received === undefined) {
            throw new MigrateError("protocol", "a stream was welcomed without what has been received");
          }
          this.#end.carry(link, body.received);
          isIn = true;
          welcomed.resolve();
        } else if (name === "error") {
          const { body } = decodeMessage("error", payload) as { body: MessageBody<"error"> };
          welcomed.reject(peerError(body, "destination"));
          link.destroy();
        } else {
          throw new MigrateError("protocol", `a ${name} frame came before a stream was welcomed`);
        }
      },
      broken: (error) => {
        welcomed.reject(error);
        this.#end.fail(error);
      },
      closed: (error) => {
        const why = error ?? new MigrateError("network", "a stream was closed by the other side");
        this.#sentBytes += link.bytesSent;
        if (this.#link === link) this.#link = undefined;
        this.#end.uncarry(link);
        welcomed.reject(why);
        lost.resolve(why);
      },
    };
    if (this.#end.isClosed) link.destroy();
    const hello = {
      version: limits.version,
      role: "stream" as const,
      software: "migrate",
      session,
      laneToken: streamToken,
      stream: this.#stream,
      received: this.#end.inbox.begin(),
    };
    link.send(encodeMessage("hello", hello))?.catch(() => {});
    const late = setTimeout(
      () => link.destroy(new MigrateError("network", "a stream was accepted and never welcomed")),
      deadlines.helloMs,
    );
    try {
      await welcomed.promise;
    } finally {
      clearTimeout(late);
    }
    return { lost: lost.promise };
  }

  #over(): void {
    this.#end.finish();
    this.#tell();
    clearInterval(this.#progress);
    const { bytes, digest } = this.#end.outbox;
    const text = `sha256:${digest!.toString("hex")}`;
    this.#post({ kind: "ended", result: { stream: this.#stream, bytes, digest: text } });
    this.#closed.resolve();
  }

  #failed(error: MigrateError): void {
    this.#tell();
    clearInterval(this.#progress);
    const { code, message, side } = error;
    this.#post({ kind: "failed", stream: this.#stream, error: { code, message, side } });
    this.#closed.resolve();
  }

  #tell(): void {
    const sentBytes = this.#sentBytes + (this.#link?.bytesSent ?? 0);
    const toDestination = this.#end.outbox.deliveredBytes;
    const toSource = this.#end.inbox.handedOnBytes;
    const now = `${sentBytes} ${toDestination} ${toSource}`;
    if (now === this.#told) return;
    this.#told = now;
    this.#post({ kind: "progress", stream: this.#stream, sentBytes, toDestination, toSource });
  }
}
