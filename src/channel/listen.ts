/** Listening for sources: each connection is handed on once its TLS handshake is complete. */
import type { TCPSocketListener } from "bun";
import { MigrateError } from "../protocol/errors.ts";
import { FrameSocket, type RawSocket, socketCallbacks } from "./frame-socket.ts";
import type { Strangers } from "./strangers.ts";
import { type Credentials, handshakeFailure, peerFingerprint, tlsOptions } from "./tls.ts";

export interface ListenOptions {
  host: string;
  port: number;
  credentials?: Credentials | undefined;
  /**
   * A peer whose handshake is complete (or who came on an insecure link); sets the handler. On a
   * secure link `peer` is null if it showed no certificate: such a one may only be turned away.
   */
  accept: (link: FrameSocket) => void;
  /** A connection that came to nothing, for the log. */
  rejected: (remoteAddress: string, error: MigrateError) => void;
  /** Every connection is one of these from its first moment on; whoever lets it in takes it out. */
  strangers: Strangers<FrameSocket>;
  /** A connection with a higher descriptor is closed at once, so that some stay free. */
  mostDescriptor?: number | undefined;
}

/**
 * Listens, sharing the port with the other listeners of this process (SO_REUSEPORT, socket(7)).
 * Throws what Bun.listen throws.
 */
export function listen(options: ListenOptions): TCPSocketListener<FrameSocket> {
  const { strangers } = options;
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
        link.holdBack();
        const remote = link.remoteAddress;
        link.handler = {
          frame: () => {},
          closed: (error) => {
            strangers.drop(link);
            options.rejected(remote, error ?? new MigrateError("network", "closed during the TLS handshake"));
          },
        };
        strangers.add(link);
        // Descriptors are given out from the lowest free one on. Bun's types do not know this one.
        const { fd } = socket as unknown as { fd: number };
        if (fd > (options.mostDescriptor ?? Number.POSITIVE_INFINITY)) {
          link.destroy(new MigrateError("network", "too many connections at once"));
          return;
        }
        if (options.credentials === undefined) options.accept(link);
      },
      handshake(socket, done, error) {
        const link = socket.data;
        // Without `done` the peer has proven nothing, whatever certificate it sent along.
        if (!done) {
          link.destroy(handshakeFailure("the peer", error));
          return;
        }
        link.peer = peerFingerprint(socket as RawSocket);
        options.accept(link);
      },
    },
  });
}
