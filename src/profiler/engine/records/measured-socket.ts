/**
 * One TCP connection between the two measuring processes, plain or TLS, with nothing between it and
 * Bun's socket: every byte is written and read by a call whose cost is known. TLS and pins are the
 * product's own (channel/tls.ts).
 */
import type { Socket, TCPSocketListener } from "bun";
import type { RawSocket } from "../../../channel/frame-socket.ts";
import type { Strangers } from "../../../channel/strangers.ts";
import {
  type Credentials,
  handshakeFailure,
  isHandshakeComplete,
  peerFingerprint,
  tlsOptions,
} from "../../../channel/tls.ts";
import { asMigrateError, MigrateError } from "../../../protocol/errors.ts";
import { deadlines } from "../../../protocol/limits.ts";
import { exporterBytes } from "./record-keys.ts";

export interface MeasuredHandler {
  /** Bytes that came; valid during the call only. May throw: the connection is closed. */
  data(bytes: Buffer): void;
  /** There is room to write again. */
  drain?(): void;
  /** It is gone; called once. */
  closed(error: MigrateError | undefined): void;
}

/** RFC 8446 section 7.5: keys of a profile come from nowhere else, and nothing else has this label. */
const exporterLabel = "EXPORTER-migrate-profile-v1";

export class MeasuredSocket {
  handler: MeasuredHandler | undefined;
  /** Fingerprint of the peer's certificate; null without TLS. */
  peer: string | null = null;
  readonly #socket: Socket<MeasuredSocket>;
  #closed = false;

  constructor(socket: Socket<MeasuredSocket>) {
    this.#socket = socket;
  }

  get closed(): boolean {
    return this.#closed;
  }

  /** Writes what there is room for and returns how many bytes that was; the rest goes after `drain`. */
  write(bytes: Buffer): number {
    return this.#closed ? 0 : Math.max(0, this.#socket.write(bytes));
  }

  /** 32 bytes that only the two ends of this TLS connection can know. Throws MigrateError "bug" without TLS. */
  exporter(): Buffer {
    const value = (this.#socket as unknown as RawSocket).exportKeyingMaterial?.(
      exporterBytes,
      exporterLabel,
      Buffer.alloc(0),
    );
    if (this.peer === null || value === undefined)
      throw new MigrateError("bug", "there is no TLS to take keys from");
    return Buffer.from(value);
  }

