/**
 * The lanes of a source, for its main thread: Workers that take work from one queue until
 * the destination has confirmed every chunk.
 */
import { SharedPacer } from "../../channel/shared-pacer.ts";
import { spawnWorker } from "../../platform/worker.ts";
import { fromPlainError, MigrateError } from "../../protocol/errors.ts";
import { chunkLength, limits } from "../../protocol/limits.ts";
import { type PlannedFile, type PlanStep, plan } from "../chunks/plan.ts";
import { zeroTag } from "../chunks/tag-table.ts";
import type { Compression } from "../compression/compression.ts";
import { highestLevelOf } from "../compression/lane-memory.ts";
import { KnownPages } from "../reuse/repeats/known-pages.ts";
import type { LaneRoute } from "./lane-link.ts";
import type { FromLane, ToLane } from "./lane-messages.ts";
import { LaneSpread } from "./lane-spread.ts";
import { LentFiles } from "./lent-files.ts";
import { WorkQueue } from "./work-queue.ts";

/** The queue is filled again once no more than this is left in it, before the fastest lanes run dry. */
const fewChunks = 256;
/** The queue is filled up to this. */
const fillChunks = 512;

export interface TransferFile extends PlannedFile {
  path: string;
}

export interface TransferOptions extends LaneRoute {
  tagKey: Uint8Array;
  lanes: number;
  bandwidthBytesPerSec: number | null;
  compression: Compression;
  /** Key of the destination's index; null if it has none for us. */
  indexKey: Uint8Array | null;
  /** What the destination has received need not be sent to it twice. */
  repeats: boolean;
  files: TransferFile[];
  /** So many bytes of a file are confirmed, or need not be sent. */
  progress: (file: number, bytes: number) => void;
  /**
   * Bytes and chunks sent on all lanes since the last call, and bytes of data that the destination had itself
   * or had received already.
   */
  sent: (bytes: number, chunks: number, foundBytes: number, repeatedBytes: number) => void;
  /** Something of what was sent has arrived, be it less than a chunk: the link is alive. */
  moving: () => void;
}

interface Lane {
  worker: Worker;
  bytesSent: number;
  /** Gives back the descriptors that it reads through. */
  giveBack: () => void;
}

export class LanePool {
  readonly #options: TransferOptions;
  readonly #lanes: Lane[] = [];
  #plan: Generator<PlanStep> | undefined;
  readonly #queue = new WorkQueue();
  readonly #pace: SharedArrayBuffer;
  readonly #spread: LaneSpread;
  readonly #finished = Promise.withResolvers<void>();
  /** Chunks that were laid out and are not confirmed yet. */
  #outstanding = 0;
  #planned = false;
  #over = false;

  constructor(options: TransferOptions) {
    this.#options = options;
    this.#pace = SharedPacer.memory(options.bandwidthBytesPerSec);
    this.#spread = new LaneSpread(options.lanes);
    // The link may be gone before anybody waits for the end.
    this.#finished.promise.catch(() => {});
  }

