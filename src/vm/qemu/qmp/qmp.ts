/**
 * QEMU's machine protocol: commands with their answers, and events (QEMU docs/interop/qmp-spec and
 * qemu-qmp-ref). One connection to the unix socket of one QEMU.
 */
import { randomInt } from "node:crypto";
import * as v from "valibot";
import type { ProcessId } from "../../../platform/process-id.ts";
import { connectFailure, QmpError } from "./qmp-error.ts";
import {
  LineCutter,
  parseQmpLine,
  type QmpEvent,
  type QmpMessage,
  type QmpVersion,
  qmpLineBytes,
} from "./qmp-line.ts";
import { QmpSocket } from "./qmp-socket.ts";
import { type EventFilter, type QmpWaitOptions, QmpWatch } from "./qmp-watch.ts";

export type { QmpEvent } from "./qmp-line.ts";

/** A QEMU that nobody else talks to greets at once; one that loads or stops a VM may be busy for seconds. */
const connectTimeoutMs = 10_000;
const answerTimeoutMs = 30_000;
/**
 * Most commands of one connection. QEMU sends the answer to a command whose caller died to whoever calls next:
 * each connection has a range of ids of its own, so that it can be told from the answers to ours.
 */
const mostCommands = 2 ** 22;
const idRanges = 2 ** 31;

/**
 * `connecting`: neither greeting nor capabilities yet. `running`: commands and events flow. `ending`: why
 * it ends is known and all who waited have been told, but the socket is not closed yet. `ended`.
 */
type State = "connecting" | "running" | "ending" | "ended";

interface Pending {
  command: string;
  answer: PromiseWithResolvers<unknown>;
  timer: NodeJS.Timeout;
}

export class Qmp {
  readonly #closed = Promise.withResolvers<QmpError>();
  /** Settles once, when the connection is gone, with why; never rejects. */
  readonly closed: Promise<QmpError> = this.#closed.promise;
  readonly #greeting = Promise.withResolvers<void>();
  readonly #pending = new Map<number, Pending>();
  /** Commands that nobody waits for any more; their answers are still to come. */
  readonly #abandoned = new Set<number>();
  readonly #watch = new QmpWatch();
  readonly #lines = new LineCutter(qmpLineBytes);
  #socket: QmpSocket | undefined;
  #state: State = "connecting";
  #reason: QmpError | undefined;
  readonly #idRange = randomInt(idRanges);
  #lastId = this.#idRange * mostCommands;
  #version: QmpVersion | undefined;

  private constructor() {
    this.#greeting.promise.catch(() => {});
  }

