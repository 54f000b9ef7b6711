/**
 * A destination that has nothing good in mind, written down as what it says: a TLS server with a
 * certificate and a ticket of its own, which the source has every reason to trust.
 */

import { randomBytes } from "node:crypto";
import { createServer as createTcpServer, type Server, type Socket } from "node:net";
import { createServer as createTlsServer, type Server as TlsServer } from "node:tls";
import { makeTicket } from "../../../src/channel/ticket.ts";
import { limits } from "../../../src/protocol/limits.ts";
import { decodeMessage, type MessageBody } from "../../../src/protocol/messages.ts";
import { type RawIdentity, RawPeer } from "./raw/peer.ts";

/** A source's connection, past its HELLO. */
export interface Visit {
  peer: RawPeer;
  hello: MessageBody<"hello">;
  /** Counts control connections, from 1. */
  number: number;
  /** Of plain TCP where the destination has no identity. */
  server: TlsServer;
}

/** What a destination does with a connection. */
export type Script = (visit: Visit) => Promise<void>;

export interface HostileDestinationOptions {
  /** Null for plain TCP. */
  identity: RawIdentity | null;
  /** What it does with a control connection, from HELLO on. */
  control: Script;
  /** What it does with a lane, from HELLO on; takes every chunk as an honest one where it is absent. */
  lane?: Script;
}

export class HostileDestination {
  readonly address: { host: string; port: number };
  /** Text of a ticket for it; absent without TLS. */
  readonly ticket: string | undefined;
  /** Control connections so far. */
  controls = 0;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  readonly #options: HostileDestinationOptions;

  private constructor(server: Server, options: HostileDestinationOptions) {
    this.#server = server;
    this.#options = options;
    this.address = { host: "127.0.0.1", port: (server.address() as { port: number }).port };
    this.ticket = options.identity
      ? makeTicket(options.identity.fingerprint, randomBytes).toText()
      : undefined;
  }

  static async open(options: HostileDestinationOptions): Promise<HostileDestination> {
    const { identity } = options;
    const server = identity
      ? createTlsServer({
          cert: identity.certificatePem,
          key: identity.privateKeyPem,
          requestCert: true,
          rejectUnauthorized: false,
        })
      : createTcpServer();
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const destination = new HostileDestination(server, options);
    server.on(identity ? "secureConnection" : "connection", (socket: Socket) => destination.#visit(socket));
    server.on("tlsClientError", () => {});
    return destination;
  }

  async close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  async #visit(socket: Socket): Promise<void> {
    this.#sockets.add(socket);
    const peer = new RawPeer(socket);
    const server = this.#server as TlsServer;
    try {
      const frame = await peer.next();
      const { body } = decodeMessage("hello", frame.payload) as { body: MessageBody<"hello"> };
      if (body.role === "control")
        await this.#options.control({ peer, hello: body, number: ++this.controls, server });
      else await (this.#options.lane ?? takeChunks)({ peer, hello: body, number: 0, server });
    } catch {
      // The source hung up, which is what most of these scripts are about.
    }
  }
}

/** WELCOME, and PAIRED for whatever ticket comes; gives the source's OFFER. */
export async function letIn({ peer }: Visit): Promise<MessageBody<"offer">> {
  peer.send("welcome", { version: limits.version, software: "hostile", trusted: true });
  return peer.expect("offer");
}

export const laneToken = "1".repeat(32);

/** ACCEPT of a new session. */
export function accept(peer: RawPeer, change: Partial<MessageBody<"accept">> = {}): void {
  peer.send("accept", { state: "receiving", laneToken, inventory: false, ...change });
}

/** An honest lane: acknowledges each chunk. */
export async function takeChunks({ peer }: Visit): Promise<void> {
  peer.send("welcome", { version: limits.version, software: "hostile", trusted: true });
  for (;;) {
    const { name, payload } = await peer.next();
    if (name === "chunk") peer.sendFrame("ack", payload.subarray(0, 8));
  }
}

/** Plays an honest destination up to SEAL, which it gives; ACCEPT is changed as `change` says. */
export async function upToSeal(
  visit: Visit,
  change: Partial<MessageBody<"accept">> = {},
): Promise<MessageBody<"seal">> {
  await letIn(visit);
  accept(visit.peer, change);
  return visit.peer.expect("seal");
}
