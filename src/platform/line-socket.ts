/**
 * One question and one answer, a line each, over a unix socket of this host (unix(7)), between programs of one user: what
 * a process that runs for long is asked by others. Bounded on both sides.
 */
import type { Socket } from "bun";
import { isListenedAt } from "./peer-process.ts";
import { listenInPlace, removerOf } from "./unix-place.ts";

export interface LineLimits {
  /** Callers at once; one more is closed unheard. */
  mostCallers: number;
  /** Longest question, in bytes, the end of the line included. */
  mostBytes: number;
  /** How long a caller may take to say its line, and to take the answer, in milliseconds. The answer itself has no limit. */
  patienceMs: number;
}

interface Caller {
  heard: Buffer;
  isHeard: boolean;
  /** Of the answer, what was not taken yet; null before there is one. */
  rest: Buffer | null;
  late: Timer;
}

export class LineListener {
  readonly #limits: LineLimits;
  readonly #answer: (line: string | null) => Promise<string>;
  readonly #callers = new Set<Socket<Caller>>();
  readonly #listener: { stop(force: boolean): void };
  readonly #remove: () => void;

  /**
   * Listens at `path`, for this user and root alone, in place of a socket that stands there. `answer` is given a line, or
   * null for one that is too long, and returns one; it does not reject. Throws what Bun.listen throws, and as node:fs does.
   */
  constructor(path: string, limits: LineLimits, answer: (line: string | null) => Promise<string>) {
    this.#limits = limits;
    this.#answer = answer;
    this.#listener = listenInPlace(path, (unix) => Bun.listen<Caller>({ unix, socket: this.#handlers }));
    this.#remove = removerOf(path);
  }

  /** Closes all connections, and removes the socket. Idempotent; never throws. */
  close(): void {
    for (const socket of [...this.#callers]) socket.terminate();
    this.#listener.stop(true);
    this.#remove();
  }

  get #handlers() {
    return {
      open: (socket: Socket<Caller>) => {
        socket.data = { heard: Buffer.alloc(0), isHeard: false, rest: null, late: this.#hurry(socket) };
        this.#callers.add(socket);
        if (this.#callers.size > this.#limits.mostCallers) socket.terminate();
      },
      data: (socket: Socket<Caller>, bytes: Buffer) => void this.#hear(socket, bytes),
      drain: (socket: Socket<Caller>) => write(socket),
      close: (socket: Socket<Caller>) => {
        clearTimeout(socket.data.late);
        this.#callers.delete(socket);
      },
      error: (socket: Socket<Caller>) => socket.terminate(),
    };
  }

  #hurry(socket: Socket<Caller>): Timer {
    return setTimeout(() => socket.terminate(), this.#limits.patienceMs);
  }

  async #hear(socket: Socket<Caller>, bytes: Buffer): Promise<void> {
    const caller = socket.data;
    // One question a connection.
    if (caller.isHeard) return;
    const { mostBytes } = this.#limits;
    caller.heard = Buffer.concat([caller.heard, bytes.subarray(0, mostBytes - caller.heard.length)]);
    const end = caller.heard.indexOf("\n");
    if (end < 0 && caller.heard.length < mostBytes) return;
    caller.isHeard = true;
    clearTimeout(caller.late);
    const answer = await this.#answer(end < 0 ? null : caller.heard.toString("utf8", 0, end));
    if (!this.#callers.has(socket)) return;
    caller.late = this.#hurry(socket);
    caller.rest = Buffer.from(`${answer}\n`);
    write(socket);
  }
}

function write(socket: Socket<Caller>): void {
  const { rest } = socket.data;
  if (rest === null) return;
  const taken = Math.max(0, socket.write(rest));
  socket.data.rest = rest.subarray(taken);
  if (taken === rest.length) socket.end();
}

/** What came of a question. */
export type Exchange =
  | { kind: "answered"; line: string }
  /** Nobody listens there. */
  | { kind: "nobody" }
  | { kind: "unreachable"; cause: Error }
  /** No whole line came: in time, or before the end of the connection, or within the bytes. */
  | { kind: "late" | "broken" };

/** Asks, and waits for the answer, of at most `mostBytes`, for `timeoutMs`. Never rejects. */
export async function exchangeLine(
  path: string,
  question: string,
  { mostBytes, timeoutMs }: { mostBytes: number; timeoutMs: number },
): Promise<Exchange> {
  const { promise, resolve } = Promise.withResolvers<Exchange>();
  const late = setTimeout(() => resolve({ kind: "late" }), timeoutMs);
  let heard = Buffer.alloc(0);
  const socket = await Bun.connect({
    unix: path,
    socket: {
      open: (opened) => void opened.write(`${question}\n`),
      data(_, bytes) {
        heard = Buffer.concat([heard, bytes]);
        const end = heard.indexOf("\n");
        if (end >= 0) resolve({ kind: "answered", line: heard.toString("utf8", 0, end) });
        else if (heard.length > mostBytes) resolve({ kind: "broken" });
      },
      close: () => resolve({ kind: "broken" }),
      error: () => resolve({ kind: "broken" }),
    },
  }).catch((cause: NodeJS.ErrnoException) => {
    // A listener whose queue is full refuses as well.
    const isNobody = cause.code === "ENOENT" || (cause.code === "ECONNREFUSED" && !isListenedAt(path));
    resolve(isNobody ? { kind: "nobody" } : { kind: "unreachable", cause });
    return null;
  });
  const exchange = await promise;
  clearTimeout(late);
  socket?.terminate();
  return exchange;
}
