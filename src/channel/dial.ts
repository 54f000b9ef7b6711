/** A connection to a destination before a byte of ours is sent: its transport, TLS and the pin. */
import { MigrateError } from "../protocol/errors.ts";
import type { Standing } from "../protocol/frames.ts";
import { deadlines } from "../protocol/limits.ts";
import { lostOnTheWay } from "./delivery-watch.ts";
import { FrameSocket, type RawSocket, socketCallbacks } from "./frame-socket.ts";
import {
  type Credentials,
  handshakeFailure,
  isHandshakeComplete,
  peerFingerprint,
  tlsOptions,
} from "./tls.ts";
import type { Transport } from "./transport/transport.ts";

export interface DialOptions {
  /** The destination's address, as sentences name it. */
  place: string;
  /** This host's; null for an insecure link. */
  credentials: Credentials | null;
  /** Which frames the destination may send from the first one on. */
  standing: Standing;
  /** Returns what is wrong with a peer of this fingerprint, or null; asked before a byte is sent. */
  checkPeer: (fingerprint: string) => MigrateError | null;
  /** Deadline for connection and handshake, in milliseconds. */
  timeoutMs?: number | undefined;
  /** Gives the connection up. */
  signal?: AbortSignal | undefined;
}

/**
 * Connects and, on a secure link, completes the TLS 1.3 handshake and checks the pin. Rejects with
 * MigrateError: "network" if there is no connection in time, "insecure-mismatch" if the other side
 * does not speak TLS, "cancelled" if the signal was aborted, or what `checkPeer` returned.
 */
export function dial(transport: Transport, options: DialOptions): Promise<FrameSocket> {
  const { place, credentials, timeoutMs = deadlines.helloMs, signal } = options;
  const link = new FrameSocket(options.standing);
  const { promise, resolve, reject } = Promise.withResolvers<FrameSocket>();
  const late = setTimeout(() => {
    const seconds = timeoutMs / 1000;
    // The connection stands, and what was said first, longer than a packet, is still on its way.
    fail(
      link.sending?.isUnderway === true
        ? lostOnTheWay(link.remoteAddress, seconds)
        : new MigrateError("network", `${place} did not answer within ${seconds} s`),
    );
  }, timeoutMs);
  const cancel = () => fail(callCancelled());
  signal?.addEventListener("abort", cancel);
  function settled(): void {
    clearTimeout(late);
    signal?.removeEventListener("abort", cancel);
  }
  function fail(error: MigrateError): void {
    settled();
    reject(error);
    link.destroy(error);
  }
  function stands(): void {
    settled();
    resolve(link);
  }
  const lostBefore = (cause: MigrateError | undefined) =>
    fail(
      credentials === null
        ? new MigrateError("network", `${place} closed the connection`, { cause })
        : new MigrateError("network", `${place} closed the connection during the TLS handshake`, {
            cause,
            hint: "does it serve with --insecure, or another program?",
          }),
    );
  const unreachable = (cause: Error) =>
    fail(new MigrateError("network", `cannot connect to ${place}: ${reasonOf(cause)}`, { cause }));
  link.handler = { frame: () => {}, closed: lostBefore };
  transport
    .connect({
      ...(credentials === null ? {} : { tls: tlsOptions(credentials) }),
      data: link,
      socket: {
        ...socketCallbacks,
        open(socket) {
          link.attach(socket as RawSocket, transport.remote);
          // A connection that was given up while it was made.
          if (link.closed) socket.terminate();
          else if (credentials === null) stands();
        },
        handshake(socket, _authorized, error) {
          // Without a complete handshake the peer has proven nothing, whatever certificate it sent along.
          const fingerprint = isHandshakeComplete(socket as RawSocket)
            ? peerFingerprint(socket as RawSocket)
            : null;
          if (fingerprint === null) {
            fail(handshakeFailure(place, error));
            return;
          }
          link.peer = fingerprint;
          const wrong = options.checkPeer(fingerprint);
          if (wrong === null) stands();
          else fail(wrong);
        },
        connectError: (_socket, error) => unreachable(error),
      },
    })
    .catch(unreachable);
  return promise;
}

/** What a call rejects with whose signal was aborted. */
export function callCancelled(): MigrateError {
  return new MigrateError("cancelled", "the connection was given up", { side: "source" });
}

function reasonOf(error: Error & { code?: string }): string {
  switch (error.code) {
    case "ECONNREFUSED":
      return "nothing listens there";
    case "ENOENT":
      return "there is no such socket";
    case "ENOTFOUND":
      return "the name is not known";
    default:
      return error.message || error.code || "unknown error";
  }
}
