/**
 * A control connection: messages in order, errors as errors, and a heartbeat that tells a silent
 * peer from a dead link. The same on both sides; only what carries the frames differs (a socket
 * here, a door's Worker there).
 */

import { isErrorCode, MigrateError, type Side } from "../protocol/errors.ts";
import type { FrameName } from "../protocol/frames.ts";
import { deadlines } from "../protocol/limits.ts";
import {
  decodeMessage,
  encodeError,
  encodeMessage,
  isMessageName,
  type Message,
  type MessageBody,
  type MessageName,
} from "../protocol/messages.ts";
import { printable } from "../protocol/printable.ts";
import type { DeliveryWatch } from "./delivery-watch.ts";

export interface ControlTransport {
  send(frame: Buffer): void;
  /** Resolves once the connection has taken all that was sent; absent if nobody sends much here. */
  flushed?(): Promise<void>;
  /** Closes after what was sent. */
  finish(): void;
  destroy(): void;
  /** Monotonic time of the last byte that came, in ms; absent if only whole frames are known of. */
  lastReceivedMs?(): number;
  /** Whether what is sent arrives; absent if that is not known. */
  delivery?: Pick<DeliveryWatch, "look" | "answered">;
}

export interface HeartbeatTiming {
  pingMs: number;
  silenceMs: number;
  /** How long the peer may take over an answer, in place of `answerMs` of the link. */
  answerMs?: number;
}

/** More messages than this waiting to be looked at means a peer that does not keep to the protocol. */
const mostWaiting = 64;

export class ControlLink {
  /** Called for each INVENTORY frame as it comes; the payload is valid during the call only. */
  onInventory: ((payload: Buffer) => void) | undefined;
  /** How long the peer may take over an answer, in milliseconds; undefined: as long as it shows life. */
  answerMs: number | undefined;
  readonly #transport: ControlTransport;
  readonly #peerSide: Side;
  readonly #timing: HeartbeatTiming;
  readonly #queue: Message[] = [];
  readonly #heartbeat: Timer;
  #waiting: { resolve: (message: Message) => void; reject: (error: MigrateError) => void } | undefined;
  #error: MigrateError | undefined;
  #lastReceivedMs = performance.now();
  #lastSentMs = performance.now();
  /** What is done while the peer takes what it is told. */
  #onTaken: (() => void) | undefined;
  readonly #closeListeners = new Set<(error: MigrateError) => void>();

  constructor(transport: ControlTransport, peerSide: Side, timing: HeartbeatTiming = deadlines) {
    this.#transport = transport;
    this.#peerSide = peerSide;
    this.#timing = timing;
    this.#heartbeat = setInterval(
      () => {
        const nowMs = performance.now();
        const heardMs = Math.max(this.#lastReceivedMs, this.#transport.lastReceivedMs?.() ?? 0);
        if (nowMs - heardMs > timing.silenceMs) {
          this.destroy(
            new MigrateError("network", `heard nothing for ${Math.round(timing.silenceMs / 1000)} s`),
          );
          return;
        }
        const undelivered = this.#transport.delivery?.look(false, nowMs) ?? null;
        // Where nothing is heard either, it is the silence that ends it.
        if (undelivered !== null && nowMs - heardMs < timing.silenceMs / 2) this.destroy(undelivered);
        else if (nowMs - this.#lastSentMs >= timing.pingMs) {
          this.send("ping", {});
        }
      },
      Math.max(10, timing.pingMs / 2),
    );
  }

  get closed(): boolean {
    return this.#error !== undefined;
  }

