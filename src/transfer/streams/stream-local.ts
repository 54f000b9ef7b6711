/**
 * The program's end of a stream: a connection over a unix socket, of which each direction ends on its own.
 */
import type { Socket, SocketHandler } from "bun";

export interface LocalProgram {
  /** The program sent this; the receiver may keep the buffer. */
  data(bytes: Buffer): void;
  /** The program sends nothing more; it may still receive. */
  end(): void;
  /** The program is gone, and sends and receives nothing any more. Not called after `close`. */
  gone(): void;
  /** The program takes bytes again. */
  drained(): void;
}

export class StreamLocal {
  readonly #program: LocalProgram;
  #socket: Socket<undefined> | undefined;
  #closed = false;
  #paused = false;

  constructor(program: LocalProgram) {
    this.#program = program;
  }

  /** Connects to the unix socket `path`. Rejects with the system's error. */
  async connect(path: string): Promise<void> {
    await Bun.connect({ unix: path, allowHalfOpen: true, socket: this.#callbacks() });
  }

  /** Takes a connected descriptor over, which is closed with this. Rejects with the system's error. */
  async adopt(fd: number): Promise<void> {
    const options = { fd, allowHalfOpen: true, socket: this.#callbacks() };
    // Bun's types leave out that connect takes a descriptor.
    await Bun.connect(options as object as Bun.UnixSocketOptions<undefined>);
  }

  /** Hands bytes to the program; returns how many it took. The rest is for `drained`. */
  write(bytes: Buffer): number {
    // Bun returns -1 for a socket whose other end is gone, which `gone` reports.
    return Math.max(0, this.#socket?.write(bytes) ?? 0);
  }

  /** Nothing more is sent to the program. To be called once it has taken everything. */
  shutdown(): void {
    this.#socket?.shutdown();
  }

  pause(): void {
    if (this.#paused) return;
    this.#paused = true;
    this.#socket?.pause();
  }

  resume(): void {
    if (!this.#paused) return;
    this.#paused = false;
    this.#socket?.resume();
  }

  /** Closes at once; the program may still read what it was given. Idempotent. */
  close(): void {
    this.#closed = true;
    this.#socket?.terminate();
  }

  #callbacks(): SocketHandler<undefined> {
    return {
      open: (socket) => {
        this.#socket = socket;
        if (this.#closed) socket.terminate();
        else if (this.#paused) socket.pause();
      },
      data: (_, bytes) => {
        if (!this.#closed) this.#program.data(bytes);
      },
      drain: () => {
        if (!this.#closed) this.#program.drained();
      },
      end: () => {
        if (!this.#closed) this.#program.end();
      },
      // Bun closes a socket whose other end has closed, and one that both ends have shut down.
      close: () => {
        if (this.#closed) return;
        this.#closed = true;
        this.#program.gone();
      },
      error: () => {},
    };
  }
}
