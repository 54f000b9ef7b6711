/**
 * One lane of the destination: checks each chunk on arrival and writes it where it belongs. Runs in
 * a door's Worker.
 *
 * A chunk may come twice and in any order; writing it again changes nothing. It is acknowledged once
 * the kernel has it; that it reaches the disk is the seal's business.
 */
import { closeSync, constants, openSync, writeSync } from "node:fs";
import type { FrameSocket } from "../channel/frame-socket.ts";
import { punchHole } from "../platform/holes.ts";
import { startWriteback } from "../platform/writeback.ts";
import { MigrateError } from "../protocol/errors.ts";
import { chunkLength, limits } from "../protocol/limits.ts";
import { encodeAck } from "./ack.ts";
import { type Chunk, parseChunk, Tagger, tagHolds } from "./chunk.ts";
import type { FromDoor, LaneGrant } from "./lane-messages.ts";
import { storeFailure } from "./store-failure.ts";

const { chunkBytes, pageBytes, tagBytes } = limits;
const zeroPage = Buffer.alloc(pageBytes);

export class LaneReceiver {
  readonly session: string;
  readonly #grant: LaneGrant;
  readonly #link: FrameSocket;
  readonly #post: (message: FromDoor) => void;
  readonly #tagger: Tagger;
  readonly #fileBytes: number[];
  readonly #fds = new Map<number, number>();
  #arrived: { file: number; chunk: number; tag: Buffer }[] = [];
  #reportedBytes = 0;

  constructor(grant: LaneGrant, link: FrameSocket, post: (message: FromDoor) => void) {
    this.session = grant.session;
    this.#grant = grant;
    this.#link = link;
    this.#post = post;
    this.#tagger = new Tagger(grant.tagKey);
    this.#fileBytes = grant.files.map(({ bytes }) => bytes);
  }

  /**
   * Takes a CHUNK payload. Throws MigrateError: "protocol" for a chunk that makes no sense,
   * "integrity" for one whose tag is wrong, "no-room" or "store-failed" where it cannot be written.
   */
  chunk(payload: Buffer): void {
    const chunk = parseChunk(payload, this.#fileBytes);
    if (!tagHolds(chunk, this.#tagger)) {
      throw new MigrateError(
        "integrity",
        `chunk ${chunk.chunk} of file ${chunk.file} was damaged on its way`,
      );
    }
    try {
      this.#write(chunk);
    } catch (thrown) {
      throw storeFailure(thrown);
    }
    if (this.#arrived.length === 0) queueMicrotask(() => this.#acknowledge());
    this.#arrived.push({ file: chunk.file, chunk: chunk.chunk, tag: Buffer.from(chunk.tag) });
    // Zero chunks are so short that thousands of them may come in one read.
    if (this.#arrived.length === limits.ackChunks) this.#acknowledge();
  }

  close(): void {
    for (const fd of this.#fds.values()) closeSync(fd);
    this.#fds.clear();
  }

  #write({ file, chunk, body, runs, pagesAt }: Chunk): void {
    const fd = this.#open(file);
    const offset = chunk * chunkBytes;
    const length = chunkLength(this.#fileBytes[file]!, chunk);
    const whole = runs.length === 1 && body.length - pagesAt === length;
    if (this.#grant.used && !whole && !punchHole(fd, offset, length)) {
      for (let at = 0; at < length; at += pageBytes) {
        writeFully(fd, zeroPage.subarray(0, Math.min(pageBytes, length - at)), offset + at);
      }
    }
    let at = pagesAt;
    for (const { firstPage, pages } of runs) {
      const from = firstPage * pageBytes;
      const bytes = Math.min(pages * pageBytes, length - from);
      writeFully(fd, body.subarray(at, at + bytes), offset + from);
      at += bytes;
    }
    startWriteback(fd, offset, length);
  }

  #open(file: number): number {
    let fd = this.#fds.get(file);
    if (fd === undefined) {
      // The staging folder is ours and 0700; O_NOFOLLOW all the same.
      fd = openSync(this.#grant.files[file]!.path, constants.O_RDWR | constants.O_NOFOLLOW);
      this.#fds.set(file, fd);
    }
    return fd;
  }

  #acknowledge(): void {
    const arrived = this.#arrived;
    this.#arrived = [];
    if (arrived.length === 0) return;
    const places = new Uint32Array(arrived.length * 2);
    const tags = new Uint8Array(arrived.length * tagBytes);
    arrived.forEach(({ file, chunk, tag }, i) => {
      places[i * 2] = file;
      places[i * 2 + 1] = chunk;
      tags.set(tag, i * tagBytes);
    });
    // The main thread hears of it before the source does: SEAL can only come after this.
    const bytesReceived = this.#link.bytesReceived - this.#reportedBytes;
    this.#reportedBytes = this.#link.bytesReceived;
    this.#post({ kind: "chunks", session: this.session, places, tags, bytesReceived });
    this.#link.send(encodeAck(arrived))?.catch(() => {});
  }
}

/** Writes all of `bytes` at `offset` (pwrite(2) may write less than it is asked to). */
function writeFully(fd: number, bytes: Buffer, offset: number): void {
  for (let at = 0; at < bytes.length; ) at += writeSync(fd, bytes, at, bytes.length - at, offset + at);
}
