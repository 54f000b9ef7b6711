/** The unix sockets to which the source's QEMU connects: each connection becomes a stream, in order. */
import { rmSync } from "node:fs";
import { join } from "node:path";
import { UnixListener } from "../../../platform/unix-listener.ts";
import { MigrateError } from "../../../protocol/errors.ts";
import type { StreamPool, StreamResult } from "../../../transfer/streams/stream-pool.ts";
import { makeSocketFolder, type SocketPlace } from "./socket-place.ts";

/** How long QEMU may take to connect after it was told to. */
const connectTimeoutMs = 30_000;

export interface ExpectedStreams {
  /** The path to which QEMU is told to connect. */
  path: string;
  /** Resolves once all streams are open; rejects with the reason why one could not be opened. */
  open: Promise<void>;
}

export class StreamSockets {
  readonly #place: SocketPlace;
  readonly #pool: StreamPool;
  readonly #listeners: UnixListener[] = [];
  readonly #numbers: number[] = [];
  readonly #failed = Promise.withResolvers<never>();

  /** Makes the folder of that place, if there is none. Throws as `makeSocketFolder`. */
  constructor(place: SocketPlace, pool: StreamPool) {
    makeSocketFolder(place);
    this.#place = place;
    this.#pool = pool;
    this.#failed.promise.catch(() => {});
  }

  /** Never resolves; rejects with the first failure of a stream. */
  get failed(): Promise<never> {
    return this.#failed.promise;
  }

  /** Listens on a socket of that name; the connections become the streams `numbers`, in order, each within `timeoutMs`. */
  expect(
    name: string,
    numbers: readonly number[],
    { timeoutMs = connectTimeoutMs }: { timeoutMs?: number } = {},
  ): ExpectedStreams {
    const listener = UnixListener.listen(join(this.#place.folder, name), this.#place.uid);
    this.#listeners.push(listener);
    const open = this.#accept(listener, numbers, timeoutMs);
    open.catch(() => {});
    return { path: listener.path, open };
  }

  /**
   * Returns the result of each stream, by number, once all have ended on both sides. Throws MigrateError,
   * "network" if they have not within `timeoutMs`.
   */
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
    rmSync(this.#place.folder, { recursive: true, force: true });
  }

  async #accept(listener: UnixListener, numbers: readonly number[], timeoutMs: number): Promise<void> {
    try {
      for (const number of numbers) {
        const fd = await listener.accept({ timeoutMs });
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
