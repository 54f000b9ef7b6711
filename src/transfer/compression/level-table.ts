/**
 * What compressing costs and gives at the levels that "auto" chooses from: a picture of the data that
 * is passing, and of how the levels differ. Pure: it is told everything.
 *
 * Data differs far more than levels do. A stretch of a guest's RAM shrinks to half and text to an
 * eighth, but on all of them level 6 gives about a seventh more than level 1 and takes four times as
 * long. So what one level did to the last chunks says what every other level would do: the data is
 * two figures in terms of level 1, and each level is a factor to each of them. The factors begin with
 * what was measured on kernel modules, programs, text and a Linux guest's RAM (zstd 1.5, pieces of
 * 1 MiB), and are corrected wherever two levels meet neighbouring chunks.
 */

/** 13 gives no more than 9 and takes three times as long; 18 gives what 19 does. */
export const levels = [1, 3, 6, 9, 16, 18] as const;
export type Level = (typeof levels)[number];

interface Factors {
  /** To the size that level 1 leaves, and to the time it takes. */
  size: number;
  time: number;
  /** How often they were corrected. */
  seen: number;
}

/** Weight of the newest MiB in the picture of the data: three chunks of another kind turn it. */
const dataWeight = 0.5;
/** Least weight of a new correction of a factor. */
const factorWeight = 0.2;
/** A chunk during which the thread was held up says nothing of what compressing costs. */
const mostJump = 4;

export class LevelTable {
  readonly #factors = new Map<Level, Factors>([
    [1, { size: 1, time: 1, seen: 0 }],
    [3, { size: 0.94, time: 1.6, seen: 0 }],
    [6, { size: 0.87, time: 4.4, seen: 0 }],
    [9, { size: 0.855, time: 7, seen: 0 }],
    [16, { size: 0.82, time: 62, seen: 0 }],
    [18, { size: 0.77, time: 105, seen: 0 }],
  ]);
  /** The part that level 1 leaves of the data that is passing. */
  #part = 0.35;
  /** Milliseconds that level 1 takes for 1 MiB of it. */
  #msPerMiB = 2;
  #last: Level | undefined;

  /** The part of the data, 0 to 1, that this level would leave. */
  part(level: Level): number {
    return this.#part * this.#factors.get(level)!.size;
  }

  /** Milliseconds that this level would take for 1 MiB of the data. */
  msPerMiB(level: Level): number {
    return this.#msPerMiB * this.#factors.get(level)!.time;
  }

  /** How often this level's place among the others was corrected by what it did. */
  seen(level: Level): number {
    return this.#factors.get(level)!.seen;
  }

  /** A small sample at level 1 left this part and took so long for each MiB. */
  sampled(part: number, msPerMiB: number): void {
    this.#part += dataWeight * (part - this.#part);
    this.#msPerMiB = this.#blend(this.#msPerMiB, msPerMiB);
    this.#last = undefined;
  }

  /** So much was compressed at this level: the part it left, and milliseconds for each MiB. */
  compressed(level: Level, part: number, msPerMiB: number, mebibytes = 1): void {
    // In four pieces a MiB weighs as much as in one: during a small one the thread is soon held up.
    const weightOfData = 1 - (1 - dataWeight) ** mebibytes;
    const factors = this.#factors.get(level)!;
    if (level !== 1 && this.#last !== undefined && this.#last !== level) {
      const weight = Math.max(factorWeight, 1 / (factors.seen + 2));
      factors.size += weight * (part / this.#part - factors.size);
      factors.time += weight * (Math.min(msPerMiB / this.#msPerMiB, factors.time * mostJump) - factors.time);
      factors.seen++;
    } else {
      this.#part += weightOfData * (part / factors.size - this.#part);
      this.#msPerMiB = this.#blend(this.#msPerMiB, msPerMiB / factors.time, weightOfData);
      if (level === 1) factors.seen++;
    }
    this.#last = level;
  }

  #blend(old: number, now: number, weight = dataWeight): number {
    return old + weight * (Math.min(now, old * mostJump) - old);
  }
}
