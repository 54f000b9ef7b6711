/** A link that is slow, or takes what is small alone: a TCP relay between source and destination. */
import { connect, createServer, type Server, type Socket } from "node:net";

export interface NarrowLinkOptions {
  target: { host: string; port: number };
  /** What all connections together bring to the destination, in bytes a second; as fast as it goes where it is absent. */
  bytesPerSec?: number;
  /** So much waits on the link, of all connections and in the order in which it came. */
  queueBytes?: number;
  /** Of each connection, what is swallowed of its bytes to the destination once it has brought so many. */
  swallowsAfterBytes?: number;
}

interface Piece {
  to: Socket;
  from: Socket;
  bytes: Buffer;
}

const tickMs = 20;

export class NarrowLink {
  /** Connections that came here. */
  connections = 0;
  readonly #options: NarrowLinkOptions;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  readonly #queue: Piece[] = [];
  #queuedBytes = 0;
  #tokens = 0;
  #filledAtMs = performance.now();
  #tick: Timer | undefined;

  private constructor(options: NarrowLinkOptions) {
    this.#options = options;
    this.#server = createServer((source) => this.#accept(source));
    if (options.bytesPerSec !== undefined) this.#tick = setInterval(() => this.#pass(), tickMs);
  }

  /** Listens on a free port of 127.0.0.1. */
  static async open(options: NarrowLinkOptions): Promise<NarrowLink> {
    const link = new NarrowLink(options);
    await new Promise<void>((resolve) => link.#server.listen(0, "127.0.0.1", resolve));
    return link;
  }

  get address(): { host: string; port: number } {
    return { host: "127.0.0.1", port: (this.#server.address() as { port: number }).port };
  }

  async close(): Promise<void> {
    clearInterval(this.#tick);
    for (const socket of this.#sockets) socket.destroy();
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
  }

  #accept(source: Socket): void {
    this.connections++;
    const destination = connect(this.#options.target);
    let broughtBytes = 0;
    for (const [one, other] of [
      [source, destination],
      [destination, source],
    ] as const) {
      this.#sockets.add(one);
      one.setNoDelay(true);
      one.on("error", () => {});
      one.on("close", () => {
        this.#sockets.delete(one);
        other.destroy();
      });
    }
    destination.on("data", (bytes: Buffer) => void source.write(bytes));
    source.on("data", (bytes: Buffer) => {
      const { swallowsAfterBytes = Number.POSITIVE_INFINITY, bytesPerSec } = this.#options;
      const passing = bytes.subarray(0, Math.max(0, swallowsAfterBytes - broughtBytes));
      broughtBytes += bytes.length;
      if (passing.length === 0) return;
      if (bytesPerSec === undefined) destination.write(passing);
      else this.#enqueue({ to: destination, from: source, bytes: passing });
    });
  }

  #enqueue(piece: Piece): void {
    this.#queue.push(piece);
    this.#queuedBytes += piece.bytes.length;
    // What comes on it is bulk: what is small has its place in the queue all the same.
    if (this.#queuedBytes > (this.#options.queueBytes ?? 0) && piece.bytes.length > 4096) piece.from.pause();
  }

  #pass(): void {
    const nowMs = performance.now();
    const { bytesPerSec = 0, queueBytes = 0 } = this.#options;
    this.#tokens = Math.min(bytesPerSec, this.#tokens + ((nowMs - this.#filledAtMs) / 1000) * bytesPerSec);
    this.#filledAtMs = nowMs;
    while (this.#tokens >= 1 && this.#queue.length > 0) {
      const piece = this.#queue[0]!;
      const now = piece.bytes.subarray(0, Math.floor(this.#tokens));
      this.#tokens -= now.length;
      this.#queuedBytes -= now.length;
      if (!piece.to.destroyed) piece.to.write(now);
      piece.bytes = piece.bytes.subarray(now.length);
      if (piece.bytes.length === 0) this.#queue.shift();
    }
    if (this.#queuedBytes <= queueBytes) for (const socket of this.#sockets) socket.resume();
  }
}
