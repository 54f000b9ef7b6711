/**
 * Reads what is new in a store and takes it into the index. Runs in a Worker of its own, keeps a few MiB
 * and gives way: between two pieces it takes messages, and waits as long as it is told to.
 */
import { closeSync, fstatSync, readSync } from "node:fs";
import { dirname } from "node:path";
import { freeBytes } from "../../../platform/files/filesystem.ts";
import { nextData, nextHole } from "../../../platform/files/holes.ts";
import { limits } from "../../../protocol/limits.ts";
import { BlockHasher, blocksOf } from "./block-hash.ts";
import { BlockIndex, sweepSteps } from "./block-index.ts";
import { isDamage, removeIndex } from "./index-file.ts";
import type { FromIndexer, ScanSummary } from "./indexer-messages.ts";
import { type Candidate, candidatesIn, openCandidate, planScan, stampOf } from "./store-scan.ts";

const { blockBytes } = limits;

/** What is read in one go: a few milliseconds of work. */
const pieceBytes = 4 * 1024 * 1024;

/** What the index leaves free on its disk. */
const leastFreeBytes = 256 * 1024 * 1024;

export interface IndexerOptions {
  database: string;
  store: string;
  /** For an index that has to be made anew. */
  key: Uint8Array;
  /** How old the last change of an indexed file must be for it to be read again. */
  quietMs: number;
  /** Milliseconds since 1970. */
  nowMs: () => number;
  post: (message: FromIndexer) => void;
  /** Called after each piece with the path of its file; the tests' place to step in. */
  onPiece?: (path: string) => void;
}

/** The indexer was told to stop. */
class Stopped extends Error {}

/** A file's disk fails, or says that it has none. */
class Unreadable extends Error {}

export class Indexer {
  readonly #options: IndexerOptions;
  readonly #piece = Buffer.allocUnsafeSlow(pieceBytes);
  #index: BlockIndex | undefined;
  #paused: PromiseWithResolvers<void> | undefined;
  #asked = false;
  #stopping = false;
  #running: Promise<void> | undefined;

  constructor(options: IndexerOptions) {
    this.#options = options;
  }

  /** Looks through the store; if it does so already, once more after that. Resolves when all is done. */
  scan(): Promise<void> {
    this.#asked = true;
    this.#running ??= this.#run().finally(() => {
      this.#running = undefined;
    });
    return this.#running;
  }

  /** Reads nothing more, from the next piece on, until `resume`. */
  pause(): void {
    this.#paused ??= Promise.withResolvers<void>();
  }

  resume(): void {
    this.#paused?.resolve();
    this.#paused = undefined;
  }

  /** Ends at the next piece, and closes the index. What was read of a file in hand is lost. */
  async stop(): Promise<void> {
    this.#stopping = true;
    this.resume();
    await this.#running;
    this.#index?.close();
    this.#index = undefined;
  }

  async #run(): Promise<void> {
    let mended = false;
    while (this.#asked && !this.#stopping) {
      this.#asked = false;
      try {
        await this.#scanOnce();
        mended = false;
      } catch (thrown) {
        if (thrown instanceof Stopped) return;
        if (isDamage(thrown) && !mended) {
          mended = true;
          this.#asked = true;
          this.#discard();
        } else {
          this.#options.post({ kind: "failed", message: (thrown as Error).message });
        }
      }
    }
  }

  /** An index that turned out to be damaged is of no use to anybody. */
  #discard(): void {
    try {
      this.#index?.close();
    } catch {
      // What it has not written is lost with the rest.
    }
    this.#index = undefined;
    removeIndex(this.#options.database);
  }

  async #scanOnce(): Promise<void> {
    const startedAtMs = performance.now();
    const summary: ScanSummary = { files: 0, blocks: 0, bytesRead: 0, ms: 0 };
    const { database, store, key, quietMs, nowMs, post } = this.#options;
    await this.#turn();
    this.#index ??= BlockIndex.open(database, store, key);
    const index = this.#index;
    const hasher = new BlockHasher(index.key);
    const plan = planScan(index.files(), candidatesIn(store), nowMs(), quietMs);
    for (const { from, to } of plan.moved) {
      await this.#turn();
      index.move(from, to);
    }
    for (const path of plan.gone) {
      await this.#turn();
      index.forget(path);
    }
    post({ kind: "files", count: index.fileCount });
    for (const candidate of plan.read) {
      // The journal lies on the same disk, and must not find it full because of us.
      if (freeBytes(dirname(database)) < leastFreeBytes) throw new Error("its disk has little room left");
      await this.#readFile(index, hasher, candidate, summary);
      post({ kind: "files", count: index.fileCount });
    }
    if (index.needsSweep) {
      for (let step = 0; step < sweepSteps; step++) {
        await this.#turn();
        index.sweep(step);
      }
    }
    post({ kind: "scanned", summary: { ...summary, ms: performance.now() - startedAtMs } });
  }

  /** A file that cannot be read is left out, and tried again at the next scan. */
  async #readFile(
    index: BlockIndex,
    hasher: BlockHasher,
    { path }: Candidate,
    summary: ScanSummary,
  ): Promise<void> {
    const fd = openCandidate(this.#options.store, path);
    if (fd === null) return;
    try {
      // What the file looked like before it was read: one that changes meanwhile is not up to date.
      const stamp = stampOf(fstatSync(fd, { bigint: true }));
      const file = index.begin();
      for (let at = 0; ; ) {
        const piece = nextPiece(fd, at, this.#piece);
        if (piece === null) break;
        if (index.room < pieceBytes / blockBytes) await this.#flush(index, file);
        index.add(file, piece.at / blockBytes, hasher.hashes(piece.bytes));
        summary.bytesRead += piece.bytes.length;
        at = piece.at + blocksOf(piece.bytes.length) * blockBytes;
        this.#options.onPiece?.(path);
        await this.#turn();
      }
      await this.#flush(index, file);
      summary.blocks += index.finish(file, path, stamp);
      summary.files++;
    } catch (thrown) {
      if (!(thrown instanceof Unreadable)) throw thrown;
    } finally {
      closeSync(fd);
    }
  }

  async #flush(index: BlockIndex, file: number): Promise<void> {
    for (const _ of index.flush(file)) await this.#turn();
  }

  /** Lets messages in, and waits while paused. Throws Stopped. */
  async #turn(): Promise<void> {
    await new Promise<void>((turn) => setImmediate(turn));
    while (this.#paused !== undefined && !this.#stopping) await this.#paused.promise;
    if (this.#stopping) throw new Stopped();
  }
}

/**
 * Reads the next data of a file, from block boundary to block boundary, holes left out: at most as much as
 * `room` holds. Null at the end. Throws Unreadable.
 */
function nextPiece(fd: number, from: number, room: Buffer): { at: number; bytes: Buffer } | null {
  try {
    const dataAt = nextData(fd, from);
    if (dataAt === null) return null;
    const at = Math.floor(dataAt / blockBytes) * blockBytes;
    const end = Math.ceil(Math.max(nextHole(fd, dataAt), dataAt + 1) / blockBytes) * blockBytes;
    const bytes = room.subarray(0, end - at);
    let read = 0;
    while (read < bytes.length) {
      const taken = readSync(fd, bytes, read, bytes.length - read, at + read);
      if (taken === 0) break;
      read += taken;
    }
    return read === 0 ? null : { at, bytes: bytes.subarray(0, read) };
  } catch (cause) {
    throw new Unreadable("a file cannot be read", { cause });
  }
}