  /**
   * Called once when the link is gone; at once if it is gone already. Returns what takes the listener back, for one
   * that is of use for a while only: a link may live long.
   */
  onClosed(listener: (error: MigrateError) => void): () => void {
    if (this.#error) listener(this.#error);
    else this.#closeListeners.add(listener);
    return () => this.#closeListeners.delete(listener);
  }

  /**
   * The peer is there, as another connection with it shows: on a slow link what is said here waits its turn behind
   * bulk data.
   */
  alive(): void {
    this.#lastReceivedMs = performance.now();
    this.#transport.delivery?.answered();
  }

  /** The peer takes what it is told, however slowly. */
  taken(): void {
    this.#onTaken?.();
  }

  send<N extends MessageName>(name: N, body: MessageBody<N>): void {
    this.sendFrame(encodeMessage(name, body));
  }

  sendFrame(frame: Buffer): void {
    if (this.#error) return;
    this.#lastSentMs = performance.now();
    this.#transport.send(frame);
  }

  /**
   * Resolves once the connection has taken what was sent, so that what is long can be sent piece by piece. Rejects
   * with the MigrateError that the link ends with; a peer that takes nothing for too long is one that is gone.
   */
  async flushed(): Promise<void> {
    if (this.#error) throw this.#error;
    const gone = Promise.withResolvers<never>();
    const takeBack = this.onClosed(gone.reject);
    const { silenceMs } = this.#timing;
    const unread = new MigrateError("network", "the other side does not read what it is told");
    const timer = setTimeout(() => this.destroy(unread), silenceMs);
    this.#onTaken = () => void timer.refresh();
    try {
      await Promise.race([this.#transport.flushed?.(), gone.promise]);
    } finally {
      takeBack();
      this.#onTaken = undefined;
      clearTimeout(timer);
    }
  }

  /**
   * The next message. Throws what the peer reported by ERROR, as an error of its side, or
   * MigrateError "network" once the link is gone, or no answer came in time (`answerMs`).
   */
  receive(): Promise<Message> {
    const next = this.#queue.shift();
    if (next) return Promise.resolve(next);
    if (this.#error) return Promise.reject(this.#error);
    const answer = Promise.withResolvers<Message>();
    this.#waiting = answer;
    return this.#inTime(answer.promise);
  }

  /** The next message, which must be one of `names`; anything else breaks the protocol. */
  async expect<N extends MessageName>(...names: N[]): Promise<Extract<Message, { name: N }>> {
    const message = await this.receive();
    if ((names as string[]).includes(message.name)) return message as Extract<Message, { name: N }>;
    throw new MigrateError("protocol", `expected ${names.join(" or ")}, got ${message.name}`, {
      side: this.#peerSide,
    });
  }

  /** A frame that came. Throws MigrateError "protocol" if it breaks the protocol. */
  deliver(name: FrameName, payload: Buffer): void {
    if (this.#error) return;
    this.#lastReceivedMs = performance.now();
    if (name === "inventory") {
      if (this.onInventory === undefined) throw new MigrateError("protocol", "tags came unasked");
      this.onInventory(payload);
      return;
    }
    if (!isMessageName(name)) throw new MigrateError("protocol", `a ${name} frame on a control connection`);
    const message = decodeMessage(name, payload);
    switch (message.name) {
      case "ping":
        this.send("pong", {});
        return;
      case "pong":
        return;
      case "error":
        this.#close(peerError(message.body, this.#peerSide));
        this.#transport.destroy();
        return;
    }
    if (this.#waiting) {
      const { resolve } = this.#waiting;
      this.#waiting = undefined;
      resolve(message);
    } else if (this.#queue.push(message) > mostWaiting) {
      throw new MigrateError("protocol", "too many messages at once");
    }
  }

  async #inTime(answer: Promise<Message>): Promise<Message> {
    const ms = this.#timing.answerMs ?? this.answerMs;
    if (this.answerMs === undefined || ms === undefined) return await answer;
    const late = setTimeout(() => {
      this.destroy(new MigrateError("network", `no answer came within ${Math.round(ms / 1000)} s`));
    }, ms);
    try {
      return await answer;
    } finally {
      clearTimeout(late);
    }
  }

  /** The transport lost the peer. */
  lost(error?: MigrateError): void {
    this.#close(error ?? new MigrateError("network", "the connection was closed by the other side"));
  }

  /** Tells the peer about `thrown` and closes. */
  fail(thrown: unknown): void {
    if (this.#error) return;
    this.#transport.send(encodeError(thrown));
    this.#transport.finish();
    this.#close(
      thrown instanceof MigrateError ? thrown : new MigrateError("bug", String(thrown), { cause: thrown }),
    );
  }

  /** Closes after what was sent. */
  finish(): void {
    if (this.#error) return;
    this.#transport.finish();
    this.#close(new MigrateError("network", "the connection is closed"));
  }

  destroy(error: MigrateError): void {
    if (this.#error) return;
    this.#close(error);
    this.#transport.destroy();
  }

  #close(error: MigrateError): void {
    if (this.#error) return;
    this.#error = error;
    clearInterval(this.#heartbeat);
    this.#waiting?.reject(error);
    this.#waiting = undefined;
    for (const listener of this.#closeListeners) listener(error);
    this.#closeListeners.clear();
  }
}

/** Codes for errors of a host's own: from a peer they would blame this host, down to its exit code. */
const notForPeers: ReadonlySet<string> = new Set([
  "usage",
  "file-unusable",
  "interrupted",
  "passphrase-wrong",
  "wrong-identity",
  "not-owner",
]);

/** What a peer reported, as an error on its side; a code that no peer may use is a protocol error. */
export function peerError(body: { code: string; message: string }, side: Side): MigrateError {
  // A peer's text goes to a terminal.
  const message = printable(body.message, " ");
  const code = isErrorCode(body.code) && !notForPeers.has(body.code) ? body.code : "protocol";
  return new MigrateError(code, message, { side });
}
