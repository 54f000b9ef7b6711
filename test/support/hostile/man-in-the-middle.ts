/**
 * A man in the middle: a TLS server towards the source and a TLS client towards the destination, with
 * a certificate of its own on both sides. What it carries it reads.
 */
import { connect, createServer, type Server, type TLSSocket } from "node:tls";
import type { RawIdentity } from "./raw/peer.ts";

export class ManInTheMiddle {
  readonly port: number;
  /** TCP connections of sources, whether or not they went on to a handshake. */
  connections = 0;
  /** Everything that sources said, decrypted. */
  overheard: Buffer = Buffer.alloc(0);
  readonly #server: Server;
  readonly #sockets = new Set<TLSSocket>();

  private constructor(server: Server) {
    this.#server = server;
    this.port = (server.address() as { port: number }).port;
  }

  /** Stands on a free port of 127.0.0.1 before the destination on `port`. */
  static async open(port: number, identity: RawIdentity): Promise<ManInTheMiddle> {
    const own = { cert: identity.certificatePem, key: identity.privateKeyPem, rejectUnauthorized: false };
    const server = createServer({ ...own, requestCert: true });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const man = new ManInTheMiddle(server);
    server.on("tlsClientError", () => {});
    server.on("connection", () => man.connections++);
    server.on("secureConnection", (source) => {
      const destination = connect({ ...own, host: "127.0.0.1", port });
      for (const socket of [source, destination]) {
        man.#sockets.add(socket);
        socket.on("error", () => {});
      }
      source.on("data", (data: Buffer) => {
        man.overheard = Buffer.concat([man.overheard, data]);
      });
      source.pipe(destination).pipe(source);
    });
    return man;
  }

  async close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}
