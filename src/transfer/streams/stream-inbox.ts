/**
 * What comes in on a stream: every frame is checked before its bytes are handed on, in order and once,
 * however often the connection was lost (SPEC.md, STREAM-2 to STREAM-6). Knows no socket.
 */
import { timingSafeEqual } from "node:crypto";
import { MigrateError } from "../../protocol/errors.ts";
import { limits } from "../../protocol/limits.ts";
import { decompressBody } from "../compression/zstd-frame.ts";
import { parseData, parseDataEnd, StreamDigest, StreamTagger } from "./stream-frame.ts";

/** Bytes that wait are kept in blocks of at least so much, so that tiny frames do not cost an object each. */
const blockBytes = 64 * 1024;

/** Of compressed frames, those are kept as they came that decode to so much, and to this many times their length. */
const keptZstdBytes = 16 * 1024;
const keptZstdRatio = 4;

/** What waits on all streams of this thread, in bytes; more than `crowdedBytes` is too much. */
let allWaitingBytes = 0;
const crowdedBytes = 32 * 1024 * 1024;
/** A stream may keep so much however many others there are. */
const fairBytes = limits.dataBytes;

/** The program's end, as far as this needs it. */
export interface StreamOutlet {
  /** Hands bytes on; returns how many were taken. */
  write(bytes: Buffer): number;
  /** There is nothing more to hand on. */
  shutdown(): void;
}

interface Block {
  room: Buffer;
  /** Handed on up to here. */
  from: number;
  filled: number;
  /** Where the stream is behind the block's last byte: always the end of a frame. */
  end: number;
  /** True if the room holds one zstd frame, of which `from` bytes were handed on once decoded. */
  isZstd: boolean;
}

export class StreamInbox {
  readonly #outlet: StreamOutlet;
  readonly #tagger: StreamTagger;
  readonly #digest: StreamDigest;
  /** Bytes that were checked and are ours. */
  #accepted = 0;
  /** Bytes that were handed on, to the end of a frame. */
  #handedOn = 0;
  /** Where the next frame of this connection begins. */
  #next = 0;
  /** The most that was acknowledged to the peer, which may send a window beyond that. */
  #acknowledged = 0;
  #waiting: Block[] = [];
  /** Bytes of memory that they take. */
  #waitingBytes = 0;
  #end: { bytes: number; digest: Buffer } | undefined;
  /** DATA-END came on this connection, or was in before it. */
  #endCame = false;
  #ended = false;
  #broken = false;

  /** Takes the 16-byte key of this direction's tags. */
  constructor(stream: number, key: Uint8Array, outlet: StreamOutlet) {
    this.#outlet = outlet;
    this.#tagger = new StreamTagger(key, stream);
    this.#digest = new StreamDigest(stream);
  }

  /** `received` of HELLO, WELCOME and DATA-ACK: the bytes handed on, and one more once the end is, too. */
  get received(): number {
    return this.#handedOn + (this.#ended ? 1 : 0);
  }

  /** What was received and is not acknowledged yet. */
  get unacknowledged(): number {
    return this.received - this.#acknowledged;
  }

  /** True once everything, the end included, was checked and handed on. */
  get ended(): boolean {
    return this.#ended;
  }

  get handedOnBytes(): number {
    return this.#handedOn;
  }

  /** SHA-256 of a direction that has ended, 32 bytes. */
  get digest(): Buffer | undefined {
    return this.#ended ? this.#end?.digest : undefined;
  }

  /** Counts all that was received as acknowledged, and returns it. */
  acknowledge(): number {
    this.#acknowledged = this.received;
    return this.#acknowledged;
  }

  /** A new connection begins; returns the `received` of its HELLO or WELCOME, behind which the peer continues. */
  begin(): number {
    this.#next = this.#handedOn;
    this.#endCame = this.#ended;
    return this.acknowledge();
  }

