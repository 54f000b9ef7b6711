/** Connecting to a destination: TCP, TLS and the pin, before a byte of ours is sent. */
import { MigrateError } from "../protocol/errors.ts";
import type { Standing } from "../protocol/frames.ts";
import { deadlines } from "../protocol/limits.ts";
import { FrameSocket, type RawSocket, socketCallbacks } from "./frame-socket.ts";
import {
  type Credentials,
  handshakeFailure,
  isHandshakeComplete,
  peerFingerprint,
  tlsOptions,
} from "./tls.ts";

export interface DialOptions {
  host: string;
  port: number;
  /** Absent for an insecure link. */
  credentials?: Credentials | undefined;
  standing: Standing;
  /** Says what is wrong with a peer, by its fingerprint, or null; asked before a byte is sent. */
  checkPeer?: (fingerprint: string) => MigrateError | null;
  /** Deadline for connection and handshake. */
  timeoutMs?: number;
}

/**
 * Connects and, on a secure link, completes the TLS 1.3 handshake and checks the pin. Throws
 * MigrateError "network" where there is no connection, "insecure-mismatch" where the other side
 * does not speak TLS, or what `checkPeer` gave.
 */
export function dial(options: DialOptions): Promise<FrameSocket> {
  const link = new FrameSocket(options.standing);
  const place = `${options.host}:${options.port}`;
  const { promise, resolve, reject } = Promise.withResolvers<FrameSocket>();
  const timer = setTimeout(() => {
    fail(
      new MigrateError(
        "network",
        `${place} did not answer within ${(options.timeoutMs ?? deadlines.helloMs) / 1000} s`,
      ),
    );
  }, options.timeoutMs ?? deadlines.helloMs);
  function fail(error: MigrateError): void {
    clearTimeout(timer);
    reject(error);
    link.destroy(error);
  }
  function stands(): void {
    clearTimeout(timer);
    resolve(link);
  }
  const lostBefore = (error: MigrateError | undefined) =>
    fail(
      options.credentials === undefined
        ? new MigrateError("network", `${place} closed the connection`, { cause: error })
        : new MigrateError("network", `${place} closed the connection during the TLS handshake`, {
            cause: error,
            hint: "does it serve with --insecure, or another program?",
          }),
    );
  link.handler = { frame: () => {}, closed: lostBefore };

  Bun.connect<FrameSocket>({
    hostname: options.host,
    port: options.port,
    ...(options.credentials ? { tls: tlsOptions(options.credentials) } : {}),
    data: link,
    socket: {
      ...socketCallbacks,
      open(socket) {
        link.attach(socket as RawSocket);
        if (options.credentials === undefined) stands();
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
        const wrong = options.checkPeer?.(fingerprint) ?? null;
        if (wrong === null) stands();
        else fail(wrong);
      },
      connectError(_socket, error) {
        fail(new MigrateError("network", `cannot connect to ${place}: ${describe(error)}`, { cause: error }));
      },
    },
  }).catch((error: Error) => {
    fail(new MigrateError("network", `cannot connect to ${place}: ${describe(error)}`, { cause: error }));
  });
  return promise;
}

function describe(error: Error & { code?: string }): string {
  switch (error.code) {
    case "ECONNREFUSED":
      return "nothing listens there";
    case "ENOTFOUND":
      return "the name is not known";
    default:
      return error.message || error.code || "unknown error";
  }
}
