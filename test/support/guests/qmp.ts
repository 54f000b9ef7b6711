/**
 * QEMU's machine protocol from a test's side, written apart from the program's own so that the two
 * do not share a mistake. QEMU docs/interop/qmp-spec: a greeting, qmp_capabilities, then commands
 * with ids, their answers in any order, and events in between; one JSON object a line.
 */
import type { Socket } from "node:net";
import { withDeadline } from "../system/deadline.ts";

export interface QmpEvent {
  event: string;
  data: Record<string, unknown>;
}

/** QEMU refused a command; the class is the stable part. */
export class QmpRefusal extends Error {
  constructor(
    readonly command: string,
    readonly errorClass: string,
    description: string,
  ) {
    super(`${command}: ${description}`);
  }
}

interface Answer {
  id?: number;
  return?: unknown;
  error?: { class: string; desc: string };
  event?: string;
  data?: Record<string, unknown>;
  QMP?: unknown;
}

export class Qmp {
  readonly #socket: Socket;
  readonly #pending = new Map<number, { command: string; answer: PromiseWithResolvers<unknown> }>();
  readonly #watchers = new Set<{ take: (event: QmpEvent) => void; end: (reason: Error) => void }>();
  readonly #greeting = Promise.withResolvers<void>();
  #lastId = 0;
  #rest = "";
  #ended: Error | undefined;

  private constructor(socket: Socket) {
    this.#socket = socket;
    this.#greeting.promise.catch(() => {});
    socket.setEncoding("utf8");
    socket.on("data", (text) => this.#read(String(text)));
    socket.on("error", (error) => this.#end(error));
    socket.on("close", () => this.#end(new Error("QEMU closed its monitor")));
    socket.on("end", () => socket.end());
  }

  /** Waits for the greeting and leaves the negotiation mode. Throws when QEMU goes away first. */
  static async negotiate(socket: Socket): Promise<Qmp> {
    const qmp = new Qmp(socket);
    await withDeadline(qmp.#greeting.promise, 30_000, "the greeting of QEMU's monitor");
    await qmp.execute("qmp_capabilities");
    return qmp;
  }

  /** Gives what the command returns. Throws QmpRefusal, or an Error when QEMU goes away or is silent for a minute. */
  async execute(command: string, args: Record<string, unknown> = {}): Promise<unknown> {
    if (this.#ended !== undefined) throw this.#ended;
    const id = ++this.#lastId;
    const answer = Promise.withResolvers<unknown>();
    this.#pending.set(id, { command, answer });
    this.#socket.write(`${JSON.stringify({ execute: command, arguments: args, id })}\n`);
    return await withDeadline(answer.promise, 60_000, `the answer to ${command}`);
  }

  /**
   * The next event of that name from now on for which `where` holds: call it before the command that
   * brings the event about. Rejects when QEMU goes away or the deadline passes.
   */
  nextEvent(
    name: string,
    where: (event: QmpEvent) => boolean = () => true,
    deadlineMs = 60_000,
  ): Promise<QmpEvent> {
    const found = Promise.withResolvers<QmpEvent>();
    const watcher = {
      take: (event: QmpEvent) => {
        if (event.event === name && where(event)) found.resolve(event);
      },
      end: found.reject,
    };
    this.#watchers.add(watcher);
    if (this.#ended !== undefined) found.reject(this.#ended);
    const waiting = withDeadline(found.promise, deadlineMs, `the event ${name}`);
    const done = waiting.finally(() => this.#watchers.delete(watcher));
    // It may fail while its caller still waits for the command that comes before it.
    done.catch(() => {});
    return done;
  }

  close(): void {
    this.#socket.destroy();
    this.#end(new Error("the monitor was closed"));
  }

  #read(text: string): void {
    const lines = (this.#rest + text).split("\n");
    this.#rest = lines.pop() ?? "";
    for (const line of lines) if (line.trim() !== "") this.#take(JSON.parse(line) as Answer);
  }

  #take(answer: Answer): void {
    if (answer.QMP !== undefined) {
      this.#greeting.resolve();
      return;
    }
    if (answer.event !== undefined) {
      const event = { event: answer.event, data: answer.data ?? {} };
      for (const watcher of [...this.#watchers]) watcher.take(event);
      return;
    }
    const pending = answer.id === undefined ? undefined : this.#pending.get(answer.id);
    if (answer.id === undefined || pending === undefined)
      throw new Error(`unexpected: ${JSON.stringify(answer)}`);
    this.#pending.delete(answer.id);
    if (answer.error === undefined) pending.answer.resolve(answer.return);
    else pending.answer.reject(new QmpRefusal(pending.command, answer.error.class, answer.error.desc));
  }

  #end(reason: Error): void {
    if (this.#ended !== undefined) return;
    this.#ended = reason;
    this.#greeting.reject(reason);
    for (const { answer } of this.#pending.values()) answer.reject(reason);
    this.#pending.clear();
    for (const watcher of [...this.#watchers]) watcher.end(reason);
  }
}
