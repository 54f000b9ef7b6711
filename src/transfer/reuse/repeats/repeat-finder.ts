/**
 * Finds, in a chunk that a lane is about to send, the pages that the destination has received already.
 * Whatever is found has been compared byte for byte with the source's own file; what the destination makes
 * of it is checked by the chunk's tag.
 */
import { limits, pagesPerChunk } from "../../../protocol/limits.ts";
import type { Packed } from "../../chunks/chunk.ts";
import type { ChunkReader } from "../../chunks/chunk-reader.ts";
import type { Repeat } from "../../chunks/shortened-body.ts";
import { KnownPages } from "./known-pages.ts";
import { findPages } from "./page-grid.ts";
import { SlowReads } from "./slow-reads.ts";

const { pageBytes } = limits;

/** After so many chunks in a row whose repeats had to be read from a disk, the next `pauseChunks` are not looked at. */
const mostSlow = 8;
const pauseChunks = 128;
/** Chunks that are looked at later, at most. */
const mostLater = 64;
/** Once the destination could not put so many chunks in a row together, this lane sends everything itself. */
const mostVain = 8;

/** A chunk, and how much of it was not sent, since it repeats something. */
interface Sent {
  file: number;
  chunk: number;
  repeatedBytes: number;
}

/** Quick and no more: equal hashes are a reason to look. */
const hashOf = (page: Buffer): number => Bun.hash.crc32(page);
const zeroHash = hashOf(Buffer.alloc(pageBytes));

export class RepeatFinder {
  readonly #known: KnownPages;
  readonly #fileBytes: readonly number[];
  readonly #reader: ChunkReader;
  readonly #reads = new SlowReads();
  readonly #places = new Int32Array(pagesPerChunk);
  readonly #hashes = new Uint32Array(pagesPerChunk);
  readonly #page = Buffer.allocUnsafeSlow(pageBytes);
  #count = 0;
  #slow = 0;
  #pause = 0;
  /** Chunks in a row that the destination could not put together. */
  #vain = 0;
  #later: { file: number; chunk: number }[] = [];

  /** `memory` is KnownPages.memory for these sizes, `lane` counts from 0. */
  constructor(memory: SharedArrayBuffer, lane: number, fileBytes: readonly number[], reader: ChunkReader) {
    this.#known = new KnownPages(memory, lane, fileBytes);
    this.#fileBytes = fileBytes;
    this.#reader = reader;
  }

  /**
   * Looks through the plain bytes of a chunk before they are packed, if that is worth it. `remember` and
   * `find` are about this chunk until the next call.
   */
  look(data: Buffer, isWorthIt: boolean): void {
    this.#count = 0;
    if (this.#pause > 0) this.#pause--;
    else if (isWorthIt && this.#vain < mostVain) {
      this.#lookAtLater();
      this.#look(data);
    }
  }

  #look(data: Buffer): void {
    this.#count = findPages(data, this.#places);
    for (let i = 0; i < this.#count; i++) {
      const at = this.#places[i]!;
      // Copied, since a view of its own for each page is more work for the collector than the hash is.
      data.copy(this.#page, 0, at, at + pageBytes);
      this.#hashes[i] = hashOf(this.#page);
    }
  }

  /** Notes that the pages which were looked at lie in this chunk. */
  remember(file: number, chunk: number): void {
    for (let i = 0; i < this.#count; i++) {
      const hash = this.#hashes[i]!;
      if (hash !== zeroHash) this.#known.add(hash, file, chunk, this.#places[i]!);
    }
  }

  /** Notes a chunk that is sent before it is known whether looking is worth it; if it turns out to be, it is read again. */
  rememberLater(file: number, chunk: number): void {
    if (this.#later.length < mostLater) this.#later.push({ file, chunk });
  }

  /** One with each chunk that is sent, so that none waits for all of them. */
  #lookAtLater(): void {
    const next = this.#later.shift();
    if (next === undefined) return;
    const { file, chunk } = next;
    const from = chunk * limits.chunkBytes;
    const data = Buffer.allocUnsafeSlow(Math.min(limits.chunkBytes, this.#fileBytes[file]! - from));
    if (!this.#reader.readAt(file, from, data)) return;
    this.#look(data);
    this.remember(file, chunk);
  }

  /** What of the chunk that was looked at, packed now, need not be sent: ascending, neighbours joined into one. */
  find({ body, runs, pagesAt }: Packed): Repeat[] {
    const repeats: Repeat[] = [];
    let last: Repeat | undefined;
    let run = 0;
    let runAt = pagesAt;
    this.#reads.begin();
    for (let i = 0; i < this.#count; i++) {
      const place = this.#places[i]!;
      while (run < runs.length && (runs[run]!.firstPage + runs[run]!.pages) * pageBytes <= place) {
        runAt += runs[run++]!.pages * pageBytes;
      }
      if (run === runs.length) break;
      if (this.#reads.areTooMany) {
        this.#tooSlow();
        return repeats;
      }
      const { firstPage, pages } = runs[run]!;
      const begin = firstPage * pageBytes;
      if (place < begin || place + pageBytes > begin + pages * pageBytes) continue;
      const at = runAt + place - begin;
      const wanted = last && last.at + last.bytes === at ? last : undefined;
      const match = this.#match(this.#hashes[i]!, body, at, wanted);
      if (match === -1) continue;
      const file = this.#known.files[match]!;
      const from = this.#known.places[match]!;
      if (wanted !== undefined && continues(wanted, file, from)) wanted.bytes += pageBytes;
      else repeats.push((last = { at, bytes: pageBytes, file, from }));
    }
    this.#slow = 0;
    return repeats;
  }

  #tooSlow(): void {
    if (++this.#slow < mostSlow) return;
    this.#slow = 0;
    this.#pause = pauseChunks;
  }

  /**
   * The index of the known page that equals the one at this place of a body: the one that continues `before` if
   * that is among them, else any; -1 if there is none.
   */
  #match(hash: number, body: Buffer, at: number, before: Repeat | undefined): number {
    const { files, places } = this.#known;
    const found = this.#known.find(hash);
    const same = (i: number): boolean =>
      this.#reads.read(() => this.#reader.readAt(files[i]!, places[i]!, this.#page)) &&
      body.compare(this.#page, 0, pageBytes, at, at + pageBytes) === 0;
    let next = -1;
    for (let i = 0; i < found && before !== undefined; i++)
      if (continues(before, files[i]!, places[i]!)) next = i;
    if (next !== -1 && same(next)) return next;
    for (let i = 0; i < found; i++) if (i !== next && same(i)) return i;
    return -1;
  }

  sent(file: number, chunk: number): void {
    this.#known.sent(file, chunk);
  }

  /** The destination has confirmed a chunk. */
  confirmed({ file, chunk, repeatedBytes }: Sent): void {
    if (repeatedBytes > 0) this.#vain = 0;
    this.#known.confirmed(file, chunk);
  }

  /** The destination wants a chunk. If it had been sent already, it could not be put together there. */
  gone({ file, chunk, repeatedBytes }: Sent): void {
    if (repeatedBytes > 0) this.#vain++;
    this.#known.gone(file, chunk);
  }
}

function continues(repeat: Repeat, file: number, from: number): boolean {
  return file === repeat.file && from === repeat.from + repeat.bytes;
}
