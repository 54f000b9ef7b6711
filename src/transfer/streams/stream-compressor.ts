/**
 * Compresses what programs send on the streams of one thread, if that is faster: the choice that a lane
 * makes for its chunks, made once for all streams that share a thread and its part of the link.
 *
 * The thread works while it compresses and sends a piece. The rest of the time counts as waiting for the other
 * side if much is under way, and as rest if the programs send little. If each stream chose for itself, it would
 * mistake the thread's work for other streams for a slow link, and compress even more.
 */
import { ChunkCompressor, type CompressorTools } from "../compression/chunk-compressor.ts";
import type { Compression } from "../compression/compression.ts";

/** With so much under way a program waits for the other side even if no window is full, as a disk's mirror does. */
const muchUnderWayBytes = 256 * 1024;

/** What is under way of a stream, by bytes of the program and by what was made of them. */
interface UnderWay {
  programBytes: number;
  sentBytes: number;
  /** What of `sentBytes` was sent on a connection before this one. */
  olderBytes: number;
  hasBegun: boolean;
}

export class StreamCompressor {
  readonly #make: () => ChunkCompressor;
  readonly #nowMs: () => number;
  readonly #streams = new Set<UnderWay>();
  #compressor: ChunkCompressor;
  /** The thread's time is accounted for up to here. */
  #toMs: number;

  /** One for each thread. */
  constructor(setting: Compression, tools: CompressorTools = {}) {
    this.#make = () => new ChunkCompressor(setting, tools);
    this.#compressor = this.#make();
    this.#nowMs = tools.nowMs ?? (() => performance.now());
    this.#toMs = this.#nowMs();
  }

  /** For one more stream of this thread. */
  stream(): CompressedStream {
    const underWay = { programBytes: 0, sentBytes: 0, olderBytes: 0, hasBegun: false };
    this.#streams.add(underWay);
    return {
      begin: () => this.#begin(underWay),
      compress: (bytes) => this.#compress(underWay, bytes),
      worked: () => {
        this.#toMs = this.#nowMs();
      },
      acknowledged: (programBytes, sentBytes) => this.#acknowledged(underWay, programBytes, sentBytes),
      close: () => void this.#streams.delete(underWay),
    };
  }

  /** What was measured is about a connection that is gone, and most of the time since there was none: measures anew. */
  #begin(stream: UnderWay): void {
    const isFirst = !stream.hasBegun;
    stream.hasBegun = true;
    if (isFirst) return;
    this.#compressor = this.#make();
    this.#toMs = this.#nowMs();
    for (const each of this.#streams) each.olderBytes = each.sentBytes;
  }

  #compress(stream: UnderWay, bytes: Buffer): Buffer | null {
    this.#account();
    const frame = this.#compressor.compress(bytes);
    stream.programBytes += bytes.length;
    stream.sentBytes += frame?.length ?? bytes.length;
    return frame;
  }

  #acknowledged(stream: UnderWay, programBytes: number, sentBytes: number): void {
    this.#account();
    stream.programBytes -= programBytes;
    stream.sentBytes -= sentBytes;
    const older = Math.min(stream.olderBytes, sentBytes);
    stream.olderBytes -= older;
    if (sentBytes > older) this.#compressor.acknowledged(sentBytes - older);
  }

  /** The time since the thread worked last was waiting, or rest. */
  #account(): void {
    const nowMs = this.#nowMs();
    const ms = nowMs - this.#toMs;
    this.#toMs = nowMs;
    if (ms <= 0) return;
    let underWayBytes = 0;
    for (const { programBytes } of this.#streams) underWayBytes += programBytes;
    if (underWayBytes >= muchUnderWayBytes) this.#compressor.waited(ms);
    else this.#compressor.rested(ms);
  }
}

/** A stream's part of its thread's compressor. */
export interface CompressedStream {
  /** A connection carries the stream from now on; another one than before, if there was one. */
  begin(): void;
  /** The zstd frame for these bytes, or null if they are to be sent as they are. To be called for all, in order. */
  compress(bytes: Buffer): Buffer | null;
  /** What `compress` was called for is done: the thread turns to something else. */
  worked(): void;
  /** So many bytes of the program, and of what was sent for them, were acknowledged. */
  acknowledged(programBytes: number, sentBytes: number): void;
  /** The stream is over. */
  close(): void;
}
