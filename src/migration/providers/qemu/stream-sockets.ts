/** The unix sockets on which the source's QEMU finds the streams: each connection becomes one, in order. */
import { mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { UnixListener } from "../../../platform/unix-listener.ts";
import { MigrateError } from "../../../protocol/errors.ts";
import type { StreamPool, StreamResult } from "../../../transfer/streams/stream-pool.ts";

/** How long QEMU may take to connect once it was told to. */
const connectTimeoutMs = 30_000;

export interface ExpectedStreams {
  /** The path to tell QEMU. */
  path: string;
  /** Resolves once all of them are open; rejects with what kept one from it. */
  open: Promise<void>;
}

export class StreamSockets {
  readonly #folder: string;
  readonly #pool: StreamPool;
  readonly #listeners: UnixListener[] = [];
  readonly #numbers: number[] = [];
  readonly #failed = Promise.withResolvers<never>();

  /** Takes a folder of this user's alone, made where it is absent. */
  constructor(folder: string, pool: StreamPool) {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    this.#folder = folder;
    this.#pool = pool;
    this.#failed.promise.catch(() => {});
  }

  /** Never resolves; rejects with the first stream's failure. */
  get failed(): Promise<never> {
    return this.#failed.promise;
  }

  /** Listens on a socket of that name; the connections that come become these streams, one after the other. */
  expect(name: string, numbers: readonly number[]): ExpectedStreams {
    const listener = UnixListener.listen(join(this.#folder, name));
    this.#listeners.push(listener);
    const open = this.#accept(listener, numbers);
    open.catch(() => {});
    return { path: listener.path, open };
  }

  /** What went over each stream, by number, once all have ended on both sides. Throws MigrateError. */
  async ended(timeoutMs: number): Promise<StreamResult[]> {
    const late = Promise.withResolvers<never>();
    const timer = setTimeout(
      () => late.reject(new MigrateError("network", "what the VM's QEMU sent was not taken in time")),
      timeoutMs,
    );
    try {
      const all = Promise.all(
        [...this.#numbers].sort((a, b) => a - b).map((number) => this.#pool.ended(number)),
      );
      all.catch(() => {});
      return await Promise.race([all, late.promise]);
    } finally {
      clearTimeout(timer);
    }
  }

  close(): void {
    for (const listener of this.#listeners) listener.close();
    rmSync(this.#folder, { recursive: true, force: true });
  }

  async #accept(listener: UnixListener, numbers: readonly number[]): Promise<void> {
    try {
      for (const number of numbers) {
        const fd = await listener.accept({ timeoutMs: connectTimeoutMs });
        this.#numbers.push(number);
        const opened = this.#pool.open(number, fd);
        this.#pool.ended(number).catch(this.#failed.reject);
        await opened;
      }
    } catch (cause) {
      if (cause instanceof MigrateError) throw cause;
      const said = "the source's QEMU did not connect to a stream";
      throw new MigrateError("qemu-failed", said, { side: "source", cause });
    } finally {
      listener.close();
    }
  }
}