  /** Ends the writing side; what was written may still be on its way. */
  finish(): void {
    if (!this.#closed) this.#socket.shutdown();
  }

  /** Closes at once; the handler's `closed` gets `error`. */
  destroy(error?: MigrateError): void {
    if (this.#closed) return;
    this.#gone(error);
    this.#socket.terminate();
  }

  /** @internal */
  received(bytes: Buffer): void {
    if (this.#closed) return;
    try {
      this.handler?.data(bytes);
    } catch (thrown) {
      this.destroy(asMigrateError(thrown));
    }
  }

  /** @internal */
  drained(): void {
    if (!this.#closed) this.handler?.drain?.();
  }

  /** @internal */
  lost(cause?: Error): void {
    this.#gone(cause === undefined ? undefined : new MigrateError("network", cause.message, { cause }));
  }

  #gone(error: MigrateError | undefined): void {
    if (this.#closed) return;
    this.#closed = true;
    this.handler?.closed(error);
  }
}

const callbacks = {
  data: (socket: Socket<MeasuredSocket>, bytes: Buffer) => socket.data.received(bytes),
  drain: (socket: Socket<MeasuredSocket>) => socket.data.drained(),
  close: (socket: Socket<MeasuredSocket>, error?: Error) => socket.data?.lost(error ?? undefined),
  error: (socket: Socket<MeasuredSocket>, error: Error) => socket.data?.lost(error),
};

export interface ConnectOptions {
  host: string;
  port: number;
  /** With TLS: who we are, and the fingerprint that the peer must have. */
  secure: { credentials: Credentials; pin: string } | null;
}

/** Connects, and with TLS completes the handshake and checks the pin. Throws MigrateError "network" or "wrong-identity". */
export async function connectMeasured({ host, port, secure }: ConnectOptions): Promise<MeasuredSocket> {
  const { promise, resolve, reject } = Promise.withResolvers<MeasuredSocket>();
  const place = `${host}:${port}`;
  const none = (why: string, cause?: Error) =>
    new MigrateError("network", `cannot connect to ${place}, where the destination measures: ${why}`, {
      side: "source",
      cause,
      hint: "a firewall, perhaps: migrate serve --profile-port sets the ports, which must be open",
    });
  let made: MeasuredSocket | undefined;
  const timer = setTimeout(() => {
    made?.destroy();
    reject(none(`no answer within ${deadlines.helloMs / 1000} s`));
  }, deadlines.helloMs);
  const opened = (socket: Socket<MeasuredSocket>) => {
    made = new MeasuredSocket(socket);
    made.handler = { data: () => {}, closed: (error) => reject(error ?? none("it was closed at once")) };
    socket.data = made;
    return made;
  };
  Bun.connect<MeasuredSocket>({
    hostname: host,
    port,
    ...(secure === null ? {} : { tls: tlsOptions(secure.credentials) }),
    socket: {
      ...callbacks,
      open(socket) {
        const link = opened(socket);
        if (secure === null) resolve(link);
      },
      handshake(socket, _authorized, error) {
        const link = socket.data;
        // Without a complete handshake the peer has proven nothing, whatever certificate it sent along.
        const raw = socket as unknown as RawSocket;
        link.peer = isHandshakeComplete(raw) ? peerFingerprint(raw) : null;
        if (link.peer === null) link.destroy(handshakeFailure(place, error));
        else if (link.peer === secure?.pin) resolve(link);
        else
          link.destroy(
            new MigrateError("wrong-identity", `another host answered at ${place}`, { side: "source" }),
          );
      },
      connectError(_socket, error) {
        reject(none(error.message, error));
      },
    },
  }).catch((error: Error) => reject(none(error.message, error)));
  try {
    return await promise;
  } finally {
    clearTimeout(timer);
  }
}

export interface ListenOptions {
  host: string;
  /** 0 takes a free one. */
  port: number;
  secure: { credentials: Credentials; pin: string } | null;
  /** Every connection is one of these until whoever accepts it drops it from them. */
  strangers: Strangers<MeasuredSocket>;
  /** Called with each connection once it is complete; with TLS its peer has the pin. Sets the handler. */
  accept: (socket: MeasuredSocket) => void;
}

/** Listens. Throws MigrateError "port-in-use" if it cannot. */
export function listenMeasured(options: ListenOptions): TCPSocketListener<MeasuredSocket> {
  const { host, port, secure, strangers, accept } = options;
  try {
    return Bun.listen<MeasuredSocket>({
      hostname: host,
      port,
      ...(secure === null ? {} : { tls: tlsOptions(secure.credentials) }),
      socket: {
        ...callbacks,
        open(socket) {
          const link = new MeasuredSocket(socket);
          socket.data = link;
          link.handler = { data: () => {}, closed: () => strangers.drop(link) };
          strangers.add(link, socket.remoteAddress);
          if (secure === null) accept(link);
        },
        handshake(socket, done) {
          const link = socket.data;
          try {
            link.peer = done ? peerFingerprint(socket as unknown as RawSocket) : null;
          } catch {
            // A certificate that cannot be read is nobody's.
          }
          if (link.peer !== null && link.peer === secure?.pin) accept(link);
          else link.destroy();
        },
      },
    });
  } catch (cause) {
    throw new MigrateError(
      "port-in-use",
      `cannot listen on ${host}:${port} to measure: ${(cause as Error).message}`,
      {
        side: "destination",
        cause,
      },
    );
  }
}
