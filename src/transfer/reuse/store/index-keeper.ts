/**
 * The index of a store, for the main thread: a Worker that reads what is new and pauses while
 * others need the disk, and what lanes need to know to look blocks up.
 *
 * An index is a help and no more: whatever goes wrong here is reported to `failed`, and migrations continue.
 */
import { randomBytes } from "node:crypto";
import { realpathSync } from "node:fs";
import { spawnWorker } from "../../../platform/worker.ts";
import { indexKeyBytes } from "./block-hash.ts";
import { BlockIndex } from "./block-index.ts";
import { indexPath } from "./index-file.ts";
import type { FromIndexer, ScanSummary, ToIndexer } from "./indexer-messages.ts";

const minuteMs = 60_000;
/** How long the indexer may take to end: a disk may be slow, and who ends serve waits. */
const mostStopMs = 2000;

export interface IndexGrant {
  database: string;
  /** Absolute, with all links resolved. */
  store: string;
  key: Uint8Array;
}

export interface IndexKeeperOptions {
  home: string;
  store: string;
  /** Called at the end of every scan: those that `scan` asks for, the first, and one every ten minutes. */
  indexed: (summary: ScanSummary) => void;
  /**
   * Called if the index cannot be kept for as long as this process lives, or if a scan broke off; then the next
   * one tries again.
   */
  failed: (error: Error) => void;
  /** How old the last change of an indexed file must be for it to be read again; ten minutes. */
  quietMs?: number;
  /** Time between scans that nobody asks for; ten minutes. */
  everyMs?: number;
}

export class IndexKeeper {
  readonly #grant: IndexGrant;
  readonly #options: IndexKeeperOptions;
  #worker: Worker | undefined;
  #files = 0;
  #pauses = 0;
  #stopped: PromiseWithResolvers<void> | undefined;

  private constructor(options: IndexKeeperOptions) {
    this.#options = options;
    let grant: IndexGrant = { database: "", store: "", key: randomBytes(indexKeyBytes) };
    try {
      const store = realpathSync(options.store);
      const database = indexPath(options.home, store);
      const index = BlockIndex.open(database, store, grant.key);
      grant = { database, store, key: index.key };
      this.#files = index.fileCount;
      index.close();
      this.#worker = this.#spawn(grant);
    } catch (thrown) {
      this.#files = 0;
      options.failed(thrown as Error);
    }
    this.#grant = grant;
  }

  /** Opens the index that `home` keeps of `store`, or makes one, and begins with a scan. Never throws. */
  static start(options: IndexKeeperOptions): IndexKeeper {
    return new IndexKeeper(options);
  }

  /** Looks at the store again soon; while that is under way, once more after it. */
  scan(): void {
    this.#post({ kind: "scan" });
  }

  /** Stops reading until `resume` was called as often as this. */
  pause(): void {
    if (this.#pauses++ === 0) this.#post({ kind: "pause" });
  }

  resume(): void {
    if (this.#pauses > 0 && --this.#pauses === 0) this.#post({ kind: "resume" });
  }

  /** What lanes look blocks up with; null while the index is empty or if there is none. Cheap. */
  get grant(): IndexGrant | null {
    return this.#files > 0 ? this.#grant : null;
  }

  /** The key of the index; if there is none, one that holds as long as this process. */
  get key(): Uint8Array {
    return this.#grant.key;
  }

  /** Ends what is under way. Lanes may still look blocks up. */
  async stop(): Promise<void> {
    if (this.#worker !== undefined) {
      this.#stopped ??= Promise.withResolvers<void>();
      this.#post({ kind: "stop" });
      // A step that takes longer is cut: SQLite takes back what was not committed.
      await Promise.race([this.#stopped.promise, Bun.sleep(mostStopMs)]);
    }
    this.#worker?.terminate();
    this.#worker = undefined;
  }

  #spawn({ database, store, key }: IndexGrant): Worker {
    const { quietMs = 10 * minuteMs, everyMs = 10 * minuteMs } = this.#options;
    const worker = spawnWorker("indexer");
    worker.onmessage = ({ data }: MessageEvent<FromIndexer>) => this.#receive(data);
    worker.onerror = (event) => {
      this.#worker = undefined;
      this.#stopped?.resolve();
      worker.terminate();
      this.#options.failed(new Error(`the indexer died: ${event.message}`));
    };
    const start: ToIndexer = { kind: "start", database, store, key, quietMs, everyMs };
    worker.postMessage(start);
    return worker;
  }

  #receive(message: FromIndexer): void {
    switch (message.kind) {
      case "files":
        this.#files = message.count;
        break;
      case "scanned":
        this.#options.indexed(message.summary);
        break;
      case "failed":
        this.#options.failed(new Error(message.message));
        break;
      case "stopped":
        this.#stopped?.resolve();
        break;
    }
  }

  #post(message: ToIndexer): void {
    this.#worker?.postMessage(message);
  }
}
