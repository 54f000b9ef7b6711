/**
 * Whether the next chunk of a lane is described to the destination before it is sent. Describing costs
 * both sides a little, and if nothing is ever found that little is wasted: then one chunk of several is
 * described, until something is found again. Pure.
 */

/** Chunks in a row of which the destination had nothing, after which most are sent unasked. */
const barrenChunks = 32;
/** One of so many is described then. */
const sampledChunks = 8;
/** A chunk with less data than this is sent about as cheaply as it is described. */
const worthBytes = 16 * 1024;

export class DescriptionChoice {
  #barren = 0;
  #unasked = 0;

  /** True if the next chunk may be described: else its block hashes are not needed. */
  get isDue(): boolean {
    return this.#barren < barrenChunks || (this.#unasked + 1) % sampledChunks === 0;
  }

  /** True if a chunk with `dataBytes` of data is to be described. */
  next(dataBytes: number): boolean {
    if (dataBytes < worthBytes) return false;
    if (this.#barren < barrenChunks) return true;
    this.#unasked = (this.#unasked + 1) % sampledChunks;
    return this.#unasked === 0;
  }

  /** What came of a description: whether any block was there. */
  answered(found: boolean): void {
    this.#barren = found ? 0 : this.#barren + 1;
  }
}
