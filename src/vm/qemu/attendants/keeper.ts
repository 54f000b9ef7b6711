/**
 * The keeper of a VM's serial lines: a process that stands between QEMU and whoever looks. QEMU's socket serves one
 * caller at a time and forgets what is said to nobody; the keeper always listens, writes a log that cannot grow, and
 * lets any number of programs and consoles in. It has the rights of the VM's other programs and no more.
 *
 * It ends when QEMU closes the lines, which is when QEMU ends.
 */
import { existsSync, rmSync } from "node:fs";
import type { Socket } from "bun";
import { greetingText } from "./console-words.ts";
import { type SerialNames, serialNames } from "./names.ts";
import { SerialLog, serialKeeps, serialTail } from "./serial-log.ts";
import { SlowSocket } from "./slow-socket.ts";

/** How long QEMU's sockets are waited for, in milliseconds; it has them before the keeper is started. */
const callMs = 10_000;
const callAgainMs = 20;
/** A console is shown at least so much of what was said last, if there is as much. */
const contextBytes = 4096;
/** Whoever reads so slowly that more than this waits is let go. */
const mostWaitingBytes = 4 * 1024 * 1024;
/** So much may wait for QEMU to take it before nobody is listened to. */
const mostTypedBytes = 64 * 1024;

/** Keeps the lines of these names, in their order, in the working directory; resolves when QEMU has closed all. */
export async function keepSerialLines(names: readonly string[]): Promise<void> {
  const lines = names.map((name, number) => new Line(serialNames(name, number)));
  await Promise.all(lines.map((line) => line.call()));
  for (const line of lines) line.listen();
  await Promise.all(lines.map((line) => line.ended));
}

class Line {
  readonly #names: SerialNames;
  readonly #log: SerialLog;
  readonly #programs = new Set<SlowSocket>();
  readonly #consoles = new Set<SlowSocket>();
  readonly #end = Promise.withResolvers<void>();
  readonly #listeners: { stop(closeAll?: boolean): void }[] = [];
  #qemu: SlowSocket | undefined;
  #arePaused = false;
  /** Bytes that the guest has said, and those of them that were sent to a console. */
  #saidBytes = 0;
  #seenBytes = 0;

  constructor(names: SerialNames) {
    this.#names = names;
    this.#log = new SerialLog(names.log);
  }

  get ended(): Promise<void> {
    return this.#end.promise;
  }

  /** Calls QEMU. Throws as Bun does if it does not answer. */
  async call(): Promise<void> {
    for (const lateAtMs = performance.now() + callMs; ; await Bun.sleep(callAgainMs)) {
      try {
        await this.#connect();
        return;
      } catch (thrown) {
        if (performance.now() > lateAtMs) throw thrown;
      }
    }
  }

  async #connect(): Promise<void> {
    await Bun.connect<unknown>({
      unix: this.#names.qemu,
      socket: {
        open: (socket) => {
          this.#qemu = new SlowSocket(socket);
        },
        data: (_, bytes) => this.#said(bytes),
        drain: () => {
          this.#qemu?.flush();
          this.#letType();
        },
        error: () => {},
        close: () => this.#close(),
      },
    });
  }

  /** Lets programs and consoles in. Throws as Bun does. */
  listen(): void {
    for (const path of [this.#names.program, this.#names.console]) if (existsSync(path)) rmSync(path);
    this.#listenAt(this.#names.program, this.#programs, () => {});
    // The last to be there: whoever waits for it finds the rest.
    this.#listenAt(this.#names.console, this.#consoles, (caller) => this.#greet(caller));
  }

  #listenAt(path: string, callers: Set<SlowSocket>, welcome: (caller: SlowSocket) => void): void {
    const known = new Map<Socket<unknown>, SlowSocket>();
    const listener = Bun.listen<unknown>({
      unix: path,
      socket: {
        open: (socket) => {
          const caller = new SlowSocket(socket);
          known.set(socket, caller);
          welcome(caller);
          callers.add(caller);
          if (this.#arePaused) caller.pause();
        },
        data: (_, bytes) => this.#typed(bytes),
        drain: (socket) => known.get(socket)?.flush(),
        error: () => {},
        close: (socket) => {
          callers.delete(known.get(socket)!);
          known.delete(socket);
        },
      },
    });
    this.#listeners.push(listener);
  }

  #greet(caller: SlowSocket): void {
    const unseen = Math.min(this.#saidBytes - this.#seenBytes, serialKeeps.tailBytes);
    const history = serialTail(this.#names.log, Math.max(unseen, contextBytes));
    this.#seenBytes = this.#saidBytes;
    const greeting = {
      history: history.length,
      unseen: Math.min(unseen, history.length),
      others: this.#consoles.size,
    };
    caller.send(Buffer.concat([Buffer.from(greetingText(greeting)), history]));
  }

  #said(bytes: Uint8Array): void {
    this.#saidBytes += bytes.length;
    this.#log.append(bytes);
    if (this.#consoles.size > 0) this.#seenBytes = this.#saidBytes;
    for (const caller of [...this.#programs, ...this.#consoles]) {
      // Bun may use the memory again.
      caller.send(new Uint8Array(bytes));
      if (caller.waitingBytes > mostWaitingBytes) caller.end();
    }
  }

  #typed(bytes: Uint8Array): void {
    const qemu = this.#qemu;
    if (qemu === undefined) return;
    qemu.send(new Uint8Array(bytes));
    if (qemu.waitingBytes < mostTypedBytes || this.#arePaused) return;
    this.#arePaused = true;
    for (const caller of [...this.#programs, ...this.#consoles]) caller.pause();
  }

  /** The guest has read what was typed: whoever types is listened to again. */
  #letType(): void {
    if (!this.#arePaused || (this.#qemu?.waitingBytes ?? 0) > 0) return;
    this.#arePaused = false;
    for (const caller of [...this.#programs, ...this.#consoles]) caller.resume();
  }

  #close(): void {
    this.#qemu = undefined;
    for (const listener of this.#listeners) listener.stop();
    for (const caller of [...this.#programs, ...this.#consoles]) caller.end();
    this.#log.close();
    this.#end.resolve();
  }
}
