/** The socket below a QMP connection: calling QEMU, and sending what the socket does not take at once. */
import { closeSync } from "node:fs";
import type { Socket } from "bun";
import { callUnixSocket, peerOf, peerUidOf } from "../../../platform/peer-process.ts";
import type { ProcessId } from "../../../platform/process-id.ts";

/** How long to wait before a full queue is tried again; QEMU's holds two callers, gone ones until it looks. */
const callAgainMs = 20;

export interface QmpSocketEvents {
  /** A piece of what QEMU sends; read at once or copied. */
  read(piece: Uint8Array): void;
  /** It is closed, by whomever; called once. `cause` is the system's error if there was one. */
  ended(cause: unknown): void;
}

interface Outgoing {
  id: number;
  bytes: Uint8Array;
  sentBytes: number;
}

export class QmpSocket {
  /** Who made the socket at the other end; null if it lives in a PID namespace that we do not see. */
  readonly peer: ProcessId | null;
  /** The user that it was then. */
  readonly peerUid: number;
  readonly #events: QmpSocketEvents;
  #socket: Socket | undefined;
  #outgoing: Outgoing[] = [];
  #cause: unknown;

  private constructor(fd: number, events: QmpSocketEvents) {
    this.peer = peerBehind(fd);
    this.peerUid = peerUidOf(fd);
    this.#events = events;
  }

  /**
   * Calls the unix socket at `path`; if its queue of callers is full, again and again until
   * `lateAtMs` of performance.now(). Throws the SystemError of callUnixSocket.
   */
  static async call(path: string, lateAtMs: number, events: QmpSocketEvents): Promise<QmpSocket> {
    // Bun's own call does not tell a full queue from a socket that nobody listens on.
    const fd = await descriptorOf(path, lateAtMs);
    try {
      const socket = new QmpSocket(fd, events);
      await socket.#adopt(fd);
      return socket;
    } catch (thrown) {
      closeSync(fd);
      throw thrown;
    }
  }

  /** Sends these bytes behind those before them, in the socket's own time. */
  send(id: number, bytes: Uint8Array): void {
    this.#outgoing.push({ id, bytes, sentBytes: 0 });
    this.#flush();
  }

  /** Takes back what was sent under this id: true, or false if some of it has left already. */
  withdraw(id: number): boolean {
    const found = this.#outgoing.find((outgoing) => outgoing.id === id);
    if (found === undefined || found.sentBytes > 0) return false;
    this.#outgoing = this.#outgoing.filter((outgoing) => outgoing !== found);
    return true;
  }

  /** Closes at once, whatever waits to be sent. Harmless when it is closed. */
  terminate(): void {
    this.#outgoing = [];
    this.#socket?.terminate();
  }

  async #adopt(fd: number): Promise<void> {
    const options: Bun.FdSocketOptions = {
      fd,
      socket: {
        open: (socket) => {
          this.#socket = socket;
        },
        data: (_, piece) => this.#events.read(piece),
        drain: () => this.#flush(),
        error: (_, cause) => {
          this.#cause = cause;
          this.terminate();
        },
        close: (_, cause) => this.#events.ended(cause ?? this.#cause),
      },
    };
    // Bun's types have these options, but no function that takes them.
    await Bun.connect(options as Bun.SocketOptions as Bun.UnixSocketOptions);
  }

  /** The socket itself stores nothing: it returns how much it took, and calls `drain` when there is room again. */
  #flush(): void {
    for (let next = this.#outgoing[0]; next !== undefined; next = this.#outgoing[0]) {
      const taken = this.#socket?.write(next.bytes.subarray(next.sentBytes)) ?? 0;
      // Negative once it is closed; `close` is called for that.
      if (taken <= 0) return;
      next.sentBytes += taken;
      if (next.sentBytes < next.bytes.length) return;
      this.#outgoing.shift();
    }
  }
}

async function descriptorOf(path: string, lateAtMs: number): Promise<number> {
  for (;;) {
    try {
      return callUnixSocket(path);
    } catch (thrown) {
      const { code } = thrown as { code?: unknown };
      if (code !== "EAGAIN" || performance.now() >= lateAtMs) throw thrown;
    }
    await Bun.sleep(callAgainMs);
  }
}

function peerBehind(fd: number): ProcessId | null {
  try {
    return peerOf(fd);
  } catch {
    return null;
  }
}