  /**
   * Connects to the unix socket at `path` (at most 107 bytes), waits for the greeting and negotiates;
   * `timeoutMs` (10 s) is for all of it. Throws MigrateError "vm-invalid" if there is no such socket,
   * nobody listens, what listens is no QEMU, or another program holds it: QEMU serves one at a time.
   */
  static async connect(path: string, { timeoutMs = connectTimeoutMs } = {}): Promise<Qmp> {
    const qmp = new Qmp();
    const late = setTimeout(() => qmp.#end(new QmpError("silent", "no greeting in time")), timeoutMs);
    try {
      await qmp.#open(path, performance.now() + timeoutMs);
      await qmp.#greeting.promise;
      await qmp.#send("qmp_capabilities", undefined, timeoutMs);
      // It may have ended in the same moment.
      if (qmp.#reason !== undefined) throw qmp.#reason;
      qmp.#state = "running";
      return qmp;
    } catch (thrown) {
      qmp.close();
      throw connectFailure(path, thrown);
    } finally {
      clearTimeout(late);
    }
  }

  /** QEMU's version, as it greeted with. */
  get version(): Readonly<QmpVersion> {
    // `connect` returns nothing before the greeting.
    return this.#version!;
  }

  /**
   * The process at the other end of this very connection; null if it lives in a PID namespace that we
   * do not see. It is whoever made the socket: for a QEMU that was handed one, that is who did it.
   */
  get peer(): ProcessId | null {
    return this.#socket?.peer ?? null;
  }

  /** The user that made the socket at the other end, as `peer`. Throws once the connection has ended. */
  get peerUid(): number {
    return this.#socket!.peerUid;
  }

  /** Whether it has ended, or is about to. */
  get isClosed(): boolean {
    return this.#state === "ending" || this.#state === "ended";
  }

  /**
   * Returns QEMU's answer to a command, unread: `ask` is for those of which the answer counts. Commands are done in
   * the order they are given. Throws QmpError (see QmpErrorKind): a command that is refused or not answered
   * within `timeoutMs` (30 s) leaves the connection as it was, and one that had not left yet never will.
   */
  async execute(
    command: string,
    args?: object,
    { timeoutMs = answerTimeoutMs }: { timeoutMs?: number | undefined } = {},
  ): Promise<unknown> {
    return await this.#send(command, args, timeoutMs);
  }

  /**
   * Returns QEMU's answer to a command, read by `schema`. Throws QmpError as `execute`, and "malformed" if the answer
   * is another: what listens may be no QEMU, or one that its guest has taken over.
   */
  async ask<S extends v.GenericSchema>(
    schema: S,
    command: string,
    args?: object,
    options?: { timeoutMs?: number | undefined },
  ): Promise<v.InferOutput<S>> {
    const answer = v.safeParse(schema, await this.execute(command, args, options));
    if (answer.success) return answer.output;
    const [{ message }] = answer.issues;
    throw new QmpError("malformed", `what came as QEMU's answer to ${command} is none: ${message}`, {
      command,
    });
  }

  /**
   * The next event of that name (or one of those) from now on for which `where` holds: call it before
   * the command that brings the event about. Rejects with QmpError "silent" after `timeoutMs`, with why
   * the connection ended where it did, or with the reason of `signal`.
   */
  nextEvent(
    name: string | readonly string[],
    where: EventFilter = () => true,
    options: QmpWaitOptions = {},
  ): Promise<QmpEvent> {
    return this.#watch.next(typeof name === "string" ? [name] : name, where, options);
  }

  /** Calls the listener with every event from now on; the function that this returns removes it. It must not throw. */
  onEvent(listener: (event: QmpEvent) => void): () => void {
    return this.#watch.listen(listener);
  }

  /** Ends the connection; QEMU and its VM stay as they are. Harmless when it has ended. */
  close(): void {
    this.#end(new QmpError("interrupted", "the connection to QEMU was closed on our side"));
  }

  [Symbol.dispose](): void {
    this.close();
  }

  async #open(path: string, lateAtMs: number): Promise<void> {
    this.#socket = await QmpSocket.call(path, lateAtMs, {
      read: (piece) => this.#read(piece),
      ended: (cause) => {
        this.#end(new QmpError("interrupted", "QEMU ended or closed the connection", { cause }));
        this.#setEnded();
      },
    });
    // Its time may have run out while it was called.
    if (this.isClosed) this.#socket.terminate();
  }

  #send(command: string, args: object | undefined, timeoutMs: number): Promise<unknown> {
    if (this.#reason !== undefined) return Promise.reject(this.#reason.during(command));
    const id = ++this.#lastId;
    const line = JSON.stringify({ execute: command, ...(args === undefined ? {} : { arguments: args }), id });
    const answer = Promise.withResolvers<unknown>();
    const timer = setTimeout(() => this.#abandon(id), timeoutMs);
    this.#pending.set(id, { command, answer, timer });
    this.#socket?.send(id, Buffer.from(`${line}\n`));
    return answer.promise;
  }

  #abandon(id: number): void {
    const pending = this.#takePending(id);
    if (pending === undefined) return;
    const { command, answer } = pending;
    // A command that surprises everybody an hour later would do harm; one that is half out must go whole.
    if (this.#socket?.withdraw(id) !== true) this.#abandoned.add(id);
    answer.reject(new QmpError("silent", `QEMU did not answer ${command} in time`, { command }));
  }

  #takePending(id: number): Pending | undefined {
    const pending = this.#pending.get(id);
    if (pending === undefined) return undefined;
    this.#pending.delete(id);
    clearTimeout(pending.timer);
    return pending;
  }

  #read(piece: Uint8Array): void {
    if (this.isClosed) return;
    try {
      for (const line of this.#lines.take(piece)) {
        this.#take(parseQmpLine(line));
        if (this.isClosed) return;
      }
    } catch (cause) {
      const why = cause instanceof Error ? cause.message : String(cause);
      this.#end(new QmpError("malformed", `what came is not QMP: ${why}`, { cause }));
    }
  }

  /** Throws if the message does not belong here. */
  #take(message: QmpMessage): void {
    if ("id" in message && Math.floor(message.id / mostCommands) !== this.#idRange) return;
    const greeted = this.#version !== undefined;
    if ((message.kind === "greeting") === greeted) throw new Error(`a ${message.kind} out of place`);
    switch (message.kind) {
      case "greeting":
        this.#version = message.version;
        this.#greeting.resolve();
        return;
      case "event":
        this.#watch.take(message.event);
        return;
      case "answer":
        this.#pendingFor(message.id)?.answer.resolve(message.value);
        return;
      case "refusal": {
        const pending = this.#pendingFor(message.id);
        pending?.answer.reject(QmpError.refused(pending.command, message.errorClass, message.description));
        return;
      }
    }
  }

  #pendingFor(id: number): Pending | undefined {
    const pending = this.#takePending(id);
    if (pending === undefined && !this.#abandoned.delete(id))
      throw new Error("an answer that nobody asked for");
    return pending;
  }

  #end(reason: QmpError): void {
    if (this.isClosed) return;
    this.#state = "ending";
    this.#reason = reason;
    this.#greeting.reject(reason);
    for (const id of [...this.#pending.keys()]) {
      const pending = this.#takePending(id);
      pending?.answer.reject(reason.during(pending.command));
    }
    this.#watch.end(reason);
    // What waits to be sent must not keep the socket open.
    if (this.#socket === undefined) this.#setEnded();
    else this.#socket.terminate();
  }

  #setEnded(): void {
    this.#state = "ended";
    if (this.#reason !== undefined) this.#closed.resolve(this.#reason);
  }
}
