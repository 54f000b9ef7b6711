/**
 * One lane of the source: takes chunks off the shared queue, leaves out what is zero or already at
 * the other end, asks there for what else it may have, and sends the rest over a connection of its own.
 * Runs in a Worker (src/lane.worker.ts).
 */
import { SharedPacer } from "../../channel/shared-pacer.ts";
import { MigrateError, toPlainError } from "../../protocol/errors.ts";
import type { FrameName } from "../../protocol/frames.ts";
import { limits } from "../../protocol/limits.ts";
import { parseAck } from "../chunks/ack.ts";
import type { Packed } from "../chunks/chunk.ts";
import { ChunkBuffer } from "../chunks/chunk-buffer.ts";
import { ChunkReader } from "../chunks/chunk-reader.ts";
import { Tagger } from "../chunks/tagger.ts";
import { ChunkCompressor } from "../compression/chunk-compressor.ts";
import { RepeatFinder } from "../reuse/repeats/repeat-finder.ts";
import { BlockHasher } from "../reuse/store/block-hash.ts";
import { encodeDescribe, parseWant } from "../reuse/store/describe.ts";
import { DescriptionChoice } from "../reuse/store/description-choice.ts";
import { ChunksUnderway, type ChunkUnderway, foundBytes, newChunk } from "./chunks-underway.ts";
import { type LaneHandler, LaneLink } from "./lane-link.ts";
import type { FromLane, ToLane } from "./lane-messages.ts";
import { type QueuedChunk, WorkQueue } from "./work-queue.ts";

/** Chunks sent and not acknowledged: what a cut link can cost. */
const windowChunks = 16;
/** The same if chunks are described first, which takes one more round trip. */
const describedWindowChunks = 32;
/**
 * A chunk that was sent this part of a silence ago and is not acknowledged lets no other one follow: on a slow link few
 * are under way, so that a cut costs little and it shows early whether they arrive.
 */
const calmPart = 1 / 4;
/** Garbage is collected each time so many frames were made. */
const collectedFrames = 8;

type Start = Extract<ToLane, { kind: "start" }>;

export class LaneSender {
  readonly #start: Start;
  readonly #post: (message: FromLane) => void;
  readonly #tagger: Tagger;
  readonly #reader: ChunkReader;
  readonly #queue: WorkQueue;
  readonly #compressor: ChunkCompressor;
  readonly #pacer: SharedPacer;
  readonly #hasher: BlockHasher | undefined;
  readonly #repeats: RepeatFinder | null;
  /** One for each file: of RAM the store has next to nothing, of a disk it may have nearly all. */
  readonly #choices: readonly DescriptionChoice[];
  readonly #windowChunks: number;
  /** Two: one is read into while the socket still takes the other. */
  readonly #buffers = [new ChunkBuffer(), new ChunkBuffer()];
  readonly #sending: (Promise<void> | undefined)[] = [undefined, undefined];
  readonly #underway = new ChunksUnderway();
  readonly #wanted: ChunkUnderway[] = [];
  #link: LaneLink | undefined;
  readonly #dropping = new AbortController();
  #wake: (() => void) | undefined;
  #answer: ((how: "begin" | "redial") => void) | undefined;
  #failure: MigrateError | undefined;
  #confirmed: { file: number; chunk: number; tag: Buffer }[] = [];
  #sentChunks = 0;
  #frames = 0;
  #foundBytes = 0;
  #repeatedBytes = 0;
  #turn = 0;

  constructor(start: Start, post: (message: FromLane) => void) {
    this.#start = start;
    this.#post = post;
    this.#tagger = new Tagger(start.tagKey);
    this.#reader = new ChunkReader(start.files);
    this.#queue = new WorkQueue(start.queue);
    this.#compressor = new ChunkCompressor(start.compression, { mostLevel: start.mostLevel });
    this.#pacer = new SharedPacer(start.pace);
    this.#hasher = start.indexKey ? new BlockHasher(start.indexKey) : undefined;
    this.#choices = start.files.map(() => new DescriptionChoice());
    const fileBytes = start.files.map(({ bytes }) => bytes);
    const { repeats } = start;
    this.#repeats = repeats && new RepeatFinder(repeats.memory, repeats.lane, fileBytes, this.#reader);
    this.#windowChunks = start.indexKey ? describedWindowChunks : windowChunks;
  }

