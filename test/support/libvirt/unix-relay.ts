/** A relay from one unix socket to another, as a carrier of libvirt's connections stands between two hosts. */
import { createConnection, createServer, type Server, type Socket } from "node:net";

export class UnixRelay {
  readonly #sockets = new Set<Socket>();
  #connections = 0;

  private constructor(
    /** Where it listens. */
    readonly path: string,
    private readonly server: Server,
  ) {}

  /** Listens on a path (at most 107 bytes, unix(7)), and connects to `target` for everybody who comes. */
  static async listen(path: string, target: string): Promise<UnixRelay> {
    const server = createServer({ allowHalfOpen: true });
    const relay = new UnixRelay(path, server);
    server.on("connection", (here) => {
      relay.#connections += 1;
      const there = createConnection({ path: target, allowHalfOpen: true });
      relay.#join(here, there);
      relay.#join(there, here);
    });
    const listening = Promise.withResolvers<void>();
    server.once("error", listening.reject);
    server.listen(path, listening.resolve);
    await listening.promise;
    return relay;
  }

  /** How many came so far. */
  get connections(): number {
    return this.#connections;
  }

  /** Cuts every connection, and listens no more. */
  close(): void {
    this.server.close();
    for (const socket of this.#sockets) socket.destroy();
  }

  #join(from: Socket, to: Socket): void {
    this.#sockets.add(from);
    from.on("error", () => to.destroy());
    from.on("close", () => this.#sockets.delete(from));
    from.pipe(to);
  }
}
