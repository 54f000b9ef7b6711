/**
 * A gate put between two unix sockets: one connection is accepted from the libvirtd that calls, one made to what
 * answers, and the bytes of both go through the gate. Whoever does not take what is sent is not read from.
 */
import { closeSync } from "node:fs";
import type { Socket } from "bun";
import { callUnixSocket } from "../../../platform/peer-process.ts";
import type { UnixListener } from "../../../platform/unix-listener.ts";
import type { MigrateError } from "../../../protocol/errors.ts";
import type { Effects, Gate } from "./gate.ts";

/** Bytes that may wait for one end before nothing more is read from it: it would only get more answers. */
const ownBytes = 64 * 1024;
/** And before nothing more is read from the other one: a call and its answer, each as long as may be, have room. */
const othersBytes = 2 * 1024 * 1024;
/** How long an end may take for what it was sent last. */
const lingerMs = 5_000;
/** How long a client that was refused has for taking its leave. */
const leaveMs = 1_000;

export interface RelayOptions<Event> {
  gate: Gate<Event>;
  /** Called for each event, in order, after what it is about has been handed to the sockets. */
  onEvent: (event: Event) => void;
}

export class GateRelay<Event> {
  /** Settles once both connections have ended: with why the gate was closed, or undefined. Never rejects. */
  readonly ended: Promise<MigrateError | undefined>;
  readonly #options: RelayOptions<Event>;
  readonly #end = Promise.withResolvers<MigrateError | undefined>();
  readonly #client: RelayEnd;
  readonly #server: RelayEnd;
  #refused: MigrateError | undefined;

  private constructor(options: RelayOptions<Event>) {
    this.#options = options;
    this.ended = this.#end.promise;
    const { gate } = options;
    this.#client = new RelayEnd({
      data: (bytes) => this.perform(gate.fromClient(bytes)),
      drained: () => this.#balance(),
      gone: () => this.#clientGone(),
    });
    this.#server = new RelayEnd({
      data: (bytes) => this.perform(gate.fromServer(bytes)),
      drained: () => this.#balance(),
      gone: () => this.#serverGone(),
    });
  }

  /**
   * Waits for one connection, after which nobody else is let in, and connects it to the unix socket `target` by
   * `options.gate`.
   * @param wait as UnixListener.accept takes it; rejects as that does.
   * @throws SystemError as callUnixSocket does; the connection that came is closed then.
   */
  static async accept<Event>(
    listener: UnixListener,
    target: string,
    options: RelayOptions<Event>,
    wait: { timeoutMs?: number; signal?: AbortSignal } = {},
  ): Promise<GateRelay<Event>> {
    const fd = await listener.accept(wait).finally(() => listener.close());
    return GateRelay.join(fd, target, options);
  }

  /** As `accept`, for a connection that is there: its descriptor, which belongs to the relay from now on. */
  static async join<Event>(
    fd: number,
    target: string,
    options: RelayOptions<Event>,
  ): Promise<GateRelay<Event>> {
    let targetFd: number;
    try {
      targetFd = callUnixSocket(target);
    } catch (thrown) {
      closeSync(fd);
      throw thrown;
    }
    const relay = new GateRelay(options);
    // The server first: what the client sends has to go somewhere.
    await relay.#server.adopt(targetFd);
    await relay.#client.adopt(fd);
    return relay;
  }

  /** Does what follows from bytes, or from a decision: `SourceGate.release` and `refuse`. */
  perform({ toServer, toClient, events, refused }: Effects<Event>): void {
    this.#server.send(Buffer.concat(toServer));
    this.#client.send(Buffer.concat(toClient));
    this.#balance();
    for (const event of events) this.#options.onEvent(event);
    if (refused === undefined) return;
    this.#refused ??= refused;
    this.#server.finish();
    this.#letGo();
  }

  /** Ends both connections at once. Idempotent. */
  close(): void {
    this.#client.terminate();
    this.#server.terminate();
  }

  #clientGone(): void {
    if (this.#server.isGone) this.#end.resolve(this.#refused);
    else this.#server.finish();
  }

  #serverGone(): void {
    if (this.#client.isGone) {
      this.#end.resolve(this.#refused);
      return;
    }
    this.perform(this.#options.gate.serverEnded());
    this.#letGo();
  }

  /** Ends the client's connection as the gate has it. */
  #letGo(): void {
    const { parting } = this.#options.gate;
    if (parting !== "own-time") this.#client.finish(parting === "soon" ? leaveMs : 0);
  }

  #balance(): void {
    const clientWaits = this.#client.waitingBytes;
    const serverWaits = this.#server.waitingBytes;
    this.#client.pause(clientWaits > ownBytes || serverWaits > othersBytes);
    this.#server.pause(serverWaits > ownBytes || clientWaits > othersBytes);
  }
}

