/**
 * One end of a stream: a program's connection on one side, and on the other whichever connection to the
 * peer carries the stream now. Both hosts use it; who connects, and when again, is their own business.
 */
import { peerError } from "../../channel/control-link.ts";
import type { FrameSocket } from "../../channel/frame-socket.ts";
import { Pacer } from "../../channel/pacer.ts";
import { part, turnAway } from "../../channel/turn-away.ts";
import { asMigrateError, MigrateError, type Side } from "../../protocol/errors.ts";
import type { FrameName } from "../../protocol/frames.ts";
import { limits } from "../../protocol/limits.ts";
import { decodeMessage, type MessageBody } from "../../protocol/messages.ts";
import type { CompressedStream } from "./stream-compressor.ts";
import { encodeDataAck, parseDataAck, streamKey } from "./stream-frame.ts";
import { StreamInbox } from "./stream-inbox.ts";
import { StreamLocal } from "./stream-local.ts";
import { bytesOf, type StreamFrame, StreamOutbox } from "./stream-outbox.ts";
import { type StreamTiming, StreamWatch } from "./stream-watch.ts";

/** So much is acknowledged at once, less after `ackMs`: an acknowledgement costs both hosts a wake-up. */
const ackBytes = limits.streamWindowBytes / 8;
const ackMs = 2;

/** Smaller pieces do not compress well; they are smaller only if the bandwidth does not carry one in a second. */
const compressedPieceBytes = 128 * 1024;
/** A frame's bytes up to so many are copied behind its head. */
const copiedBytes = 16 * 1024;

export interface StreamEndOptions {
  /** Whose end this is. */
  side: Side;
  stream: number;
  /** The session's tag key, and the QEMU at the destination (hex 32 of STARTED). */
  tagKey: Uint8Array;
  instance: string;
  timing: StreamTiming;
  bandwidthBytesPerSec: number | null;
  /** What compresses; absent if the peer does not take compressed frames. */
  compressed?: CompressedStream;
  /** The peer's direction has ended, checked and handed on; called before it is acknowledged. */
  inboundEnded: () => void;
  /** Both directions have ended, and the peer has ours. */
  over: () => void;
  /** The stream has failed; called once, and nothing after it. */
  failed: (error: MigrateError) => void;
}

export class StreamEnd {
  readonly inbox: StreamInbox;
  readonly outbox: StreamOutbox;
  readonly local: StreamLocal;
  readonly #options: StreamEndOptions;
  readonly #watch: StreamWatch;
  #link: FrameSocket | undefined;
  /** Frames for this connection that were not given to it yet. */
  #unsent: StreamFrame[] = [];
  #pumping = false;
  #pacer: Pacer | undefined;
  /** A frame has no more bytes of the program. */
  #pieceBytes: number = limits.dataBytes;
  #isNewsDue = false;
  #isInboundEndTold = false;
  #isClosed = false;
  #isAckWaiting = false;
  #ackTimer: Timer | undefined;

