/**
 * One lane of the destination: checks each chunk on arrival and writes it where it belongs; looks in the
 * store for chunks that the source describes. Runs in a door's Worker.
 *
 * A chunk may come twice and in any order; writing it again changes nothing. It is acknowledged once
 * the kernel has it; that it reaches the disk is the seal's business.
 */
import type { FrameSocket } from "../../channel/frame-socket.ts";
import { asMigrateError, MigrateError } from "../../protocol/errors.ts";
import type { FrameName } from "../../protocol/frames.ts";
import { chunkBodyBytes, chunkLength, limits } from "../../protocol/limits.ts";
import { encodeAck } from "../chunks/ack.ts";
import { type Chunk, type Packed, parseChunk, type Received, tagHolds } from "../chunks/chunk.ts";
import { ChunkBuffer } from "../chunks/chunk-buffer.ts";
import { Tagger } from "../chunks/tagger.ts";
import { ChunkWriter, type Share } from "../landing/chunk-writer.ts";
import { checkHead } from "../landing/image-head.ts";
import type { LaneGrant } from "../landing/lane-grant.ts";
import { storeFailure } from "../landing/store-failure.ts";
import { SlowReads } from "../reuse/repeats/slow-reads.ts";
import { BlockFinder, type FoundBlock } from "../reuse/store/block-finder.ts";
import { isNoBlockHash } from "../reuse/store/block-hash.ts";
import { type Description, encodeWant, parseDescribe, type Want } from "../reuse/store/describe.ts";
import type { FromReceivingLane } from "./lane-messages.ts";

const { tagBytes, describedChunks } = limits;

/**
 * The room in which chunks are put together of which a part is here already. All lanes of this thread share it,
 * since nothing stays in it between two messages, and many VMs may arrive at once.
 */
let room: ChunkBuffer | undefined;
function assembly(): ChunkBuffer {
  room ??= new ChunkBuffer();
  return room;
}

/** The room in which shortened bodies are lengthened: one for the thread, for the same reason. */
let bodyRoom: Buffer | undefined;
function lengthening(): Buffer {
  bodyRoom ??= Buffer.allocUnsafeSlow(chunkBodyBytes);
  return bodyRoom;
}

/** What was found of a chunk that is still to come. */
interface Pending {
  found: readonly (FoundBlock | null)[];
  hashes: Buffer;
}

export class LaneReceiver {
  readonly session: string;
  readonly #link: FrameSocket;
  readonly #post: (message: FromReceivingLane) => void;
  readonly #failed: (error: MigrateError) => void;
  readonly #tagger: Tagger;
  readonly #fileBytes: number[];
  readonly #files: LaneGrant["files"];
  readonly #writer: ChunkWriter;
  readonly #received: Received;
  /** If repeats have to be read from a disk, the source is asked to send: other connections of this thread would wait. */
  readonly #reads = new SlowReads();
  readonly #finder: BlockFinder | undefined;
  /** The plain bytes of the chunk in assembly, if its blocks can be shared with the store's files. */
  readonly #plain: Buffer | undefined;
  readonly #pending = new Map<string, Pending>();
  /** Descriptions that nothing was looked up for yet, by their place. */
  readonly #described = new Map<string, Description>();
  #isClosed = false;
  #arrived: { file: number; chunk: number; tag: Buffer }[] = [];
  #wants: Want[] = [];
  #reportedBytes = 0;

