/**
 * The other end of a connection as an attacker would write it: says any bytes and any frames in any
 * order over TLS (with any certificate or none) or plain TCP, and keeps every frame that comes back.
 *
 * Made on node:tls and node:net, where the program itself uses Bun's sockets, and it takes no frame
 * for granted: what it reads is cut by length and type alone.
 */
import { expect } from "bun:test";
import { connect as connectTcp, type Socket } from "node:net";
import { connect as connectTls, type TLSSocket } from "node:tls";
import { parseTicket } from "../../../../src/channel/ticket.ts";
import { encodeFrame, type FrameName, frameName, frameTypes } from "../../../../src/protocol/frames.ts";
import { limits } from "../../../../src/protocol/limits.ts";
import {
  decodeMessage,
  encodeMessage,
  type MessageBody,
  type MessageName,
} from "../../../../src/protocol/messages.ts";
import { parseAck } from "../../../../src/transfer/chunks/ack.ts";
import { withDeadline } from "../../system/deadline.ts";

export interface RawFrame {
  name: FrameName | undefined;
  type: number;
  payload: Buffer;
}

/** A certificate and its key, with the fingerprint where the proof of a ticket needs it. */
export interface RawIdentity {
  certificatePem: string;
  privateKeyPem: string;
  fingerprint: string;
}

export interface RawConnectOptions {
  host?: string;
  port: number;
  /** Plain TCP where it is false. */
  tls?: boolean;
  /** Shown to the server; null shows none. */
  identity?: RawIdentity | null;
  maxVersion?: "TLSv1.2" | "TLSv1.3";
  /** Goes on sending after the server has ended its half of the connection. */
  allowHalfOpen?: boolean;
}

/** Five seconds: far beyond what any answer takes, and short of a test's own deadline. */
const answerMs = 8_000;

export class RawPeer {
  readonly socket: Socket;
  readonly identity: RawIdentity | null;
  /** Every frame so far, in order. */
  readonly frames: RawFrame[] = [];
  /** Every byte so far, up to 1 MiB. */
  received: Buffer = Buffer.alloc(0);
  /** Settles when the connection is gone, with what the system said about it. */
  readonly closed: Promise<Error | undefined>;
  #rest: Buffer = Buffer.alloc(0);
  #taken = 0;
  #error: Error | undefined;
  #gone = false;
  #wake: (() => void)[] = [];
  readonly #destroyed = Promise.withResolvers<void>();