  /** Connects and works until it fails, which the main thread is told, or is dropped. Never rejects. */
  async run(): Promise<void> {
    try {
      await this.#connect();
      await this.#loop();
    } catch (thrown) {
      if (!this.#dropping.signal.aborted) this.#post({ kind: "failed", error: toPlainError(thrown) });
    } finally {
      this.#link?.close();
      this.#reader.close();
    }
  }

  /** Connects, and again until the main thread lets the lane begin where it landed. */
  async #connect(): Promise<void> {
    for (let tries = 1; ; tries++) {
      let isOver = false;
      const handler: LaneHandler = {
        frame: (name, payload) => this.#frame(name, payload),
        failed: (error) => isOver || this.#fail(error),
        waits: () => this.#underway.size > 0,
        moved: () => this.#post({ kind: "moving" }),
      };
      const link = await LaneLink.open(this.#start, handler, this.#dropping.signal);
      this.#link = link;
      const answer = Promise.withResolvers<"begin" | "redial">();
      this.#answer = answer.resolve;
      this.#post({ kind: "up", landing: link.landing, tries });
      if ((await answer.promise) === "begin") return;
      isOver = true;
      link.close();
    }
  }

  /** The main thread's answer to "up". */
  go(how: "begin" | "redial"): void {
    this.#answer?.(how);
  }

  /** There may be something in the queue. */
  look(): void {
    this.#wake?.();
  }

  /** Ends it at once: when this returns, nothing is read any more. */
  drop(): void {
    this.#reader.close();
    this.#dropping.abort();
    this.#fail(new MigrateError("cancelled", "the lane was given up", { side: "source" }));
    this.#answer?.("begin");
  }

  #fail(error: MigrateError): void {
    this.#failure ??= error;
    this.#wake?.();
    // Whoever waits for the socket to take a frame waits no more.
    this.#link?.close();
  }

