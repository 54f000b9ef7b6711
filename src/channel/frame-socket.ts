/**
 * Frames over one connection, TLS or plain: what both ends of every lane and control link stand on.
 *
 * Bun's sockets buffer nothing on writing (`write` returns what it took, the rest goes in `drain`)
 * and report the TLS handshake apart from `open`; both are dealt with here and nowhere else.
 */
import type { Socket } from "bun";
import { type TcpSending, tcpSending } from "../platform/tcp-sending.ts";
import { unixWaitingBytes } from "../platform/unix-sending.ts";
import { MigrateError } from "../protocol/errors.ts";
import { FrameDecoder, type FrameName, type Standing } from "../protocol/frames.ts";
import { encodeMessage } from "../protocol/messages.ts";
import { plainAddress } from "./address-group.ts";
import type { Pace } from "./pacer.ts";

export interface FrameHandler {
  /** A whole frame; the payload is valid during the call only. May throw: the link is closed. */
  frame(name: FrameName, payload: Buffer): void;
  /** The link is gone; called once. Without an error the peer closed it between two frames. */
  closed(error: MigrateError | undefined): void;
  /**
   * What came is no frame, or `frame` threw: the peer may still be told why. Nothing that comes after is
   * looked at. If this is absent the link is destroyed.
   */
  broken?(error: MigrateError): void;
}

/** More than this waiting to be written to a peer means that it does not read; then we do not either. */
const cloggedBytes = 1024 * 1024;
/** What a frame that waits costs beside its bytes, about. */
const waitingBytes = 256;

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
  lastReceivedMs = performance.now();
  readonly #decoder: FrameDecoder;
  #handler: FrameHandler | undefined;
  #socket: RawSocket | undefined;
  #remote: string | undefined;
  #pending: { bytes: Buffer; taken: () => void; failed: (error: MigrateError) => void }[] = [];
  #pendingBytes = 0;
  #holdsBack = false;
  #clogged = false;
  #paused = false;
  #isPongWaiting = false;
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

  /**
   * Makes this end read nothing while the peer leaves unread what it was told, so that a flood of
   * questions cannot pile up answers. Not for an end that sends in bulk: two such would wait for each
   * other.
   */
  holdBack(): void {
    this.#holdsBack = true;
  }

  get closed(): boolean {
    return this.#closed;
  }

  get remoteAddress(): string {
    return this.#remote ?? plainAddress(this.#socket?.remoteAddress ?? "unknown");
  }

  /** True in the middle of a frame that comes. */
  get isMidFrame(): boolean {
    return !this.#decoder.atBoundary;
  }

  /** Bytes of what was sent that the kernel has not taken yet, about. */
  get untakenBytes(): number {
    return this.#pendingBytes;
  }

  /** Bytes that the kernel has taken, about. */
  get takenBytes(): number {
    return this.bytesSent - this.#pendingBytes;
  }

  /** What became of them; null if the connection is closed, or the kernel does not tell. */
  get sending(): TcpSending | null {
    if (this.#closed || this.#socket === undefined) return null;
    // Bun's types do not know this one.
    const { fd } = this.#socket as unknown as { fd?: number };
    if (fd === undefined) return null;
    if (this.#remote === undefined) return tcpSending(fd);
    // On a unix socket nothing is on its way: the other end has read it, or has not.
    const waitingBytes = unixWaitingBytes(fd);
    if (waitingBytes === null) return null;
    return {
      acknowledgedBytes: Math.max(0, this.takenBytes - waitingBytes),
      isUnderway: false,
      waitingBytes,
    };
  }

  /** 32 bytes that only the two ends of this TLS connection can know; empty on an insecure link. */
  exporter(): Buffer {
    if (this.peer === null) return Buffer.alloc(0);
    return Buffer.from(this.#socket!.exportKeyingMaterial!(32, exporterLabel, Buffer.alloc(0)));
  }

  /**
   * Sends a whole frame. Resolves once the socket has taken every byte, after which the buffer may
   * be used again; rejects with MigrateError "network" if the link is gone.
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
    this.#pendingBytes += rest.length + waitingBytes;
    if (this.#holdsBack && !this.#clogged && this.#pendingBytes > cloggedBytes) {
      this.#clogged = true;
      this.#readOrNot();
    }
    return new Promise((taken, failed) => this.#pending.push({ bytes: rest, taken, failed }));
  }

  /**
   * Reads nothing more until it is set to false, so that the peer has to wait. What was read already may still
   * come, and while nothing is read the peer is not silent: it is not heard.
   */
  set paused(paused: boolean) {
    if (this.#paused === paused) return;
    this.#paused = paused;
    this.lastReceivedMs = performance.now();
    this.#readOrNot();
  }

  get paused(): boolean {
    return this.#paused;
  }

  #readOrNot(): void {
    if (this.#closed) return;
    if (this.#paused || this.#clogged) this.#socket?.pause();
    else this.#socket?.resume();
  }

  /** Answers PING, unless the answer before still waits: a peer that does not read is not answered again. */
  answerPing(): void {
    if (this.#isPongWaiting) return;
    const sent = this.send(encodeMessage("pong", {}));
    if (sent === undefined) return;
    this.#isPongWaiting = true;
    const done = () => {
      this.#isPongWaiting = false;
    };
    sent.then(done, done);
  }

  /** As `send`, no faster than the pacer lets it. */
  async sendPaced(bytes: Buffer, pacer: Pace): Promise<void> {
    for (let at = 0; at < bytes.length; at += pacer.sliceBytes) {
      const slice = bytes.subarray(at, at + pacer.sliceBytes);
      await pacer.admit(slice.length);
      await this.send(slice);
    }
  }

  /** What comes from now on is thrown away unread. */
  mute(): void {
    this.#muted = true;
  }

  /** Closes once everything given to `send` is written, whether or not it arrives. */
  finish(): void {
    this.#finishing = true;
    if (this.#pending.length === 0) this.#socket?.shutdown();
  }

  /** Closes at once; the handler's `closed` receives `error`. */
  destroy(error?: MigrateError): void {
    if (this.#closed) return;
    this.#close(error);
    this.#socket?.terminate();
  }

  /** @internal `remote` is what the peer is called where its socket has no address. The callbacks below are the socket's. */
  attach(socket: RawSocket, remote?: string): void {
    this.#socket = socket;
    this.#remote = remote;
    socket.setNoDelay(true);
  }

  /** @internal */
  received(data: Buffer): void {
    if (this.#closed || this.#muted) return;
    this.bytesReceived += data.length;
    this.lastReceivedMs = performance.now();
    try {
      this.#decoder.push(data);
    } catch (thrown) {
      const error =
        thrown instanceof MigrateError ? thrown : new MigrateError("bug", String(thrown), { cause: thrown });
      this.#muted = true;
      if (this.#handler?.broken) this.#handler.broken(error);
      else this.destroy(error);
    }
  }

  /** @internal */
  drained(): void {
    while (this.#pending.length > 0 && !this.#closed) {
      const first = this.#pending[0]!;
      const taken = Math.max(0, this.#socket!.write(first.bytes));
      this.#pendingBytes -= taken;
      if (taken < first.bytes.length) {
        first.bytes = first.bytes.subarray(taken);
        return;
      }
      this.#pendingBytes -= waitingBytes;
      this.#pending.shift();
      first.taken();
    }
    if (this.#clogged) {
      this.#clogged = false;
      this.#readOrNot();
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