  /** Takes a socket that is connected, its TLS handshake done. */
  constructor(socket: Socket, identity: RawIdentity | null = null) {
    this.socket = socket;
    this.identity = identity;
    socket.setNoDelay(true);
    socket.on("data", (data: Buffer) => this.#read(data));
    socket.on("error", (error: Error) => {
      this.#error ??= error;
    });
    this.closed = new Promise((resolve) => {
      const end = () => {
        this.#gone = true;
        this.#alarm();
        resolve(this.#error);
      };
      // A half-closed connection is closed as far as the tests go: nothing more will be said.
      socket.on("end", end);
      socket.on("close", end);
    });
    socket.on("close", () => this.#destroyed.resolve());
  }

  /** Connects; rejects with the system's or BoringSSL's error where the handshake fails. */
  static async connect(options: RawConnectOptions): Promise<RawPeer> {
    const { host = "127.0.0.1", port, tls = true, identity = null } = options;
    if (!tls) {
      const socket = connectTcp({ host, port, allowHalfOpen: options.allowHalfOpen ?? false });
      await untilReady(socket, "connect");
      return new RawPeer(socket, identity);
    }
    const socket = connectTls({
      host,
      port,
      rejectUnauthorized: false,
      ...(options.allowHalfOpen ? { allowHalfOpen: true } : {}),
      ...(identity === null ? {} : { cert: identity.certificatePem, key: identity.privateKeyPem }),
      ...(options.maxVersion === undefined
        ? {}
        : { maxVersion: options.maxVersion, minVersion: "TLSv1.2" as const }),
    });
    await untilReady(socket, "secureConnect");
    return new RawPeer(socket, identity);
  }

  /** 32 bytes of this TLS connection, as a proof of a ticket needs them. */
  exporter(): Buffer {
    const tls = this.socket as TLSSocket;
    return Buffer.from(tls.exportKeyingMaterial(32, "EXPORTER-migrate-v1", Buffer.alloc(0)));
  }

  sendBytes(bytes: Uint8Array): this {
    if (!this.socket.destroyed) this.socket.write(bytes);
    return this;
  }

  /** Sends the CHUNK frames of a lane and waits until each is acknowledged, in however many ACKs. */
  async sendChunks(frames: readonly Uint8Array[]): Promise<void> {
    for (const frame of frames) this.sendBytes(frame);
    for (let left = frames.length; left > 0; ) {
      const { name, payload } = await this.next();
      if (name !== "ack") throw new Error(`${name} in place of an ACK`);
      left -= parseAck(payload).length;
    }
  }

  /** A frame of any type, with a header that tells the truth. */
  sendFrame(type: number | FrameName, payload: Uint8Array = Buffer.alloc(0)): this {
    return this.sendBytes(encodeFrame(typeof type === "number" ? type : frameTypes[type], payload));
  }

  /** A frame around any JSON, valid or not. */
  sendJson(name: FrameName, body: unknown): this {
    return this.sendFrame(name, Buffer.from(JSON.stringify(body)));
  }

  send<N extends MessageName>(name: N, body: MessageBody<N>): this {
    return this.sendBytes(encodeMessage(name, body));
  }

  /** HELLO on a control connection, with whatever is to be different. */
  hello(change: Record<string, unknown> = {}): this {
    return this.sendJson("hello", {
      version: limits.version,
      role: "control",
      software: "raw",
      ...change,
    });
  }

  /** HELLO and, where the server does not know this peer, the ticket with an honest proof. */
  async join(
    options: { ticket?: string | undefined; session?: string; attempt?: number } = {},
  ): Promise<this> {
    const { ticket, ...named } = options;
    this.hello(named.session === undefined ? {} : { attempt: 1, ...named });
    const welcome = await this.expect("welcome");
    if (!welcome.trusted) {
      this.pair(ticket ?? "");
      await this.expect("paired");
    }
    return this;
  }

  /** An offer that is accepted; gives ACCEPT, and INVENTORY has been read to its end. */
  async offer(body: unknown): Promise<MessageBody<"accept">> {
    const accept = await this.sendJson("offer", body).expect("accept");
    while (accept.inventory && (await this.next()).name !== "inventoryEnd");
    return accept;
  }

  /** PAIR with a proof that is right for this connection, or for what is put in its place. */
  pair(ticketText: string, exporter = this.exporter(), fingerprint = this.identity!.fingerprint): this {
    const ticket = parseTicket(ticketText);
    const proof = ticket.prove(exporter, fingerprint).toString("hex");
    return this.send("pair", { ticket: ticket.id.toString("hex"), proof });
  }

  /**
   * The next frame that was not taken yet; PING and PONG are passed over. Rejects where the
   * connection ends first or nothing comes in time.
   */
  async next(): Promise<RawFrame> {
    return withDeadline(this.#next(), answerMs, () => `a frame; so far ${this.describe()}`);
  }

  /** The body of the next frame, which must be `name`. */
  async expect<N extends MessageName>(name: N): Promise<MessageBody<N>> {
    const frame = await this.next();
    if (frame.name !== name) throw new Error(`wanted ${name}, got ${describeFrame(frame)}`);
    return decodeMessage(name, frame.payload).body as MessageBody<N>;
  }

  /** The ERROR that comes, whatever came before it. */
  async error(): Promise<{ code: string; message: string }> {
    for (;;) {
      const frame = await this.next();
      if (frame.name !== "error") continue;
      return JSON.parse(frame.payload.toString()) as { code: string; message: string };
    }
  }

  /** Throws (by `expect`) if the ERROR that comes is another one, and waits until the server has closed the connection. */
  async refused(code: string, message: string): Promise<void> {
    expect(await this.error()).toEqual({ code, message });
    await this.ended();
  }

  /** Waits until the server has closed the connection. */
  async ended(deadlineMs = answerMs): Promise<void> {
    await withDeadline(this.closed, deadlineMs, () => `the end of the connection; so far ${this.describe()}`);
  }

  /** Waits until the connection is gone in both directions. */
  async gone(deadlineMs = answerMs): Promise<void> {
    await withDeadline(
      this.#destroyed.promise,
      deadlineMs,
      () => `the connection to be cut; so far ${this.describe()}`,
    );
  }

  get isClosed(): boolean {
    return this.#gone;
  }

  close(): void {
    this.socket.destroy();
  }

  describe(): string {
    return `${this.frames.map(describeFrame).join(", ") || "no frame"}${this.#error ? `, ${this.#error.message}` : ""}`;
  }

  async #next(): Promise<RawFrame> {
    for (;;) {
      const frame = this.frames[this.#taken];
      if (frame !== undefined) {
        this.#taken++;
        if (frame.name !== "ping" && frame.name !== "pong") return frame;
      } else if (this.#gone) {
        throw new Error(`the connection ended: ${this.describe()}`);
      } else {
        await new Promise<void>((resolve) => this.#wake.push(resolve));
      }
    }
  }

  #read(data: Buffer): void {
    if (this.received.length < 1024 * 1024) this.received = Buffer.concat([this.received, data]);
    this.#rest = this.#rest.length === 0 ? Buffer.from(data) : Buffer.concat([this.#rest, data]);
    for (;;) {
      if (this.#rest.length < limits.frameHeaderBytes) break;
      const length = this.#rest.readUInt32BE(0);
      const end = limits.frameHeaderBytes + length;
      if (this.#rest.length < end) break;
      const type = this.#rest.readUInt8(4);
      const payload = Buffer.from(this.#rest.subarray(limits.frameHeaderBytes, end));
      this.frames.push({ name: frameName(type), type, payload });
      this.#rest = this.#rest.subarray(end);
    }
    this.#alarm();
  }

  #alarm(): void {
    const wake = this.#wake;
    this.#wake = [];
    for (const resolve of wake) resolve();
  }
}

function describeFrame({ name, type, payload }: RawFrame): string {
  const text =
    name === "chunk" || name === "inventory" ? `${payload.length} bytes` : payload.toString().slice(0, 200);
  return `${name ?? type} ${text}`;
}

function untilReady(socket: Socket, event: "connect" | "secureConnect"): Promise<void> {
  const ready = new Promise<void>((resolve, reject) => {
    socket.once(event, () => resolve());
    socket.once("error", reject);
    socket.once("close", () => reject(new Error("closed before it stood")));
  });
  return withDeadline(ready, answerMs, "a connection");
}
