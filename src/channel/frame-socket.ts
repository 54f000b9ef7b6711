/**
 * Frames over one connection, TLS or plain: what both ends of every lane and control link stand on.
 *
 * Bun's sockets buffer nothing on writing (`write` returns what it took, the rest goes in `drain`)
 * and report the TLS handshake apart from `open`; both are dealt with here and nowhere else.
 */
import type { Socket } from "bun";
import { MigrateError } from "../protocol/errors.ts";
import { FrameDecoder, type FrameName, type Standing } from "../protocol/frames.ts";
import type { Pacer } from "./pacer.ts";

export interface FrameHandler {
  /** A whole frame; the payload is valid during the call only. May throw: the link is closed. */
  frame(name: FrameName, payload: Buffer): void;
  /** The link is gone; called once. Without an error the peer closed it between two frames. */
  closed(error: MigrateError | undefined): void;
}

/** RFC 8446 section 7.5, RFC 9266: what binds a proof to this very TLS connection. */
const exporterLabel = "EXPORTER-migrate-v1";

export type RawSocket = Socket<FrameSocket> & {
  getPeerCertificate?(): { fingerprint256?: string; raw?: Buffer } | undefined;
  exportKeyingMaterial?(length: number, label: string, context: Buffer): Buffer;
};

export class FrameSocket {
  /** Fingerprint of the peer's certificate; null on an insecure link. */
  peer: string | null = null;
  /** Bytes of frames sent and received; TLS adds about 0.15 %. */
  bytesSent = 0;
  bytesReceived = 0;
  /** Monotonic time of the last byte that came, in ms. */
  lastHeardMs = performance.now();
  readonly #decoder: FrameDecoder;
  #handler: FrameHandler | undefined;
  #socket: RawSocket | undefined;
  #pending: { bytes: Buffer; taken: () => void; failed: (error: MigrateError) => void }[] = [];
  #finishing = false;
  #muted = false;
  #closed = false;
  #error: MigrateError | undefined;

  constructor(standing: Standing) {
    this.#decoder = new FrameDecoder(standing, (name, payload) => this.#handler?.frame(name, payload));
  }

  /** What the peer is to us from now on; decides which frames it may send, and how long. */
  set standing(standing: Standing) {
    this.#decoder.standing = standing;
  }

  set handler(handler: FrameHandler) {
    this.#handler = handler;
  }

  get closed(): boolean {
    return this.#closed;
  }

  get remoteAddress(): string {
    return this.#socket?.remoteAddress ?? "unknown";
  }

  /** 32 bytes that only the two ends of this TLS connection can know; empty on an insecure link. */
  exporter(): Buffer {
    if (this.peer === null) return Buffer.alloc(0);
    return Buffer.from(this.#socket!.exportKeyingMaterial!(32, exporterLabel, Buffer.alloc(0)));
  }

  /**
   * Sends a whole frame. Resolves once the socket has taken every byte, after which the buffer may
   * be used again; rejects with MigrateError "network" where the link is gone.
   */
  send(bytes: Buffer): Promise<void> | undefined {
    if (this.#closed || this.#finishing || this.#socket === undefined) {
      return Promise.reject(this.#error ?? new MigrateError("network", "the connection is closed"));
    }
    this.bytesSent += bytes.length;
    let rest = bytes;
    if (this.#pending.length === 0) {
      const taken = Math.max(0, this.#socket.write(bytes));
      if (taken >= bytes.length) return undefined;
      rest = bytes.subarray(taken);
    }
    return new Promise((taken, failed) => this.#pending.push({ bytes: rest, taken, failed }));
  }

  /** As `send`, no faster than the pacer lets it. */
  async sendPaced(bytes: Buffer, pacer: Pacer): Promise<void> {
    for (let at = 0; at < bytes.length; at += pacer.sliceBytes) {
      const slice = bytes.subarray(at, at + pacer.sliceBytes);
      await pacer.admit(slice.length);
      await this.send(slice);
    }
  }

  /** Reads no more until `resume`; the peer is held back by the kernel's buffers. */
  pause(): void {
    this.#socket?.pause();
  }

  resume(): void {
    this.#socket?.resume();
  }

  /** What comes from now on is thrown away unread. */
  mute(): void {
    this.#muted = true;
  }

  /** Closes once everything given to `send` is written; says nothing about its arrival. */
  finish(): void {
    this.#finishing = true;
    if (this.#pending.length === 0) this.#socket?.shutdown();
  }

  /** Closes at once; the handler hears of `error`. */
  destroy(error?: MigrateError): void {
    if (this.#closed) return;
    this.#close(error);
    this.#socket?.terminate();
  }

  /** @internal The callbacks below are the socket's. */
  attach(socket: RawSocket): void {
    this.#socket = socket;
    socket.setNoDelay(true);
  }

  /** @internal */
  received(data: Buffer): void {
    if (this.#closed || this.#muted) return;
    this.bytesReceived += data.length;
    this.lastHeardMs = performance.now();
    try {
      this.#decoder.push(data);
    } catch (thrown) {
      const error =
        thrown instanceof MigrateError ? thrown : new MigrateError("bug", String(thrown), { cause: thrown });
      this.destroy(error);
    }
  }

  /** @internal */
  drained(): void {
    while (this.#pending.length > 0 && !this.#closed) {
      const first = this.#pending[0]!;
      const taken = Math.max(0, this.#socket!.write(first.bytes));
      if (taken < first.bytes.length) {
        first.bytes = first.bytes.subarray(taken);
        return;
      }
      this.#pending.shift();
      first.taken();
    }
    if (this.#finishing && !this.#closed) this.#socket?.shutdown();
  }

  /** @internal */
  lost(cause?: Error): void {
    if (this.#closed) return;
    const cut = !this.#decoder.atBoundary || this.#pending.length > 0;
    const error =
      cause !== undefined || cut
        ? new MigrateError("network", cause?.message ?? "the connection was cut in the middle of a message", {
            cause,
          })
        : undefined;
    this.#close(error);
  }

  #close(error: MigrateError | undefined): void {
    this.#closed = true;
    this.#error = error ?? new MigrateError("network", "the connection was closed by the other side");
    const pending = this.#pending;
    this.#pending = [];
    for (const { failed } of pending) failed(this.#error);
    this.#handler?.closed(error);
  }
}

/** What every socket does once it is open; `data` of the socket is its FrameSocket. */
export const socketCallbacks = {
  data: (socket: Socket<FrameSocket>, data: Buffer) => socket.data.received(data),
  drain: (socket: Socket<FrameSocket>) => socket.data.drained(),
  close: (socket: Socket<FrameSocket>, error?: Error) => socket.data.lost(error ?? undefined),
  error: (socket: Socket<FrameSocket>, error: Error) => socket.data.lost(error),
};
