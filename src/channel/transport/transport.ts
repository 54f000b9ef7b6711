/**
 * What carries a connection's bytes to a destination, below TLS. All that stands above knows an address
 * only to name it in sentences; who is at the other end is for TLS and the pin to say.
 */
import type { SocketHandler } from "bun";
import type { FrameSocket } from "../frame-socket.ts";
import type { tlsOptions } from "../tls.ts";

/** What Bun.connect takes beside the endpoint: the callbacks, their FrameSocket, and TLS on a secure link. */
export interface Connecting {
  data: FrameSocket;
  socket: SocketHandler<FrameSocket>;
  tls?: ReturnType<typeof tlsOptions>;
}

export interface Transport {
  /** What the peer is called where its socket has no address. */
  remote?: string;
  /** Connects; the callbacks take over once the socket is open. Rejects with the system's error. */
  connect(connecting: Connecting): Promise<unknown>;
}
