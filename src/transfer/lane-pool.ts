/**
 * The lanes of a source as the main thread sees them: Workers that take work from one plan until
 * every chunk is right at the destination.
 */
import type { Credentials } from "../channel/tls.ts";
import { spawnWorker } from "../platform/worker.ts";
import { MigrateError } from "../protocol/errors.ts";
import { chunkLength, limits } from "../protocol/limits.ts";
import type { FromLane, ToLane } from "./lane-messages.ts";
import { type PlannedFile, type PlanStep, plan } from "./plan.ts";

/** Chunks given to a lane ahead of what it has finished: enough to never let it wait for us. */
const aheadChunks = 32;

export interface TransferFile extends PlannedFile {
  path: string;
}

export interface TransferOptions {
  host: string;
  port: number;
  credentials: Credentials | null;
  peer: string | null;
  session: string;
  laneToken: string;
  tagKey: Uint8Array;
  streams: number;
  bandwidthBytesPerSec: number | null;
  files: TransferFile[];
  /** Bytes of a file that are right at the destination now, having cost `sent` chunks. */
  progress: (file: number, bytes: number) => void;
  /** Bytes and chunks sent on all lanes since the last call. */
  sent: (bytes: number, chunks: number) => void;
}

interface Lane {
  worker: Worker;
  outstanding: number;
  bytesSent: number;
  up: boolean;
}

export class LanePool {
  readonly #options: TransferOptions;
  readonly #lanes: Lane[] = [];
  readonly #plan: Generator<PlanStep>;
  readonly #finished = Promise.withResolvers<void>();
  #planned = false;
  #over = false;
  /** Lanes that have work, by which the bandwidth is divided. */
  #busy = 0;

  constructor(options: TransferOptions) {
    this.#options = options;
    this.#plan = plan(options.files);
  }

  /**
   * Brings every chunk over. Rejects with the first lane's failure, or with `abort`'s error; either
   * way every Worker is gone when this settles.
   */
  async run(): Promise<void> {
    const { host, port, credentials, peer, session, laneToken, tagKey, streams, files } = this.#options;
    const rate = this.#options.bandwidthBytesPerSec;
    try {
      for (let i = 0; i < streams; i++) {
        const worker = spawnWorker("lane");
        const lane: Lane = { worker, outstanding: 0, bytesSent: 0, up: false };
        this.#lanes.push(lane);
        worker.onerror = (event) => this.abort(new MigrateError("bug", `a lane died: ${event.message}`));
        worker.onmessage = ({ data }: MessageEvent<FromLane>) => this.#hear(lane, data);
        this.#post(lane, {
          kind: "start",
          host,
          port,
          credentials,
          peer,
          session,
          laneToken,
          tagKey,
          files: files.map(({ path, tags }) => ({ path, bytes: tags.bytes })),
          bandwidthBytesPerSec: rate === null ? null : rate / streams,
        });
      }
      await this.#finished.promise;
    } finally {
      this.#over = true;
      for (const { worker } of this.#lanes) worker.terminate();
    }
  }

  abort(error: MigrateError): void {
    this.#finished.reject(error);
  }

  #hear(lane: Lane, message: FromLane): void {
    if (this.#over) return;
    try {
      switch (message.kind) {
        case "up":
          lane.up = true;
          this.#feed(lane);
          this.#share();
          break;
        case "right":
          this.#right(lane, message);
          this.#feed(lane);
          this.#share();
          break;
        case "failed":
          this.abort(
            new MigrateError(message.error.code, message.error.message, { side: message.error.side }),
          );
          break;
      }
    } catch (thrown) {
      this.#finished.reject(thrown);
    }
  }

  #right(lane: Lane, message: Extract<FromLane, { kind: "right" }>): void {
    const { files, progress, sent } = this.#options;
    const count = message.places.length / 2;
    for (let i = 0; i < count; i++) {
      const file = message.places[i * 2]!;
      const chunk = message.places[i * 2 + 1]!;
      const { tags } = files[file]!;
      tags.set(chunk, message.tags.subarray(i * limits.tagBytes, (i + 1) * limits.tagBytes));
      progress(file, chunkLength(tags.bytes, chunk));
    }
    lane.outstanding -= count;
    sent(message.bytesSent - lane.bytesSent, message.sentChunks);
    lane.bytesSent = message.bytesSent;
  }

  #feed(lane: Lane): void {
    while (!this.#planned && lane.outstanding < aheadChunks) {
      const { value: step, done } = this.#plan.next();
      if (done) {
        this.#planned = true;
      } else if (step.kind === "right") {
        this.#options.progress(step.file, step.bytes);
      } else {
        lane.outstanding += step.count;
        this.#post(lane, step);
      }
    }
    if (this.#planned && this.#lanes.every(({ outstanding }) => outstanding === 0)) this.#finished.resolve();
  }

  /** Divides the bandwidth among those that have work: what an idle lane leaves is not lost. */
  #share(): void {
    const { bandwidthBytesPerSec } = this.#options;
    const busy = this.#lanes.filter(({ outstanding }) => outstanding > 0);
    if (bandwidthBytesPerSec === null || busy.length === this.#busy) return;
    this.#busy = busy.length;
    for (const lane of busy) {
      this.#post(lane, { kind: "rate", bandwidthBytesPerSec: bandwidthBytesPerSec / busy.length });
    }
  }

  #post(lane: Lane, message: ToLane): void {
    lane.worker.postMessage(message);
  }
}