interface RelayEndEvents {
  data(bytes: Uint8Array): void;
  drained(): void;
  /** Called once. */
  gone(): void;
}

/** One of the two connections. */
class RelayEnd {
  readonly #events: RelayEndEvents;
  #socket: Socket | undefined;
  #waiting: Uint8Array[] = [];
  #finishing = false;
  #gone = false;
  #paused = false;
  #linger: NodeJS.Timeout | undefined;

  constructor(events: RelayEndEvents) {
    this.#events = events;
  }

  get waitingBytes(): number {
    return this.#waiting.reduce((sum, { length }) => sum + length, 0);
  }

  get isGone(): boolean {
    return this.#gone;
  }

  async adopt(fd: number): Promise<void> {
    const options: Bun.FdSocketOptions = {
      fd,
      socket: {
        open: (socket) => {
          this.#socket = socket;
          if (this.#gone) socket.terminate();
        },
        data: (_, bytes) => {
          if (!this.#finishing && !this.#gone) this.#events.data(bytes);
        },
        drain: () => {
          this.#flush();
          this.#events.drained();
        },
        error: () => this.terminate(),
        close: () => this.#end(),
      },
    };
    // Bun's types have these options, but no function that takes them.
    await Bun.connect(options as Bun.SocketOptions as Bun.UnixSocketOptions);
    this.#flush();
  }

  send(bytes: Uint8Array): void {
    if (this.#gone || this.#finishing || bytes.length === 0) return;
    this.#waiting.push(bytes);
    this.#flush();
  }

  /**
   * Ends after `afterMs`, unless the other end does before that; and then once everything has been taken, or after
   * `lingerMs`. The first call counts.
   */
  finish(afterMs = 0): void {
    if (this.#gone || this.#finishing || this.#linger !== undefined) return;
    if (afterMs > 0) {
      this.#linger = setTimeout(() => {
        this.#linger = undefined;
        this.finish();
      }, afterMs);
      return;
    }
    this.#finishing = true;
    this.#linger = setTimeout(() => this.terminate(), lingerMs);
    this.pause(false);
    this.#flush();
  }

  terminate(): void {
    this.#waiting = [];
    this.#socket?.terminate();
    this.#end();
  }

  pause(paused: boolean): void {
    if (paused === this.#paused || this.#gone) return;
    this.#paused = paused;
    if (paused) this.#socket?.pause();
    else this.#socket?.resume();
  }

  /** The socket itself stores nothing: it returns how much it took, and calls `drain` when there is room again. */
  #flush(): void {
    for (let next = this.#waiting[0]; next !== undefined; next = this.#waiting[0]) {
      const taken = this.#socket?.write(next) ?? 0;
      // Negative once it is closed; `close` is called for that.
      if (taken <= 0) return;
      if (taken < next.length) {
        this.#waiting[0] = next.subarray(taken);
        return;
      }
      this.#waiting.shift();
    }
    if (this.#finishing) this.#socket?.end();
  }

  #end(): void {
    if (this.#gone) return;
    this.#gone = true;
    this.#waiting = [];
    clearTimeout(this.#linger);
    this.#events.gone();
  }
}