  /**
   * Brings every chunk over. The descriptors of the files must be open when this is called, and are not
   * needed after that. Rejects with the first lane's failure, or with `abort`'s error; either way every
   * lane ends soon after.
   */
  async run(): Promise<void> {
    const lent = LentFiles.open(this.#options.files.map(({ fd }) => fd));
    try {
      this.#plan = plan(this.#options.files.map((file, i) => ({ ...file, fd: lent.fds[i]! })));
      await this.#runLanes(lent);
    } finally {
      this.#over = true;
      // A Worker that is terminated may be in the middle of a read: each is asked first.
      for (const { worker } of this.#lanes) worker.postMessage({ kind: "drop" } satisfies ToLane);
      lent.end();
    }
  }

  async #runLanes(lent: LentFiles): Promise<void> {
    const { callee, session, laneToken, silenceMs, tagKey, lanes, files } = this.#options;
    const { compression, indexKey } = this.#options;
    const memory = this.#options.repeats ? KnownPages.memory(files.map(({ tags }) => tags.bytes)) : null;
    const start: Omit<Extract<ToLane, { kind: "start" }>, "repeats"> = {
      kind: "start",
      callee,
      session,
      laneToken,
      silenceMs,
      tagKey,
      files: files.map(({ path, tags }, i) => ({ path, fd: lent.fds[i]!, bytes: tags.bytes })),
      queue: this.#queue.memory,
      compression,
      mostLevel: highestLevelOf(lanes),
      pace: this.#pace,
      indexKey,
    };
    this.#fill();
    const isNothing = this.#planned && this.#outstanding === 0;
    for (let i = 0; i < (isNothing ? 0 : lanes); i++) {
      const worker = spawnWorker("lane");
      const lane: Lane = { worker, bytesSent: 0, giveBack: lent.lend() };
      this.#lanes.push(lane);
      worker.onerror = (event) => {
        lane.giveBack();
        this.abort(new MigrateError("bug", `a lane died: ${event.message}`));
      };
      worker.onmessage = ({ data }: MessageEvent<FromLane>) => this.#receive(lane, data);
      const repeats = memory === null ? null : { lane: i, memory };
      worker.postMessage({ ...start, repeats } satisfies ToLane);
    }
    await this.#finished.promise;
  }

  /** Sends no faster than this from now on, on all lanes together; null for as fast as it goes. */
  pace(bandwidthBytesPerSec: number | null): void {
    new SharedPacer(this.#pace).bandwidthBytesPerSec = bandwidthBytesPerSec;
  }

  abort(error: MigrateError): void {
    this.#finished.reject(error);
  }

  #receive(lane: Lane, message: FromLane): void {
    if (message.kind === "dropped") {
      lane.giveBack();
      lane.worker.terminate();
      return;
    }
    if (this.#over) return;
    try {
      switch (message.kind) {
        case "up": {
          const stays = this.#spread.stays(message.landing, message.tries);
          lane.worker.postMessage({ kind: stays ? "begin" : "redial" } satisfies ToLane);
          break;
        }
        case "confirmed":
          this.#confirmed(lane, message);
          this.#fill();
          break;
        case "moving":
          this.#options.moving();
          break;
        case "failed":
          this.abort(fromPlainError(message.error));
          break;
      }
    } catch (thrown) {
      this.#finished.reject(thrown);
    }
  }

  #confirmed(lane: Lane, message: Extract<FromLane, { kind: "confirmed" }>): void {
    const { files, progress, sent } = this.#options;
    const count = message.places.length / 2;
    for (let i = 0; i < count; i++) {
      const file = message.places[i * 2]!;
      const chunk = message.places[i * 2 + 1]!;
      const { tags } = files[file]!;
      tags.set(chunk, message.tags.subarray(i * limits.tagBytes, (i + 1) * limits.tagBytes));
      progress(file, chunkLength(tags.bytes, chunk));
    }
    this.#outstanding -= count;
    const { sentChunks, foundBytes, repeatedBytes } = message;
    sent(message.bytesSent - lane.bytesSent, sentChunks, foundBytes, repeatedBytes);
    lane.bytesSent = message.bytesSent;
  }

  /** Lays out what comes next if little is left, and wakes the lanes that had nothing to do. */
  #fill(): void {
    if (!this.#planned && this.#queue.size <= fewChunks) {
      while (!this.#planned && this.#queue.size < fillChunks) this.#layOut();
      for (const { worker } of this.#lanes) worker.postMessage({ kind: "look" } satisfies ToLane);
    }
    if (this.#planned && this.#outstanding === 0) this.#finished.resolve();
  }

  #layOut(): void {
    const { value: step, done } = this.#plan!.next();
    if (done) {
      this.#planned = true;
    } else if (step.kind === "equal") {
      this.#options.progress(step.file, step.bytes);
    } else {
      this.#outstanding += step.count;
      for (let i = 0; i < step.count; i++) {
        const at = i * limits.tagBytes;
        const have = step.have?.subarray(at, at + limits.tagBytes) ?? zeroTag;
        this.#queue.add(step.file, step.first + i, have);
      }
    }
  }
}
