/**
 * The relay of a VM's screen: a process that listens on a port of this host's loopback address and passes on to QEMU's
 * socket, since QEMU has no network of this host. It ends when QEMU does.
 */
import { renameSync, writeFileSync } from "node:fs";
import type { Socket } from "bun";
import { vncSocketName } from "../definition/consoles/display.ts";
import { SlowSocket } from "./slow-socket.ts";
import { firstVncPort, lastVncPort, vncPortName } from "./vnc-port.ts";

/** Who looks at a screen at a time. */
const mostCallers = 16;
/** So much may wait at one end before the other is not read from. */
const mostWaitingBytes = 1024 * 1024;

/** Shows the screen whose socket is in the working folder; resolves when QEMU is gone. Throws if no port is free. */
export async function relayScreen(): Promise<void> {
  let callers = 0;
  const listener = listen((socket) => {
    if (callers >= mostCallers) return null;
    callers += 1;
    return new Passage(socket, () => {
      callers -= 1;
    });
  });
  // Whole when it is there: whoever waits for it reads it at once.
  writeFileSync(`.${vncPortName}`, `${listener.port}\n`, { mode: 0o600 });
  renameSync(`.${vncPortName}`, vncPortName);
  while (await held()) {
    // QEMU lets callers go that say nothing, if there are many of them: it is called again.
  }
  listener.stop(true);
}

function listen(
  open: (socket: Socket<Passage | null>) => Passage | null,
): Bun.TCPSocketListener<Passage | null> {
  for (let port = firstVncPort; ; port += 1) {
    try {
      return Bun.listen<Passage | null>({
        hostname: "127.0.0.1",
        port,
        socket: {
          open: (socket) => {
            socket.data = open(socket);
            if (socket.data === null) socket.end();
          },
          data: (socket, bytes) => socket.data?.fromCaller(bytes),
          drain: (socket) => socket.data?.callerTakes(),
          error: () => {},
          close: (socket) => socket.data?.close(),
        },
      });
    } catch (thrown) {
      if (port >= lastVncPort) throw thrown;
    }
  }
}

/** Stays connected to QEMU. Resolves with true once that connection is lost, false if QEMU cannot be called. */
async function held(): Promise<boolean> {
  const lost = Promise.withResolvers<boolean>();
  try {
    await Bun.connect<unknown>({
      unix: vncSocketName,
      socket: { data: () => {}, error: () => {}, close: () => lost.resolve(true) },
    });
  } catch {
    return false;
  }
  return await lost.promise;
}

/** One caller, and its own connection to QEMU. */
class Passage {
  readonly #caller: SlowSocket;
  readonly #closed: () => void;
  /** What it said before the connection was there. */
  #early: Uint8Array[] = [];
  #qemu: SlowSocket | undefined;
  #isClosed = false;

  constructor(socket: Socket<Passage | null>, closed: () => void) {
    this.#caller = new SlowSocket(socket as Socket<unknown>);
    this.#closed = closed;
    void this.#connect();
  }

  async #connect(): Promise<void> {
    try {
      await Bun.connect<unknown>({
        unix: vncSocketName,
        socket: {
          open: (socket) => {
            this.#qemu = new SlowSocket(socket);
            for (const bytes of this.#early.splice(0)) this.#qemu.send(bytes);
            if (this.#isClosed) this.#qemu.end();
          },
          data: (_, bytes) => pass(bytes, this.#caller, this.#qemu),
          drain: () => {
            this.#qemu?.flush();
            if ((this.#qemu?.waitingBytes ?? 0) === 0) this.#caller.resume();
          },
          error: () => {},
          close: () => this.#caller.end(),
        },
      });
    } catch {
      this.#caller.end();
    }
  }

  fromCaller(bytes: Uint8Array): void {
    if (this.#qemu !== undefined) pass(bytes, this.#qemu, this.#caller);
    else if (this.#early.reduce((sum, early) => sum + early.length, bytes.length) <= mostWaitingBytes)
      this.#early.push(new Uint8Array(bytes));
    else this.#caller.end();
  }

  callerTakes(): void {
    this.#caller.flush();
    if (this.#caller.waitingBytes === 0) this.#qemu?.resume();
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#qemu?.end();
    this.#closed();
  }
}

function pass(bytes: Uint8Array, to: SlowSocket, from: SlowSocket | undefined): void {
  // Bun may use the memory again.
  to.send(new Uint8Array(bytes));
  if (to.waitingBytes > mostWaitingBytes) from?.pause();
}
