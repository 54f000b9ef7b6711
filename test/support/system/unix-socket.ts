/** Unix sockets on which a test waits for one caller: QEMU connects to the test, so nobody polls. */
import { createConnection, createServer, type Socket } from "node:net";

export interface ExpectedCaller {
  /** The connection, once it is there. Paused until somebody reads it. */
  socket: Promise<Socket>;
  /** Stops waiting; a connection that is there stays. */
  close(): void;
}

/** Listens on a path (at most 107 bytes, unix(7)) and settles once it is safe to name it to the caller. */
export async function expectCaller(path: string): Promise<ExpectedCaller> {
  const caller = Promise.withResolvers<Socket>();
  // Whoever never asks for the socket must not bring the test process down.
  caller.promise.catch(() => {});
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    caller.resolve(socket);
    server.close();
  });
  const listening = Promise.withResolvers<void>();
  server.once("error", (error) => {
    listening.reject(error);
    caller.reject(error);
  });
  server.listen(path, listening.resolve);
  await listening.promise;
  return {
    socket: caller.promise,
    close: () => {
      server.close();
      caller.reject(new Error(`nobody came to ${path}`));
    },
  };
}

/** Connects to a path on which somebody listens already. */
export async function callSocket(path: string): Promise<Socket> {
  const connected = Promise.withResolvers<Socket>();
  const socket = createConnection({ path }, () => connected.resolve(socket));
  socket.once("error", connected.reject);
  return await connected.promise;
}
