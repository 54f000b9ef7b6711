/**
 * The control socket of a `migrate serve`: MIGRATE_HOME/serve/….sock, for programs of the same user (mode 0600, in a
 * folder of mode 0700). Whoever may connect may read the home's key, so it gives nothing that such a one has not.
 */
import { mkdirSync } from "node:fs";
import type { Socket } from "bun";
import * as v from "valibot";
import { listenInPlace, removerOf, SocketClaims } from "../../../platform/unix-place.ts";
import { asMigrateError, MigrateError } from "../../../protocol/errors.ts";
import {
  type Answer,
  controlFolder,
  controlSocket,
  patienceMs,
  type Question,
  questionMaxBytes,
  questionSchema,
} from "./control-words.ts";

/** Callers at once; one more is closed unheard. */
const mostCallers = 16;

interface Caller {
  heard: Buffer;
  isAnswered: boolean;
  /** Of the answer, what was not taken yet; null before there is one. */
  rest: Buffer | null;
  late: Timer;
}

export class ControlSocket {
  readonly #answer: (question: Question) => Promise<Answer>;
  readonly #callers = new Set<Socket<Caller>>();
  #stop = () => {};

  private constructor(answer: (question: Question) => Promise<Answer>) {
    this.#answer = answer;
  }

  /**
   * Listens for the serve of this store. `answer` may reject: the caller is told. Throws MigrateError "home-unusable" if
   * nothing can listen there.
   */
  static async open(
    home: string,
    store: string,
    answer: (question: Question) => Promise<Answer>,
  ): Promise<ControlSocket> {
    const control = new ControlSocket(answer);
    const path = controlSocket(home, store);
    const claims = new SocketClaims();
    try {
      mkdirSync(controlFolder(home), { recursive: true, mode: 0o700 });
      await claims.claim(path);
      const listener = listenInPlace(path, (unix) => Bun.listen<Caller>({ unix, socket: control.#handlers }));
      const remove = removerOf(path);
      control.#stop = () => {
        listener.stop(true);
        remove();
      };
      return control;
    } catch (cause) {
      throw new MigrateError("home-unusable", `cannot listen on ${path}: ${(cause as Error).message}`, {
        side: "destination",
        cause,
        hint: "that is where migrate ticket asks a serve; look at what stands there, and who may write its folder",
      });
    } finally {
      claims.release();
    }
  }

  /** Closes all connections, and removes the socket. Idempotent; never throws. */
  close(): void {
    for (const socket of [...this.#callers]) socket.terminate();
    this.#stop();
    this.#stop = () => {};
  }

  get #handlers() {
    return {
      open: (socket: Socket<Caller>) => {
        const late = setTimeout(() => socket.terminate(), patienceMs);
        socket.data = { heard: Buffer.alloc(0), isAnswered: false, rest: null, late };
        this.#callers.add(socket);
        if (this.#callers.size > mostCallers) socket.terminate();
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

  async #hear(socket: Socket<Caller>, bytes: Buffer): Promise<void> {
    const caller = socket.data;
    // One question a connection.
    if (caller.isAnswered) return;
    const room = questionMaxBytes - caller.heard.length;
    caller.heard = Buffer.concat([caller.heard, bytes.subarray(0, room)]);
    const end = caller.heard.indexOf("\n");
    if (end < 0 && caller.heard.length < questionMaxBytes) return;
    const line = end < 0 ? null : caller.heard.toString("utf8", 0, end);
    caller.isAnswered = true;
    caller.rest = Buffer.from(`${JSON.stringify(await this.#answerTo(line))}\n`);
    if (this.#callers.has(socket)) write(socket);
  }

  async #answerTo(line: string | null): Promise<Answer> {
    try {
      return await this.#answer(questionOf(line));
    } catch (thrown) {
      const { code, message } = asMigrateError(thrown);
      return { answer: "error", code, message };
    }
  }
}

/** Null stands for a line that is too long. Throws MigrateError "protocol". */
function questionOf(line: string | null): Question {
  try {
    return v.parse(questionSchema, JSON.parse(line ?? ""));
  } catch (cause) {
    throw new MigrateError("protocol", "this serve does not understand what it is asked", { cause });
  }
}

function write(socket: Socket<Caller>): void {
  const { rest } = socket.data;
  if (rest === null) return;
  const taken = Math.max(0, socket.write(rest));
  socket.data.rest = rest.subarray(taken);
  if (taken === rest.length) socket.end();
}
