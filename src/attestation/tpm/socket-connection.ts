/**
 * The TPM behind a unix socket: swtpm(8), whose server socket takes commands and gives answers as they are, of one client
 * at a time; others wait, without a word, until that one has left.
 */
import type { Socket } from "bun";
import { isListenedAt } from "../../platform/peer-process.ts";
import { answerBytes, gone, messageMaxBytes, silent, type TpmConnection } from "./connection.ts";
import { TpmError } from "./response-code.ts";

const retryMs = 20;

/** Connects to the socket; where its queue is full again, for `patienceMs`. Throws TpmError. */
export async function connectSocket(path: string, patienceMs: number): Promise<TpmConnection> {
  const giveUpAtMs = performance.now() + patienceMs;
  for (;;) {
    const connection = new SocketConnection();
    try {
      await connection.open(path);
      return connection;
    } catch (cause) {
      const { code } = cause as NodeJS.ErrnoException;
      if (code !== "ECONNREFUSED" || !isListenedAt(path)) throw unreachable(path, code, cause);
      if (performance.now() > giveUpAtMs) throw silent(patienceMs);
      await Bun.sleep(retryMs);
    }
  }
}

function unreachable(path: string, code: string | undefined, cause: unknown): TpmError {
  const nobody = code === "ENOENT" || code === "ECONNREFUSED";
  const why = nobody ? "no program listens there" : (code ?? "it cannot be reached");
  return new TpmError(`There is no TPM at ${path}: ${why}.`, {
    hint: nobody
      ? "Start its swtpm, or let MIGRATE_TPM name the right socket."
      : "Look at the owner and mode of that socket and of its folder.",
    cause,
  });
}

interface Exchange {
  rest: Buffer;
  heard: Buffer;
  settle: { resolve(answer: Buffer): void; reject(reason: TpmError): void };
}

class SocketConnection implements TpmConnection {
  #socket: Socket | null = null;
  #current: Exchange | null = null;
  #isClosed = false;

  /** Rejects as Bun.connect does. */
  async open(path: string): Promise<void> {
    this.#socket = await Bun.connect({
      unix: path,
      socket: {
        data: (_, bytes) => this.#hear(bytes),
        drain: () => this.#write(),
        close: () => this.#lose(),
        error: (_, cause) => this.#lose(cause),
      },
    });
  }

  async exchange(command: Buffer, timeoutMs: number): Promise<Buffer> {
    if (this.#isClosed) throw gone();
    const { promise, resolve, reject } = Promise.withResolvers<Buffer>();
    this.#current = { rest: command, heard: Buffer.alloc(0), settle: { resolve, reject } };
    const late = setTimeout(() => reject(silent(timeoutMs)), timeoutMs);
    this.#write();
    try {
      return await promise;
    } finally {
      clearTimeout(late);
      this.#current = null;
    }
  }

  close(): void {
    this.#isClosed = true;
    this.#socket?.terminate();
  }

  #write(): void {
    const current = this.#current;
    if (current === null || current.rest.length === 0) return;
    const taken = this.#socket?.write(current.rest) ?? -1;
    if (taken > 0) current.rest = current.rest.subarray(taken);
  }

  #hear(bytes: Buffer): void {
    const current = this.#current;
    if (current === null) {
      // Nothing was asked: what comes now would be taken for the next answer.
      this.close();
      return;
    }
    current.heard = Buffer.concat([current.heard, bytes.subarray(0, messageMaxBytes + 1)]);
    try {
      const length = answerBytes(current.heard);
      if (length === null || current.heard.length < length) return;
      current.settle.resolve(current.heard);
    } catch (thrown) {
      current.settle.reject(thrown as TpmError);
    }
  }

  #lose(cause?: Error): void {
    this.#isClosed = true;
    this.#current?.settle.reject(gone(cause));
  }
}
