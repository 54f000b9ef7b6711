/** A QEMU that a test plays: a unix socket on which its monitor greets, answers and misbehaves as told. */
import { createServer, type Server, type Socket } from "node:net";
import { withDeadline } from "../../../support/system/deadline.ts";

export const greetingLine = `{"QMP": {"version": {"qemu": {"micro": 22, "minor": 2, "major": 7}, "package": ""}, "capabilities": ["oob"]}}\r\n`;

export interface PlayedCommand {
  execute: string;
  arguments?: Record<string, unknown>;
  id: number;
}

/** One connection to it, from QEMU's side. */
export class PlayedMonitor {
  readonly socket: Socket;
  readonly closed: Promise<void>;
  readonly #commands: PlayedCommand[] = [];
  readonly #waiting: ((command: PlayedCommand) => void)[] = [];
  #rest = "";

  constructor(socket: Socket) {
    this.socket = socket;
    const closed = Promise.withResolvers<void>();
    this.closed = closed.promise;
    socket.setEncoding("utf8");
    socket.on("error", () => {});
    socket.on("close", () => closed.resolve());
    socket.on("data", (text) => {
      const lines = (this.#rest + String(text)).split("\n");
      this.#rest = lines.pop() ?? "";
      for (const line of lines) this.#take(JSON.parse(line) as PlayedCommand);
    });
  }

  /** The next command that has not been looked at. */
  async command(): Promise<PlayedCommand> {
    const there = this.#commands.shift();
    if (there !== undefined) return there;
    const next = Promise.withResolvers<PlayedCommand>();
    this.#waiting.push(next.resolve);
    return await withDeadline(next.promise, 5000, "a command");
  }

  /** Writes and waits until the kernel has it, so that two pieces are read apart where the reader is quick. */
  async write(bytes: string | Uint8Array): Promise<void> {
    const written = Promise.withResolvers<void>();
    this.socket.write(bytes, () => written.resolve());
    await withDeadline(written.promise, 5000, "a write to the client");
  }

  async say(...messages: object[]): Promise<void> {
    await this.write(messages.map((message) => `${JSON.stringify(message)}\r\n`).join(""));
  }

  async negotiate(): Promise<void> {
    await this.write(greetingLine);
    const { id } = await this.command();
    await this.say({ return: {}, id });
  }

  #take(command: PlayedCommand): void {
    const waiting = this.#waiting.shift();
    if (waiting === undefined) this.#commands.push(command);
    else waiting(command);
  }
}

export class PlayedQemu {
  readonly #server: Server;
  readonly #monitors: PlayedMonitor[] = [];

  private constructor(server: Server) {
    this.#server = server;
  }

  /** Listens at `path`; `greet` is what happens with each who connects. */
  static async listen(path: string, greet: (monitor: PlayedMonitor) => unknown): Promise<PlayedQemu> {
    const listening = Promise.withResolvers<void>();
    const server = createServer((socket) => {
      const monitor = new PlayedMonitor(socket);
      played.#monitors.push(monitor);
      // A client that has gone away in the middle is seen in the test itself.
      Promise.resolve(greet(monitor)).catch(() => {});
    });
    const played: PlayedQemu = new PlayedQemu(server);
    server.once("error", listening.reject);
    server.listen(path, listening.resolve);
    await listening.promise;
    return played;
  }

  close(): void {
    for (const { socket } of this.#monitors) socket.destroy();
    this.#server.close();
  }
}

/** An event as QEMU writes it. */
export function playedEvent(event: string, data: object = {}): object {
  return { timestamp: { seconds: 1_900_000_000, microseconds: 250_500 }, event, data };
}
