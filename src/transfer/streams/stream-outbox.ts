/**
 * What goes out on a stream: keeps every frame until the peer has acknowledged it, so that the next
 * connection can begin with it (SPEC.md, STREAM-4). Knows no socket.
 */
import { MigrateError } from "../../protocol/errors.ts";
import { limits } from "../../protocol/limits.ts";
import type { CompressedStream } from "./stream-compressor.ts";
import { dataHead, encodeDataEnd, StreamDigest, StreamTagger } from "./stream-frame.ts";

/** Frames kept at most: a program that writes a few bytes at a time must not cost a window of objects. */
const mostFrames = 4096;

/** A frame in two pieces, so that the program's bytes need not be copied behind their head. */
export interface StreamFrame {
  readonly head: Buffer;
  /** The program's bytes, or what they are as zstd; none for DATA-END. */
  readonly bytes: Buffer | null;
  /** The peer's `received` once it has this frame. */
  readonly end: number;
}

export class StreamOutbox {
  readonly #compressed: CompressedStream | undefined;
  readonly #tagger: StreamTagger;
  readonly #digest: StreamDigest;
  readonly #frames: StreamFrame[] = [];
  #bytes = 0;
  #acknowledged = 0;
  #finished: Buffer | undefined;

  /** Takes the 16-byte key of this direction's tags, and what compresses, if the peer takes compressed frames. */
  constructor(stream: number, key: Uint8Array, compressed?: CompressedStream) {
    this.#compressed = compressed;
    this.#tagger = new StreamTagger(key, stream);
    this.#digest = new StreamDigest(stream);
  }

  /** Bytes that the program has given. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Bytes that the peer has handed on. */
  get deliveredBytes(): number {
    return Math.min(this.#acknowledged, this.#bytes);
  }

  /** False if the program must wait: one more read of it might not fit the window. */
  get hasRoom(): boolean {
    const waiting = this.#bytes - this.#acknowledged;
    return waiting + limits.dataBytes <= limits.streamWindowBytes && this.#frames.length < mostFrames;
  }

  /** True once the program has sent all and DATA-END is made. */
  get finished(): boolean {
    return this.#finished !== undefined;
  }

  /** True once the peer has everything, the end included. */
  get delivered(): boolean {
    return this.#finished !== undefined && this.#acknowledged === this.#bytes + 1;
  }

  /** SHA-256 of a direction that has finished, 32 bytes. */
  get digest(): Buffer | undefined {
    return this.#finished;
  }

  /** The frames that the peer has not acknowledged, oldest first. */
  get unacknowledged(): readonly StreamFrame[] {
    return this.#frames;
  }

  /**
   * The program's next bytes (1 to `limits.dataBytes`), kept as they are or compressed; returns the frame
   * around them.
   */
  add(bytes: Buffer): StreamFrame {
    const tag = this.#tagger.tag(this.#bytes, bytes);
    this.#digest.add(tag);
    const zstd = this.#compressed?.compress(bytes) ?? null;
    const sent = zstd ?? bytes;
    const head = dataHead(zstd === null ? "data" : "dataZstd", this.#bytes, tag, sent.length);
    this.#bytes += bytes.length;
    return this.#keep({ head, bytes: sent, end: this.#bytes });
  }

  /** The program sends nothing more: returns DATA-END. To be called once. */
  finish(): StreamFrame {
    this.#finished = this.#digest.finish(this.#bytes);
    return this.#keep({
      head: encodeDataEnd(this.#bytes, this.#finished),
      bytes: null,
      end: this.#bytes + 1,
    });
  }

  /**
   * The peer has received so much. Throws MigrateError "protocol" if that is less than before, more
   * than there is, or in the middle of a frame.
   */
  acknowledge(received: number): void {
    if (received < this.#acknowledged) throw wrong("fell");
    let done = 0;
    let sentBytes = 0;
    let at = this.#acknowledged;
    while (at < received) {
      const frame = this.#frames[done];
      if (frame === undefined) throw wrong("is more than was sent");
      if (frame.end > received) throw wrong("lies within a frame");
      at = frame.end;
      sentBytes += frame.bytes?.length ?? 0;
      done++;
    }
    this.#frames.splice(0, done);
    const before = this.deliveredBytes;
    this.#acknowledged = received;
    this.#compressed?.acknowledged(this.deliveredBytes - before, sentBytes);
  }

  /** What was given to `add` last has been sent, or waits for it: the thread turns to something else. */
  worked(): void {
    this.#compressed?.worked();
  }

  /** Another connection carries the stream: returns the frames that it is to begin with. */
  begin(): StreamFrame[] {
    this.#compressed?.begin();
    return [...this.#frames];
  }

  /** Nothing more is sent. */
  close(): void {
    this.#compressed?.close();
  }

  #keep(frame: StreamFrame): StreamFrame {
    this.#frames.push(frame);
    return frame;
  }
}

/** Its bytes on the wire. */
export function bytesOf({ head, bytes }: StreamFrame): number {
  return head.length + (bytes?.length ?? 0);
}

function wrong(what: string): MigrateError {
  return new MigrateError("protocol", `what was acknowledged on a stream ${what}`);
}