  constructor(options: StreamEndOptions) {
    this.#options = options;
    const { side, stream, tagKey, instance, timing } = options;
    const other = side === "source" ? "destination" : "source";
    this.local = new StreamLocal({
      // An error here must not look like a program that sent less.
      data: (bytes) => this.#guard(() => this.#data(bytes)),
      end: () => this.#guard(() => this.#endOfData()),
      gone: () => this.#guard(() => this.#gone()),
      drained: () =>
        this.#guard(() => {
          this.inbox.drained();
          this.#readOrNot();
        }),
    });
    this.inbox = new StreamInbox(stream, streamKey(tagKey, instance, other), this.local);
    this.outbox = new StreamOutbox(stream, streamKey(tagKey, instance, side), options.compressed);
    this.pace(options.bandwidthBytesPerSec);
    this.#watch = new StreamWatch(timing);
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  /**
   * From now on `link` carries the stream, and the one before does not; the peer has `received` of ours,
   * and was told `inbox.begin()`. Throws MigrateError "protocol" if `received` cannot be.
   */
  carry(link: FrameSocket, received: number): void {
    this.outbox.acknowledge(received);
    this.#replace(link);
    this.#unsent = this.outbox.begin();
    this.#watch.begin(link, () => this.outbox.unacknowledged.length > 0);
    this.#relieve();
    void this.#pump(link);
    this.#news();
  }

  /** This connection is gone; nothing happens if it was not the one that carries the stream. */
  uncarry(link: FrameSocket): void {
    if (this.#link !== link) return;
    this.#link = undefined;
    this.#watch.end();
  }

  /** A frame that came on `link`. Throws what is wrong with it, after which `fail` is to be called. */
  frame(link: FrameSocket, name: FrameName, payload: Buffer): void {
    if (this.#link !== link || this.#isClosed) return;
    switch (name) {
      case "data":
      case "dataZstd":
        this.inbox.data(payload, name === "dataZstd");
        this.#readOrNot();
        this.#news();
        break;
      case "dataAck":
        this.#watch.answered();
        this.outbox.acknowledge(parseDataAck(payload));
        this.#relieve();
        if (this.outbox.delivered) this.#news();
        break;
      case "dataEnd":
        this.inbox.end(payload);
        this.#news();
        break;
      case "ping":
        link.answerPing();
        break;
      case "pong":
        this.#watch.answered();
        break;
      case "error": {
        const { body } = decodeMessage("error", payload) as { body: MessageBody<"error"> };
        const error = peerError(body, this.#options.side === "source" ? "destination" : "source");
        if (error.code === "network") link.destroy(error);
        else this.#end(error);
        break;
      }
      default:
        throw new MigrateError("protocol", `a ${name} frame is not expected on a stream`);
    }
  }

  /** Sends no faster than this from now on; null for as fast as it goes. */
  pace(bandwidthBytesPerSec: number | null): void {
    if (bandwidthBytesPerSec === null) {
      this.#pacer = undefined;
      this.#pieceBytes = limits.dataBytes;
      return;
    }
    if (this.#pacer) this.#pacer.bandwidthBytesPerSec = bandwidthBytesPerSec;
    else this.#pacer = new Pacer(bandwidthBytesPerSec);
    const { sliceBytes } = this.#pacer;
    this.#pieceBytes = this.#options.compressed
      ? Math.max(sliceBytes, Math.min(compressedPieceBytes, Math.floor(bandwidthBytesPerSec)))
      : sliceBytes;
  }

  /** The stream has failed at this end: the peer is told, and the program's connection closed. */
  fail(thrown: unknown): void {
    const link = this.#link;
    if (this.#isClosed) return;
    this.#link = undefined;
    if (link && !link.closed) turnAway(link, thrown);
    this.#end(asMigrateError(thrown));
  }

  /** Nothing more is to come in either direction: sends what still waits, and closes. */
  finish(): void {
    const link = this.#link;
    this.#link = undefined;
    if (link && !link.closed) part(link);
    this.close();
  }

  /** Ends everything at once; the peer is not told. Idempotent. */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#watch.end();
    clearTimeout(this.#ackTimer);
    this.outbox.close();
    this.inbox.close();
    this.#replace(undefined);
    this.local.close();
  }

  #end(error: MigrateError): void {
    this.close();
    this.#options.failed(error);
  }

  #replace(link: FrameSocket | undefined): void {
    const before = this.#link;
    this.#link = link;
    if (before !== link) before?.destroy(new MigrateError("network", "a newer connection took its place"));
  }

  #guard(act: () => void): void {
    if (this.#isClosed) return;
    try {
      act();
      this.#news();
    } catch (thrown) {
      this.fail(thrown);
    }
  }

  #data(bytes: Buffer): void {
    const most = this.#pieceBytes;
    for (let at = 0; at < bytes.length; at += most) {
      this.#post(this.outbox.add(at === 0 && bytes.length <= most ? bytes : bytes.subarray(at, at + most)));
    }
    this.outbox.worked();
    if (!this.outbox.hasRoom) this.local.pause();
  }

  #endOfData(): void {
    if (!this.outbox.finished) this.#post(this.outbox.finish());
  }

  #gone(): void {
    this.#endOfData();
    this.inbox.broken();
  }

  /**
   * The program takes too little, and all streams together keep too much: the peer waits. Unless the program
   * waits for the peer to acknowledge.
   */
  #readOrNot(): void {
    if (this.#link !== undefined) this.#link.paused = this.inbox.isCrowding && this.outbox.hasRoom;
  }

  #relieve(): void {
    if (this.outbox.hasRoom) this.local.resume();
  }

  #post(frame: StreamFrame): void {
    const link = this.#link;
    if (link === undefined) return;
    this.#unsent.push(frame);
    if (!this.#pumping) void this.#pump(link);
  }

  /**
   * Gives the connection what it is to carry, one frame at a time, so that a frame beside the data
   * never waits behind more than one.
   */
  async #pump(link: FrameSocket): Promise<void> {
    this.#pumping = true;
    try {
      while (this.#link === link) {
        const frame = this.#unsent.shift();
        if (frame === undefined) break;
        if (this.#pacer) {
          await this.#pacer.admit(bytesOf(frame));
          if (this.#link !== link) return;
        }
        const sent = send(link, frame);
        if (sent) await sent;
      }
    } catch {
      // The link is gone, which its handler reports.
    } finally {
      if (this.#link === link) this.#pumping = false;
    }
  }

  /** Looks, once for everything that came in one read, at what is to be acknowledged and what has ended. */
  #news(): void {
    if (this.#isNewsDue) return;
    this.#isNewsDue = true;
    queueMicrotask(() => {
      this.#isNewsDue = false;
      if (this.#isClosed) return;
      if (this.inbox.ended && !this.#isInboundEndTold) {
        this.#isInboundEndTold = true;
        this.#options.inboundEnded();
      }
      const { unacknowledged } = this.inbox;
      if (this.inbox.ended || unacknowledged >= ackBytes) this.#acknowledge();
      else if (unacknowledged > 0) this.#ackTimer ??= setTimeout(() => this.#acknowledge(), ackMs);
      if (this.inbox.ended && this.outbox.delivered) this.#options.over();
    });
  }

  #acknowledge(): void {
    clearTimeout(this.#ackTimer);
    this.#ackTimer = undefined;
    // A peer that does not read is sent one acknowledgement for all, later.
    if (this.#link === undefined || this.inbox.unacknowledged === 0 || this.#isAckWaiting) return;
    const sent = this.#link.send(encodeDataAck(this.inbox.acknowledge()));
    if (sent === undefined) return;
    this.#isAckWaiting = true;
    const done = () => {
      this.#isAckWaiting = false;
      this.#news();
    };
    sent.then(done, done);
  }
}

/** Sends a frame; the promise, if there is one, resolves once the socket has its last byte. */
function send(link: FrameSocket, { head, bytes }: StreamFrame): Promise<void> | undefined {
  if (bytes === null) return link.send(head);
  // Two writes are two records and two packets; for a few bytes that costs more than to copy them.
  if (bytes.length <= copiedBytes) return link.send(Buffer.concat([head, bytes]));
  link.send(head)?.catch(() => {});
  return link.send(bytes);
}