  /**
   * Takes a DATA payload, or a DATA-ZSTD one if `isZstd`. Throws MigrateError: "protocol" for a frame that
   * has no place here, "integrity" for a wrong tag, "qemu-failed" if the program is gone and cannot take it.
   */
  data(payload: Buffer, isZstd = false): void {
    const { offset, tag, bytes: content } = parseData(payload);
    if (offset !== this.#next) throw wrong(`went on at ${offset} and not at ${this.#next}`);
    // Before anything is decompressed: a window is of what the program is to have, and not of what crossed the link.
    const room = this.#acknowledged + limits.streamWindowBytes + limits.dataBytes - offset;
    if (room < (isZstd ? 1 : content.length)) throw wrong("did not wait");
    const bytes = isZstd ? decompressBody(content, Math.min(limits.dataBytes, room)) : content;
    if (bytes.length === 0) throw wrong("has a compressed frame of nothing");
    const end = offset + bytes.length;
    if (!timingSafeEqual(tag, this.#tagger.tag(offset, bytes))) {
      throw new MigrateError("integrity", "a piece of a stream was damaged on its way");
    }
    this.#next = end;
    // It came on an earlier connection already, and waits for the program.
    if (end <= this.#accepted) return;
    if (offset < this.#accepted) throw wrong("came again in other pieces");
    if (this.#end !== undefined) throw wrong("goes on behind its end");
    if (this.#broken) throw programGone();
    this.#digest.add(tag);
    this.#accepted = end;
    const taken = this.#waiting.length === 0 ? this.#outlet.write(bytes) : 0;
    if (taken === bytes.length) this.#handedOn = end;
    else if (isZstd && bytes.length >= keptZstdBytes && content.length * keptZstdRatio <= bytes.length) {
      this.#push({ room: Buffer.from(content), from: taken, filled: bytes.length, end, isZstd: true });
    } else this.#keep(bytes.subarray(taken), end);
  }

  /** Memory that is taken by what waits for the program, in bytes. */
  get waitingBytes(): number {
    return this.#waitingBytes;
  }

  /** True if too much waits on all streams of this thread, and on this one more than its share. */
  get isCrowding(): boolean {
    return allWaitingBytes > crowdedBytes && this.#waitingBytes > fairBytes;
  }

  /** Nothing more comes of it, and what waits is of no use. Idempotent. */
  close(): void {
    this.#waiting = [];
    allWaitingBytes -= this.#waitingBytes;
    this.#waitingBytes = 0;
  }

  /** Takes a DATA-END payload. Throws MigrateError "protocol", or "integrity" if the digest is wrong. */
  end(payload: Buffer): void {
    const { bytes, digest } = parseDataEnd(payload);
    if (this.#endCame) throw wrong("ended twice");
    if (bytes !== this.#next || bytes !== this.#accepted) throw wrong("ended before its end");
    this.#endCame = true;
    const known = this.#end?.digest ?? this.#digest.finish(bytes);
    this.#end = { bytes, digest: known };
    if (!timingSafeEqual(digest, known)) {
      throw new MigrateError("integrity", "what came on a stream is not what was sent");
    }
    this.#endStream();
  }

  /** The program takes bytes again. */
  drained(): void {
    for (;;) {
      const block = this.#first();
      if (block === undefined) break;
      block.from += this.#outlet.write(block.room.subarray(block.from, block.filled));
      if (block.from < block.filled) return;
      this.#handedOn = block.end;
      this.#waiting.shift();
      this.#count(-block.room.length);
    }
    this.#endStream();
  }

  /** The program is gone. Throws MigrateError "qemu-failed" if bytes waited for it. */
  broken(): void {
    this.#broken = true;
    if (this.#waiting.length > 0) throw programGone();
  }

  #keep(bytes: Buffer, end: number): void {
    const last = this.#waiting.at(-1);
    if (last !== undefined && !last.isZstd && last.room.length - last.filled >= bytes.length) {
      bytes.copy(last.room, last.filled);
      last.filled += bytes.length;
      last.end = end;
      return;
    }
    const room = Buffer.allocUnsafeSlow(Math.max(blockBytes, bytes.length));
    bytes.copy(room);
    this.#push({ room, from: 0, filled: bytes.length, end, isZstd: false });
  }

  #push(block: Block): void {
    this.#waiting.push(block);
    this.#count(block.room.length);
  }

  #count(bytes: number): void {
    this.#waitingBytes += bytes;
    allWaitingBytes += bytes;
  }

  /** What is to be handed on next, decoded. */
  #first(): Block | undefined {
    const block = this.#waiting[0];
    if (block === undefined || !block.isZstd) return block;
    // Its tag was right when it came: it decodes to the same bytes again.
    const room = decompressBody(block.room, limits.dataBytes);
    this.#count(room.length - block.room.length);
    const decoded = { ...block, room, isZstd: false };
    this.#waiting[0] = decoded;
    return decoded;
  }

  #endStream(): void {
    if (this.#end === undefined || this.#ended || this.#waiting.length > 0) return;
    this.#ended = true;
    this.#outlet.shutdown();
  }
}

function wrong(what: string): MigrateError {
  return new MigrateError("protocol", `a stream ${what}`);
}

function programGone(): MigrateError {
  return new MigrateError("qemu-failed", "QEMU closed the connection of a stream, and more came for it");
}
