/** Listening for sources: each connection is handed on once its TLS handshake is complete. */
import type { TCPSocketListener } from "bun";
import { MigrateError } from "../protocol/errors.ts";
import { deadlines } from "../protocol/limits.ts";
import { FrameSocket, type RawSocket, socketCallbacks } from "./frame-socket.ts";
import { type Credentials, handshakeFailure, peerFingerprint, tlsOptions } from "./tls.ts";

export interface ListenOptions {
  host: string;
  port: number;
  credentials?: Credentials | undefined;
  /** A peer whose handshake is complete (or who came on an insecure link); sets the handler. */
  accept: (link: FrameSocket) => void;
  /** A connection that came to nothing, for the log. */
  rejected: (remoteAddress: string, error: MigrateError) => void;
  /** Connections that have not said HELLO yet; more are closed. */
  maxStrangers: number;
}

/**
 * Listens, sharing the port with the other listeners of this process (SO_REUSEPORT, socket(7)).
 * Throws what Bun.listen throws.
 */
export function listen(options: ListenOptions): TCPSocketListener<FrameSocket> {
  let shaking = 0;
  const timers = new WeakMap<FrameSocket, Timer>();
  const settle = (link: FrameSocket) => {
    const timer = timers.get(link);
    if (timer === undefined) return;
    clearTimeout(timer);
    timers.delete(link);
    shaking--;
  };
  return Bun.listen<FrameSocket>({
    hostname: options.host,
    port: options.port,
    // Bun takes it; its types do not know it.
    ...({ reusePort: true } as object),
    ...(options.credentials ? { tls: tlsOptions(options.credentials) } : {}),
    socket: {
      ...socketCallbacks,
      open(socket) {
        const link = new FrameSocket("stranger");
        socket.data = link;
        link.attach(socket as RawSocket);
        if (options.credentials === undefined) {
          options.accept(link);
          return;
        }
        const remote = socket.remoteAddress;
        if (shaking >= options.maxStrangers) {
          link.destroy(new MigrateError("busy", "too many connections at once"));
          return;
        }
        shaking++;
        timers.set(
          link,
          setTimeout(
            () => link.destroy(new MigrateError("network", "no TLS handshake in time")),
            deadlines.helloMs,
          ),
        );
        link.handler = {
          frame: () => {},
          closed: (error) => {
            settle(link);
            options.rejected(remote, error ?? new MigrateError("network", "closed during the TLS handshake"));
          },
        };
      },
      handshake(socket, _authorized, error) {
        const link = socket.data;
        const fingerprint = peerFingerprint(socket as RawSocket);
        if (fingerprint === null) {
          link.destroy(handshakeFailure("the peer", error));
          return;
        }
        settle(link);
        link.peer = fingerprint;
        options.accept(link);
      },
    },
  });
}