  #frame(name: FrameName, payload: Buffer): void {
    if (name === "ack") this.#acknowledged(payload);
    else if (name === "want") this.#wants(payload);
    else throw new MigrateError("protocol", `a ${name} frame is not expected on a lane`);
    this.#wake?.();
  }

  #acknowledged(payload: Buffer): void {
    for (const place of parseAck(payload)) {
      const chunk = this.#underway.acknowledge(place);
      this.#repeats?.confirmed(chunk);
      this.#confirmed.push(chunk);
      this.#foundBytes += foundBytes(chunk);
      this.#repeatedBytes += chunk.repeatedBytes;
      if (chunk.state === "described") this.#choices[chunk.file]!.answered(true);
      else this.#compressor.acknowledged(chunk.wireBytes);
    }
    this.#report();
  }

  #wants(payload: Buffer): void {
    for (const want of parseWant(payload)) {
      const chunk = this.#underway.want(want);
      // It came over the link, for nothing.
      if (chunk.isAgain) this.#compressor.acknowledged(chunk.wireBytes);
      else this.#choices[chunk.file]!.answered(want.found !== 0);
      this.#repeats?.gone(chunk);
      this.#wanted.push(chunk);
    }
  }

  async #loop(): Promise<void> {
    for (;;) {
      // First, since what comes meanwhile wakes nobody: whether another chunk may follow is judged once it could.
      await this.#wait(() => this.#sending[this.#turn % this.#buffers.length], true);
      if (this.#failure) throw this.#failure;
      const wanted = this.#wanted.shift();
      if (wanted !== undefined) {
        await this.#sendWanted(wanted);
        continue;
      }
      const isFull = this.#underway.size >= this.#windowChunks || this.#isLate;
      const next = isFull ? null : this.#queue.take();
      if (next !== null) await this.#take(next);
      else {
        // A full window shows how fast the link is only if it is full of chunks, and not of looks into the store.
        await this.#wait(() => this.#sleep(), isFull && this.#underway.sent >= this.#windowChunks / 2);
      }
    }
  }

  get #isLate(): boolean {
    const sentAtMs = this.#underway.oldestSentAtMs;
    return sentAtMs !== undefined && performance.now() - sentAtMs > this.#start.silenceMs * calmPart;
  }

  /** Waits for work, an answer, a failure or the end. */
  #sleep(): Promise<void> {
    this.#report();
    return new Promise((resolve) => {
      this.#wake = () => {
        this.#wake = undefined;
        resolve();
      };
    });
  }

  /** Waits, and tells the compressor how long and whether it was for the other side. */
  async #wait(wait: () => Promise<void> | undefined, isTheirs: boolean): Promise<void> {
    const waiting = wait();
    if (waiting === undefined) return;
    const begunMs = performance.now();
    await waiting;
    const ms = performance.now() - begunMs;
    if (isTheirs) this.#compressor.waited(ms);
    else this.#compressor.rested(ms);
  }

  async #take({ file, chunk, have }: QueuedChunk): Promise<void> {
    const { buffer, slot } = await this.#freeBuffer();
    const bytes = this.#reader.read(file, chunk, buffer);
    // Before it is packed: a block is what lies in the file, its zeros included.
    const choice = this.#choices[file]!;
    const hashes = choice.isDue ? this.#hasher?.hashes(buffer.dataRoom(bytes)) : undefined;
    // What the store has crosses no link, so nothing is known of it meanwhile; RAM to come may repeat it.
    const isWorthIt = this.#compressor.isLinkSlow || (hashes !== undefined && this.#choices.length > 1);
    this.#repeats?.look(buffer.dataRoom(bytes), isWorthIt);
    const packed = buffer.pack(bytes);
    const { body, pagesAt } = packed;
    const tag = this.#tagger.tag(file, chunk, body);
    if (isWorthIt) this.#repeats?.remember(file, chunk);
    else if (this.#compressor.mayLinkBeSlow) this.#repeats?.rememberLater(file, chunk);
    if (tag.equals(have)) {
      this.#repeats?.confirmed({ file, chunk, repeatedBytes: 0 });
      this.#confirmed.push({ file, chunk, tag });
      return;
    }
    const dataBytes = body.length - pagesAt;
    const underway = newChunk({ file, chunk }, tag, bytes, dataBytes);
    const isAsked = choice.next(dataBytes);
    if (hashes === undefined || !isAsked) {
      this.#underway.send(underway);
      await this.#send(underway, buffer, slot, packed);
      return;
    }
    this.#underway.describe(underway);
    this.#link!.socket.send(encodeDescribe(file, chunk, tag, hashes))?.catch(() => {});
  }

  /** The chunk is read again: keeping all that were described would take more memory than it saves time. */
  async #sendWanted(chunk: ChunkUnderway): Promise<void> {
    const { buffer, slot } = await this.#freeBuffer();
    const bytes = this.#reader.read(chunk.file, chunk.chunk, buffer);
    // Before blocks are cleared: a stream is recognised by what stands before a page.
    this.#repeats?.look(buffer.dataRoom(bytes), !chunk.isAgain && this.#compressor.isLinkSlow);
    buffer.clear(chunk.found, bytes);
    const packed = buffer.pack(bytes);
    if (chunk.found === 0 && !this.#tagger.tag(chunk.file, chunk.chunk, packed.body).equals(chunk.tag)) {
      throw this.#reader.changed(chunk.file, "was written to");
    }
    this.#underway.send(chunk);
    await this.#send(chunk, buffer, slot, packed);
  }

  async #freeBuffer(): Promise<{ buffer: ChunkBuffer; slot: number }> {
    const slot = this.#turn++ % this.#buffers.length;
    await this.#wait(() => this.#sending[slot], true);
    this.#sending[slot] = undefined;
    return { buffer: this.#buffers[slot]!, slot };
  }

  async #send(chunk: ChunkUnderway, buffer: ChunkBuffer, slot: number, packed: Packed): Promise<void> {
    const repeats = (this.#compressor.isLinkSlow && this.#repeats?.find(packed)) || [];
    chunk.repeatedBytes = repeats.reduce((sum, { bytes }) => sum + bytes, 0);
    this.#repeats?.sent(chunk.file, chunk.chunk);
    const content = repeats.length === 0 ? packed.body : buffer.shorten(repeats);
    const compressed = this.#compressor.compress(content, packed.body.length);
    if (compressed !== null) buffer.compressed(compressed);
    const frame = buffer.frame(chunk.file, chunk.chunk, chunk.tag, chunk.found);
    chunk.wireBytes = frame.length;
    this.#sentChunks++;
    // Frames are garbage that the collector knows little of: a large VM would take 50 MiB more. Asking takes 0.1 ms.
    if (++this.#frames % collectedFrames === 0) Bun.gc(false);
    const { socket } = this.#link!;
    const { isLimited } = this.#pacer;
    const sent = isLimited ? socket.sendPaced(frame, this.#pacer) : socket.send(frame);
    // A failure to send ends the lane by way of `failed`, which knows the reason.
    this.#sending[slot] = sent?.catch(() => {});
    if (isLimited) await this.#wait(() => this.#sending[slot], true);
  }

  #report(): void {
    const confirmed = this.#confirmed;
    if (confirmed.length === 0) return;
    this.#confirmed = [];
    const places = new Uint32Array(confirmed.length * 2);
    const tags = new Uint8Array(confirmed.length * limits.tagBytes);
    confirmed.forEach(({ file, chunk, tag }, i) => {
      places.set([file, chunk], i * 2);
      tags.set(tag, i * limits.tagBytes);
    });
    this.#post({
      kind: "confirmed",
      places,
      tags,
      sentChunks: this.#sentChunks,
      foundBytes: this.#foundBytes,
      repeatedBytes: this.#repeatedBytes,
      bytesSent: this.#link!.socket.bytesSent,
    });
    this.#sentChunks = this.#foundBytes = this.#repeatedBytes = 0;
  }
}
