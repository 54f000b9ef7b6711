/**
 * Block hashes of one file that wait to be written into the index, gathered so that those which will lie
 * side by side there are written together.
 *
 * Block hashes are as good as random, so in a large index each row that is written alone changes a page
 * of its own. A quarter of a million of them in order share pages: an index of 1 TiB of data is then made
 * with a fraction of the writing. Takes 4 MiB.
 */
import { limits } from "../../../protocol/limits.ts";

const { blockHashBytes } = limits;

/** Most block hashes that are held; those of 16 GiB of data. */
export const mostPendingHashes = 262_144;

/** By so many leading bits they are put in order: about one bucket for each page of 1 TiB's index. */
const bucketBits = 16;

export class PendingHashes {
  readonly #hashes = Buffer.allocUnsafeSlow(mostPendingHashes * blockHashBytes);
  readonly #blocks = new Uint32Array(mostPendingHashes);
  #count = 0;

  /** So many more can be added. */
  get room(): number {
    return mostPendingHashes - this.#count;
  }

  /** Adds the hash at `at` of `hashes`, which is that of `block`. Throws RangeError if it is full. */
  add(hashes: Buffer, at: number, block: number): void {
    if (this.room === 0) throw new RangeError("no room for another block hash");
    hashes.copy(this.#hashes, this.#count * blockHashBytes, at, at + blockHashBytes);
    this.#blocks[this.#count++] = block;
  }

  clear(): void {
    this.#count = 0;
  }

  /**
   * Hands over all that was added, in the order of their leading bits, in pieces of at most `most`, and is
   * empty afterwards. A block hash is a view that is valid until something is added.
   */
  *take(most: number): Generator<{ hash: Buffer; block: number }[]> {
    const order = this.#order();
    this.#count = 0;
    for (let from = 0; from < order.length; from += most) {
      yield Array.from(order.subarray(from, from + most), (i) => ({
        hash: this.#hashes.subarray(i * blockHashBytes, (i + 1) * blockHashBytes),
        block: this.#blocks[i]!,
      }));
    }
  }

  /** Their numbers, bucket by bucket: a counting sort. */
  #order(): Uint32Array {
    const bucket = (i: number) => this.#hashes.readUInt32BE(i * blockHashBytes) >>> (32 - bucketBits);
    const starts = new Uint32Array(2 ** bucketBits + 1);
    for (let i = 0; i < this.#count; i++) starts[bucket(i) + 1]!++;
    for (let i = 1; i < starts.length; i++) starts[i]! += starts[i - 1]!;
    const order = new Uint32Array(this.#count);
    for (let i = 0; i < this.#count; i++) order[starts[bucket(i)]!++] = i;
    return order;
  }
}
