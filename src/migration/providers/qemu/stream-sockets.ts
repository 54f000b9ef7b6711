/** The unix sockets to which the source's QEMU connects: each connection becomes a stream, in order. */
import { chmodSync, chownSync, mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { UnixListener } from "../../../platform/unix-listener.ts";
import { MigrateError } from "../../../protocol/errors.ts";
import type { StreamPool, StreamResult } from "../../../transfer/streams/stream-pool.ts";
import type { SocketFolder } from "../../../vm/qemu/common-ground.ts";

/** How long QEMU may take to connect after it was told to. */
const connectTimeoutMs = 30_000;

export interface ExpectedStreams {
  /** The path to which QEMU is told to connect. */
  path: string;
  /** Resolves once all streams are open; rejects with the reason why one could not be opened. */
  open: Promise<void>;
}

export class StreamSockets {
  readonly #folder: string;
  readonly #group: number | null;
  readonly #pool: StreamPool;
  readonly #listeners: UnixListener[] = [];
  readonly #numbers: number[] = [];
  readonly #failed = Promise.withResolvers<never>();

  /** Takes a folder for the sockets that only this user, and QEMU's, may enter; creates it if there is none. */
  constructor({ path, group }: SocketFolder, pool: StreamPool) {
    // What has a group lies in a folder where others may make names as well: it must be new.
    mkdirSync(path, { recursive: group === null, mode: 0o700 });
    if (group !== null) admit(path, group, 0o710);
    this.#folder = path;
    this.#group = group;
    this.#pool = pool;
    this.#failed.promise.catch(() => {});
  }

  /** Never resolves; rejects with the first failure of a stream. */
  get failed(): Promise<never> {
    return this.#failed.promise;
  }

  /** Listens on a socket of that name; the connections become the streams `numbers`, in order. */
  expect(name: string, numbers: readonly number[]): ExpectedStreams {
    const listener = UnixListener.listen(join(this.#folder, name));
    this.#listeners.push(listener);
    if (this.#group !== null) admit(listener.path, this.#group, 0o660);
    const open = this.#accept(listener, numbers);
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

/** Lets a group in; nobody but this user can have put something else in the path's place. */
function admit(path: string, group: number, mode: number): void {
  chownSync(path, process.geteuid?.() ?? -1, group);
  chmodSync(path, mode);
}
