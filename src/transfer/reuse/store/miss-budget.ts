/**
 * How many blocks one source may describe that this host does not have, and then not send: a source that knows
 * all of a block but a few digits could find out the rest by describing every possibility. A description that
 * is followed by the very bytes is no guess, and costs nothing. Shared by all threads that serve the source.
 */

/** Blocks that a source may guess in vain: as many as 32 lanes may have described at once. */
export const missBudget = 32_768;
/** So many come back with every call of `refill`. */
const refillBlocks = 16;
/** Of one who described what he did not have, all are gone for good. */
const forfeited = -(2 ** 30);

/** The memory of a new budget, for the lanes of one source. */
export function newMissBudget(): SharedArrayBuffer {
  const memory = new SharedArrayBuffer(4);
  new Int32Array(memory)[0] = missBudget;
  return memory;
}

export class MissBudget {
  readonly #left: Int32Array;

  constructor(memory: SharedArrayBuffer) {
    this.#left = new Int32Array(memory);
  }

  /** Blocks that may be guessed in vain now. */
  get left(): number {
    return Math.max(0, Atomics.load(this.#left, 0));
  }

  /** Takes as many as may miss; false if there are not so many, and then nothing may be looked up. */
  take(blocks: number): boolean {
    if (Atomics.sub(this.#left, 0, blocks) >= blocks) return true;
    Atomics.add(this.#left, 0, blocks);
    return false;
  }

  /** They were found, or what was described has come. */
  giveBack(blocks: number): void {
    Atomics.add(this.#left, 0, blocks);
  }

  /** The source described blocks that are not those it sent. */
  forfeit(): void {
    Atomics.store(this.#left, 0, forfeited);
  }

  /** A source that was cut off in the middle has missed some by no fault of its own. To be called each minute. */
  refill(): void {
    const left = Atomics.load(this.#left, 0);
    if (left < 0 || left >= missBudget) return;
    Atomics.add(this.#left, 0, Math.min(refillBlocks, missBudget - left));
  }
}
