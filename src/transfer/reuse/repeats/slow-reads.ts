/**
 * Tells whether what a chunk repeats lies in the page cache, where a page takes 2 µs, or is read from a disk
 * again, and then sending it is quicker. Reads are counted that took long, and not their time summed: on a
 * busy host a thread is interrupted now and then, and a disk is slow each time.
 */

/** No page from memory takes so long, and hardly one from a disk less. */
const slowMs = 0.05;
/** So many in one chunk are a disk. */
const mostSlow = 8;

export class SlowReads {
  #slow = 0;

  /** Another chunk begins. */
  begin(): void {
    this.#slow = 0;
  }

  /** True once this chunk is read from a disk. */
  get areTooMany(): boolean {
    return this.#slow >= mostSlow;
  }

  /** Runs a read of a page or more, counts it if it was slow, and returns its answer. */
  read(read: () => boolean): boolean {
    const begunMs = performance.now();
    const isRead = read();
    if (performance.now() - begunMs > slowMs) this.#slow++;
    return isRead;
  }
}
