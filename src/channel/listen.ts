/** Listening for sources: each connection is handed on once its TLS handshake is complete. */
import { listenInPlace } from "../platform/unix-place.ts";
import { MigrateError } from "../protocol/errors.ts";
import type { ListenAddress } from "./address.ts";
import { FrameSocket, type RawSocket, socketCallbacks } from "./frame-socket.ts";
import type { Strangers } from "./strangers.ts";
import { type Credentials, handshakeFailure, peerFingerprint, tlsOptions } from "./tls.ts";
import type { Connecting } from "./transport/transport.ts";

export interface ListenOptions {
  at: ListenAddress;
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
 * What a connection takes outside of the JavaScript heap (its TLS) is not seen by the garbage collector, which so
 * lets hundreds of MiB pile up where connections come and go by the thousand: it is called after so many.
 */
const connectionsPerCollection = 1024;
let connections = 0;

function collect(): void {
  if (++connections % connectionsPerCollection === 0) setImmediate(() => Bun.gc(true));
}

/** Who comes by a unix socket has no address; all of them are one to whoever counts strangers by it. */
const unixRemote = "unix";

/** What listens. */
export interface Listening {
  stop(force: boolean): void;
}

/**
 * Listens: on a TCP port, sharing it with the other listeners of this process (SO_REUSEPORT, socket(7)), or on a unix
 * socket that this user and root alone may connect to, and that nobody else listens on (`SocketClaims`). Throws what
 * Bun.listen throws, and as node:fs does.
 */
export function listen(options: ListenOptions): Listening {
  const { at } = options;
  if ("unix" in at) {
    return listenInPlace(at.unix, (unix) =>
      Bun.listen<FrameSocket>({ unix, ...served(options, unixRemote) }),
    );
  }
  const { host: hostname, port } = at;
  // Bun takes reusePort; its types do not know it.
  const shared = { reusePort: true } as object;
  return Bun.listen<FrameSocket>({ hostname, port, ...shared, ...served(options) });
}

/** How connections are received; `remote` is the address of those that have none. */
function served(options: ListenOptions, remoteOfAll?: string): Pick<Connecting, "socket" | "tls"> {
  const { strangers } = options;
  return {
    ...(options.credentials ? { tls: tlsOptions(options.credentials) } : {}),
    socket: {
      ...socketCallbacks,
      open(socket) {
        collect();
        const link = new FrameSocket("stranger");
        socket.data = link;
        link.attach(socket as RawSocket, remoteOfAll);
        link.holdBack();
        const remote = link.remoteAddress;
        link.handler = {
          frame: () => {},
          closed: (error) => {
            strangers.drop(link);
            options.rejected(remote, error ?? new MigrateError("network", "closed during the TLS handshake"));
          },
        };
        strangers.add(link, remote);
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
  };
}
