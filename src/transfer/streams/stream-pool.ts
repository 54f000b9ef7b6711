/**
 * The streams of a source, for its main thread: Workers that carry programs' connections to the
 * destination, and lose nothing when the network does.
 */
import { closeSync } from "node:fs";
import { spawnWorker } from "../../platform/worker.ts";
import { fromPlainError, MigrateError } from "../../protocol/errors.ts";
import { highestLevelOf, mostLanes } from "../compression/lane-memory.ts";
import { bandwidthShares } from "./bandwidth-share.ts";
import type { FromStreams, StreamResult, StreamRoute, ToStreams } from "./stream-messages.ts";

export type { StreamResult, StreamRoute } from "./stream-messages.ts";

export interface StreamPoolOptions {
  workers: number;
  /** For all streams together; null for as fast as it goes. */
  bandwidthBytesPerSec: number | null;
  /** A stream's connection was lost, or stands again. */
  link: (state: "lost" | "restored", stream: number, message: string) => void;
  /** Something of what was sent has arrived, be it less than a frame: the destination is there. */
  moving?: () => void;
}

/** The highest level that "auto" chooses here: 512 KiB take a few milliseconds. */
const calmLevel = 9;
/** How often the bandwidth is divided anew by what the streams have sent. */
const divideMs = 500;

interface OpenStream {
  worker: Worker;
  opened: PromiseWithResolvers<void>;
  ended: PromiseWithResolvers<StreamResult>;
  isOver: boolean;
  sentBytes: number;
  arrivedBytes: number;
  toDestination: number;
  toSource: number;
  /** What it may send, and what of `sentBytes` was there when that was last looked at. */
  shareBytesPerSec: number;
  countedBytes: number;
}

export class StreamPool {
  readonly #options: StreamPoolOptions;
  readonly #workers: Worker[] = [];
  readonly #streams = new Map<number, OpenStream>();
  #bandwidthBytesPerSec: number | null;
  #isClosed = false;
  #divider: Timer | undefined;

  /** Starts the Workers; nothing is connected before the first stream is opened. */
  constructor(route: StreamRoute, options: StreamPoolOptions) {
    this.#options = options;
    this.#bandwidthBytesPerSec = options.bandwidthBytesPerSec;
    const workers = Math.min(options.workers, mostLanes(route.compression));
    // While it compresses at a slow level, a thread serves none of its other streams.
    const mostLevel = Math.min(calmLevel, highestLevelOf(workers));
    for (let i = 0; i < workers; i++) {
      const worker = spawnWorker("stream");
      this.#workers.push(worker);
      worker.onerror = (event) => this.#died(worker, event.message);
      worker.onmessage = ({ data }: MessageEvent<FromStreams>) => this.#receive(worker, data);
      post(worker, { kind: "route", route, mostLevel });
    }
  }

