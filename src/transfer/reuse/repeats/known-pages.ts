/**
 * The pages of a VM that the destination has, in memory that all lanes of the source share: from the hash of a
 * page to where it lies.
 *
 *   entries  4 together: u32 number of its chunk among all chunks of the VM, from 1 on
 *            | u32 upper 12 bits of the hash, and 20 of its place in the chunk
 *   states   u8 for each chunk
 *
 * Its size is limited: of more pages than fit, some are forgotten. Lanes write without waiting for each other,
 * so an entry may be torn. Neither does harm: whatever is found here is compared with the page.
 */
import { chunkCount, limits } from "../../../protocol/limits.ts";

/** Entries for 8 GiB of pages that are all different: 16 MiB. */
const mostEntries = 2 ** 21;
const leastEntries = 2 ** 10;
const together = 4;
const entryWords = 2;
const placeMask = limits.chunkBytes - 1;
/** A chunk that the destination has confirmed, for every lane; lanes count from 1. */
const confirmed = 255;

export class KnownPages {
  readonly #lane: number;
  readonly #entries: Uint32Array;
  readonly #states: Uint8Array;
  readonly #mask: number;
  /** The number of each file's first chunk among all chunks. */
  readonly #firsts: number[];
  readonly #fileBytes: readonly number[];
  /** What `find` found: the files, and the places in bytes from their beginnings. */
  readonly files = new Uint32Array(together);
  readonly places = new Float64Array(together);

  /** `lane` is who asks, from 0 on; `fileBytes` are the sizes for which the memory was made. */
  constructor(memory: SharedArrayBuffer, lane: number, fileBytes: readonly number[]) {
    this.#lane = lane + 1;
    this.#fileBytes = fileBytes;
    const count = entriesFor(fileBytes);
    this.#entries = new Uint32Array(memory, 0, count * entryWords);
    this.#states = new Uint8Array(memory, count * entryWords * 4);
    this.#mask = count / together - 1;
    let chunks = 0;
    this.#firsts = fileBytes.map((bytes) => {
      chunks += chunkCount(bytes);
      return chunks - chunkCount(bytes);
    });
  }

  static memory(fileBytes: readonly number[]): SharedArrayBuffer {
    const chunks = fileBytes.reduce((sum, bytes) => sum + chunkCount(bytes), 0);
    return new SharedArrayBuffer(entriesFor(fileBytes) * entryWords * 4 + chunks);
  }

  /** Notes a page by its hash (u32), which lies at `place` of a chunk. A page of this hash that is known already stays. */
  add(hash: number, file: number, chunk: number, place: number): void {
    const first = this.#first(hash);
    const number = this.#firsts[file]! + chunk + 1;
    // Without room, chance decides which entry is forgotten.
    let at = first + (number % together) * entryWords;
    for (let each = first; each < first + together * entryWords; each += entryWords) {
      if (this.#entries[each] === 0) {
        at = each;
        break;
      }
      if (((this.#entries[each + 1]! ^ hash) & ~placeMask) === 0) return;
    }
    this.#entries[at] = number;
    this.#entries[at + 1] = (hash & ~placeMask) | place;
  }

  /**
   * Looks for pages of this hash that a chunk which this lane sends next may refer to, and returns how many there
   * are: their places stand in `files` and `places` until it is asked again. A chunk has many pages, so
   * nothing is allocated for one.
   */
  find(hash: number): number {
    const first = this.#first(hash);
    let found = 0;
    for (let at = first; at < first + together * entryWords; at += entryWords) {
      const number = this.#entries[at]!;
      const page = this.#entries[at + 1]!;
      if (number === 0 || ((page ^ hash) & ~placeMask) !== 0) continue;
      const state = Atomics.load(this.#states, number - 1);
      if (state !== confirmed && state !== this.#lane) continue;
      let file = this.#firsts.length - 1;
      while (this.#firsts[file]! >= number) file--;
      const chunk = number - 1 - this.#firsts[file]!;
      const from = chunk * limits.chunkBytes + (page & placeMask);
      // A torn entry may join one lane's chunk and another's place, which lies outside of a short chunk.
      if (from + limits.pageBytes > this.#fileBytes[file]!) continue;
      this.files[found] = file;
      this.places[found++] = from;
    }
    return found;
  }

  /** This lane sends a chunk now: what it sends later may refer to it, for it will be written in this order. */
  sent(file: number, chunk: number): void {
    this.#set(file, chunk, this.#lane);
  }

  /** The destination has confirmed a chunk. */
  confirmed(file: number, chunk: number): void {
    this.#set(file, chunk, confirmed);
  }

  /** A chunk is not there after all. */
  gone(file: number, chunk: number): void {
    this.#set(file, chunk, 0);
  }

  #set(file: number, chunk: number, state: number): void {
    Atomics.store(this.#states, this.#firsts[file]! + chunk, state);
  }

  #first(hash: number): number {
    // A CRC's lower bits are alike for pages that differ in little; a product's upper ones are not.
    return ((Math.imul(hash, 0x9e3779b1) >>> 8) & this.#mask) * together * entryWords;
  }
}

function entriesFor(fileBytes: readonly number[]): number {
  // Twice the pages: if there are as many entries as pages, a fifth finds no room among its four.
  const pages = (2 * fileBytes.reduce((sum, bytes) => sum + bytes, 0)) / limits.pageBytes;
  return Math.min(mostEntries, Math.max(leastEntries, 2 ** Math.ceil(Math.log2(Math.max(1, pages)))));
}