  /** `failed` receives what goes wrong outside of a call of `frame`; the lane is over then. */
  constructor(
    grant: LaneGrant,
    link: FrameSocket,
    post: (message: FromReceivingLane) => void,
    failed: (error: MigrateError) => void,
  ) {
    this.session = grant.session;
    this.#link = link;
    this.#post = post;
    this.#failed = failed;
    this.#tagger = new Tagger(grant.tagKey);
    this.#files = grant.files;
    this.#fileBytes = grant.files.map(({ bytes }) => bytes);
    this.#writer = new ChunkWriter(grant);
    this.#received = {
      read: (file, from, into) =>
        !this.#reads.areTooMany && this.#reads.read(() => this.#writer.readBack(file, from, into)),
      room: lengthening(),
    };
    if (grant.finder?.sharesBlocks) this.#plain = Buffer.allocUnsafeSlow(limits.chunkBytes);
    this.#finder = grant.finder === null ? undefined : new BlockFinder(grant.finder);
  }

  /**
   * Takes a frame of the source. Throws MigrateError: "protocol" for what makes no sense, "integrity"
   * for a chunk whose tag is wrong, "vm-invalid" for the head of an image that it may not have, "no-room" or "store-failed" if it cannot be written.
   */
  frame(name: FrameName, payload: Buffer): void {
    this.#reads.begin();
    if (name === "chunk") this.#chunk(parseChunk(payload, this.#fileBytes, this.#received));
    else if (name === "describe") this.#describe(parseDescribe(payload, this.#fileBytes));
  }

  close(): void {
    this.#isClosed = true;
    this.#described.clear();
    this.#writer.close();
    this.#finder?.close();
  }

  #chunk(chunk: Chunk): void {
    const key = `${chunk.file}:${chunk.chunk}`;
    const pending = this.#pending.get(key);
    this.#pending.delete(key);
    if (chunk.leftOut !== 0) {
      this.#fill(chunk, pending);
      return;
    }
    if (tagHolds(chunk, chunk.body, this.#tagger)) {
      this.#write(chunk);
    } else if (chunk.repeats > 0) {
      // What it refers to is not what the source takes it for, or not here yet.
      this.#want({ file: chunk.file, chunk: chunk.chunk, found: 0 });
    } else {
      throw new MigrateError(
        "integrity",
        `chunk ${chunk.chunk} of file ${chunk.file} was damaged on its way`,
      );
    }
  }

  /** A chunk of which some blocks were found here: the store may have changed since they were. */
  #fill(chunk: Chunk, pending: Pending | undefined): void {
    if (pending === undefined || (chunk.leftOut & ~maskOf(pending.found)) !== 0) {
      throw new MigrateError("protocol", "a chunk leaves out blocks that were not found");
    }
    const bytes = chunkLength(this.#fileBytes[chunk.file]!, chunk.chunk);
    const used = pending.found.map((block, i) => ((chunk.leftOut & (1 << i)) === 0 ? null : block));
    assembly().unpack(chunk, bytes);
    if (this.#finder!.read(used, pending.hashes, assembly().dataRoom(bytes))) {
      const packed = this.#pack(bytes);
      if (tagHolds(chunk, packed.body, this.#tagger)) {
        this.#write({ ...chunk, ...packed }, used);
        return;
      }
    }
    this.#want({ file: chunk.file, chunk: chunk.chunk, found: 0 });
  }

  #describe({ tag, hashes, ...description }: Description): void {
    const key = `${description.file}:${description.chunk}`;
    const waiting = this.#pending.size + this.#described.size;
    const isKnown = this.#pending.has(key) || this.#described.has(key);
    if (this.#finder === undefined || isKnown || waiting === describedChunks) {
      throw new MigrateError("protocol", "a chunk was described that may not be");
    }
    if (this.#described.size === 0) setImmediate(() => this.#lookNext());
    this.#described.set(key, { ...description, tag: Buffer.from(tag), hashes: Buffer.from(hashes) });
  }

  /**
   * One at a time: the store may lie on a slow disk, and other connections of this thread have to answer
   * their PINGs in between.
   */
  #lookNext(): void {
    const [next] = this.#described.values();
    if (this.#isClosed || next === undefined) return;
    try {
      this.#look(next);
      this.#described.delete(`${next.file}:${next.chunk}`);
      if (this.#described.size > 0) setImmediate(() => this.#lookNext());
    } catch (thrown) {
      this.#failed(asMigrateError(thrown));
    }
  }

  #look({ file, chunk, bytes, tag, hashes }: Description): void {
    const data = assembly().dataRoom(bytes);
    data.fill(0);
    const found = this.#finder!.find(file, chunk, hashes, data);
    if (found.every((block, i) => block !== null || isNoBlockHash(hashes, i))) {
      const packed = this.#pack(bytes);
      if (tagHolds({ file, chunk, tag }, packed.body, this.#tagger)) {
        this.#write({ file, chunk, tag, leftOut: 0, repeats: 0, ...packed }, found);
        return;
      }
      // Somebody's hashes are not those of the bytes: they are of no use.
      found.fill(null);
    }
    this.#pending.set(`${file}:${chunk}`, { found, hashes });
    this.#want({ file, chunk, found: maskOf(found) });
  }

  #want(want: Want): void {
    if (this.#wants.length === 0) queueMicrotask(() => this.#answer());
    this.#wants.push(want);
    if (this.#wants.length === describedChunks) this.#answer();
  }

  #answer(): void {
    const wants = this.#wants;
    this.#wants = [];
    if (wants.length > 0) this.#link.send(encodeWant(wants))?.catch(() => {});
  }

  /** Packs what stands in the assembly; the plain bytes are kept if they are of use. */
  #pack(bytes: number): Packed {
    if (this.#plain !== undefined) assembly().dataRoom(bytes).copy(this.#plain);
    return assembly().pack(bytes);
  }

  /** Writes a chunk whose tag holds; `found` are blocks of an assembled one that lie in the store as well. */
  #write(chunk: Chunk, found: readonly (FoundBlock | null)[] = []): void {
    checkHead(chunk, this.#files[chunk.file]!);
    // No longer than the chunk is: the last block of a file may be short, and the file must not grow.
    const plain = this.#plain?.subarray(0, chunkLength(this.#fileBytes[chunk.file]!, chunk.chunk));
    const share: Share = (fd, offset) => {
      const isShared = plain !== undefined && this.#finder!.share(found, plain, fd, offset);
      return isShared ? maskOf(found) : 0;
    };
    try {
      this.#writer.write(chunk, found.length === 0 ? undefined : share);
    } catch (thrown) {
      throw storeFailure(thrown);
    }
    if (this.#arrived.length === 0) queueMicrotask(() => this.#acknowledge());
    this.#arrived.push({ file: chunk.file, chunk: chunk.chunk, tag: Buffer.from(chunk.tag) });
    // Zero chunks are so short that thousands of them may come in one read.
    if (this.#arrived.length === limits.ackChunks) this.#acknowledge();
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
    // The main thread is told before the source is: SEAL can only come after this.
    const bytesReceived = this.#link.bytesReceived - this.#reportedBytes;
    this.#reportedBytes = this.#link.bytesReceived;
    this.#post({ kind: "chunks", session: this.session, places, tags, bytesReceived });
    this.#link.send(encodeAck(arrived))?.catch(() => {});
  }
}

function maskOf(found: readonly (FoundBlock | null)[]): number {
  return found.reduce((mask, block, i) => (block === null ? mask : mask | (1 << i)), 0);
}