  /**
   * Takes a connected, non-blocking descriptor over as the program's end of a stream; whatever comes of
   * this, it is closed. Workers are used round robin. Resolves once the destination has let the stream in;
   * rejects with the MigrateError that `ended` rejects with.
   */
  open(stream: number, fd: number): Promise<void> {
    if (this.#isClosed || this.#streams.has(stream)) {
      closeSync(fd);
      return Promise.reject(this.#isClosed ? closed() : new MigrateError("bug", `stream ${stream} is open`));
    }
    const worker = this.#workers[this.#streams.size % this.#workers.length]!;
    const opened = Promise.withResolvers<void>();
    const ended = Promise.withResolvers<StreamResult>();
    // Nobody may ask how a stream ended: that is no unhandled rejection.
    opened.promise.catch(() => {});
    ended.promise.catch(() => {});
    const none = {
      isOver: false,
      sentBytes: 0,
      arrivedBytes: 0,
      toDestination: 0,
      toSource: 0,
      countedBytes: 0,
    };
    this.#streams.set(stream, { worker, opened, ended, ...none, shareBytesPerSec: 0 });
    post(worker, { kind: "open", stream, fd, bandwidthBytesPerSec: this.#bandwidthBytesPerSec });
    this.#divide();
    return opened.promise;
  }

  /** Resolves once the stream has ended on both sides; rejects with the MigrateError that it failed with. */
  ended(stream: number): Promise<StreamResult> {
    return (
      this.#streams.get(stream)?.ended.promise ??
      Promise.reject(new MigrateError("bug", `stream ${stream} was never opened`))
    );
  }

  /** Bytes of frames sent so far, on all streams, those that had to be sent again among them. */
  get sentBytes(): number {
    return [...this.#streams.values()].reduce((sum, stream) => sum + stream.sentBytes, 0);
  }

  /** The same on one stream. */
  sentBytesOn(stream: number): number {
    return this.#streams.get(stream)?.sentBytes ?? 0;
  }

  /** Bytes of the programs that have been handed on at the other end, by direction. */
  carried(stream: number): { toDestination: number; toSource: number } {
    const { toDestination = 0, toSource = 0 } = this.#streams.get(stream) ?? {};
    return { toDestination, toSource };
  }

  /** Sends no faster than this from now on, on all streams together; null for as fast as it goes. */
  pace(bandwidthBytesPerSec: number | null): void {
    this.#bandwidthBytesPerSec = bandwidthBytesPerSec;
    this.#divide();
  }

  /** Ends everything at once: Workers, connections, descriptors. What has not ended yet rejects. Idempotent. */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    clearInterval(this.#divider);
    for (const stream of this.#streams.keys()) this.#fail(stream, closed());
    // A Worker that is terminated leaves a descriptor open that it has not taken over yet, so it is asked first.
    for (const worker of this.#workers) post(worker, { kind: "drop" });
  }

  #receive(worker: Worker, message: FromStreams): void {
    if (message.kind === "dropped") {
      worker.terminate();
      return;
    }
    if (this.#isClosed) return;
    const number = message.kind === "ended" ? message.result.stream : message.stream;
    const stream = this.#streams.get(number);
    if (stream === undefined || stream.isOver) return;
    switch (message.kind) {
      case "opened":
        stream.opened.resolve();
        break;
      case "link":
        this.#options.link(message.state, number, message.message);
        break;
      case "progress": {
        const { sentBytes, arrivedBytes, toDestination, toSource } = message;
        if (arrivedBytes > stream.arrivedBytes) this.#options.moving?.();
        Object.assign(stream, { sentBytes, arrivedBytes, toDestination, toSource });
        break;
      }
      case "ended":
        stream.isOver = true;
        stream.ended.resolve(message.result);
        this.#divide();
        break;
      case "failed":
        this.#fail(number, fromPlainError(message.error));
        this.#divide();
        break;
    }
  }

  #fail(number: number, error: MigrateError): void {
    const stream = this.#streams.get(number);
    if (stream === undefined || stream.isOver) return;
    stream.isOver = true;
    stream.opened.reject(error);
    stream.ended.reject(error);
  }

  #died(worker: Worker, message: string): void {
    const error = new MigrateError("bug", `a Worker of streams died: ${message}`);
    for (const [number, stream] of this.#streams) if (stream.worker === worker) this.#fail(number, error);
  }

  /** Divides the bandwidth among the streams that are open: evenly for now, soon by what they send. */
  #divide(): void {
    const bandwidth = this.#bandwidthBytesPerSec;
    if (this.#isClosed) return;
    clearInterval(this.#divider);
    const open = this.#unended();
    if (bandwidth === null) {
      for (const [number, { worker }] of open)
        post(worker, { kind: "rate", stream: number, bandwidthBytesPerSec: null });
      return;
    }
    this.#divider = setInterval(() => this.#divideByUse(bandwidth), divideMs).unref();
    for (const [number, stream] of open) this.#allow(number, stream, bandwidth / open.length);
  }

  #divideByUse(bandwidthBytesPerSec: number): void {
    const open = this.#unended();
    const uses = open.map(([, { shareBytesPerSec, sentBytes, countedBytes }]) => ({
      shareBytesPerSec,
      usedBytesPerSec: ((sentBytes - countedBytes) * 1000) / divideMs,
    }));
    const shares = bandwidthShares(bandwidthBytesPerSec, uses);
    for (const [at, [number, stream]] of open.entries()) this.#allow(number, stream, shares[at]!);
  }

  #allow(number: number, stream: OpenStream, shareBytesPerSec: number): void {
    stream.countedBytes = stream.sentBytes;
    stream.shareBytesPerSec = shareBytesPerSec;
    post(stream.worker, { kind: "rate", stream: number, bandwidthBytesPerSec: shareBytesPerSec });
  }

  #unended(): [number, OpenStream][] {
    return [...this.#streams].filter(([, { isOver }]) => !isOver);
  }
}

function post(worker: Worker, message: ToStreams): void {
  worker.postMessage(message);
}

function closed(): MigrateError {
  return new MigrateError("cancelled", "the streams were closed", { side: "source" });
}
