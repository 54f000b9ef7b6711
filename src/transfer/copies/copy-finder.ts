/**
 * Finds, in a chunk that a lane is about to send, the pages that the destination has received already.
 * Whatever is found has been compared byte for byte with the source's own file; what the destination makes
 * of it is checked by the chunk's tag.
 */
import { limits } from "../../protocol/limits.ts";
import type { Packed } from "../chunk.ts";
import type { ChunkReader } from "../chunk-reader.ts";
import type { Copy } from "./copies.ts";
import { type KnownPage, KnownPages } from "./known-pages.ts";
import { findPages, mostPages } from "./page-grid.ts";

const { pageBytes } = limits;

/** Quick and no more: equal hashes are a reason to look. */
const hashOf = (page: Buffer): number => Bun.hash.crc32(page);
const zeroHash = hashOf(Buffer.alloc(pageBytes));

export class CopyFinder {
  readonly #known: KnownPages;
  readonly #reader: ChunkReader;
  readonly #places = new Int32Array(mostPages);
  readonly #hashes = new Uint32Array(mostPages);
  readonly #page = Buffer.allocUnsafeSlow(pageBytes);
  #count = 0;

  /** `memory` is KnownPages.memory for these sizes, `lane` counts from 0. */
  constructor(memory: SharedArrayBuffer, lane: number, fileBytes: readonly number[], reader: ChunkReader) {
    this.#known = new KnownPages(memory, lane, fileBytes);
    this.#reader = reader;
  }

  /** Looks through the plain bytes of a chunk, before they are packed; what follows is about these. */
  look(data: Buffer): void {
    this.#count = findPages(data, this.#places);
    for (let i = 0; i < this.#count; i++) {
      const at = this.#places[i]!;
      this.#hashes[i] = hashOf(data.subarray(at, at + pageBytes));
    }
  }

  /** Nothing is looked at this time. */
  lookAway(): void {
    this.#count = 0;
  }

  /** Keeps in mind where the pages lie that were looked at: in this chunk. */
  remember(file: number, chunk: number): void {
    for (let i = 0; i < this.#count; i++) {
      const hash = this.#hashes[i]!;
      if (hash !== zeroHash) this.#known.add(hash, file, chunk, this.#places[i]!);
    }
  }

  /** What of the chunk that was looked at, packed now, need not be sent: ascending, and joined where it goes on. */
  find({ body, runs, pagesAt }: Packed): Copy[] {
    const copies: Copy[] = [];
    let last: Copy | undefined;
    let run = 0;
    let runAt = pagesAt;
    for (let i = 0; i < this.#count; i++) {
      const place = this.#places[i]!;
      while (run < runs.length && (runs[run]!.firstPage + runs[run]!.pages) * pageBytes <= place) {
        runAt += runs[run++]!.pages * pageBytes;
      }
      if (run === runs.length) break;
      const { firstPage, pages } = runs[run]!;
      const begin = firstPage * pageBytes;
      if (place < begin || place + pageBytes > begin + pages * pageBytes) continue;
      const at = runAt + place - begin;
      const wanted = last && last.at + last.bytes === at ? last : undefined;
      const page = this.#match(this.#hashes[i]!, body.subarray(at, at + pageBytes), wanted);
      if (page === undefined) continue;
      if (wanted !== undefined && goesOn(wanted, page)) wanted.bytes += pageBytes;
      else copies.push((last = { at, bytes: pageBytes, ...page }));
    }
    return copies;
  }

  /** A page like this one; where there are several, that which goes on where the copy before ends. */
  #match(hash: number, page: Buffer, before: Copy | undefined): KnownPage | undefined {
    const known = this.#known.find(hash);
    if (before !== undefined && known.length > 1) {
      known.sort((a, b) => Number(goesOn(before, b)) - Number(goesOn(before, a)));
    }
    return known.find(
      ({ file, from }) => this.#reader.readAt(file, from, this.#page) && this.#page.equals(page),
    );
  }

  sent(file: number, chunk: number): void {
    this.#known.sent(file, chunk);
  }

  right(file: number, chunk: number): void {
    this.#known.right(file, chunk);
  }

  gone(file: number, chunk: number): void {
    this.#known.gone(file, chunk);
  }
}

function goesOn(copy: Copy, { file, from }: KnownPage): boolean {
  return file === copy.file && from === copy.from + copy.bytes;
}
