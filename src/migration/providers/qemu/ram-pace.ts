/**
 * How fast QEMU may say a VM's RAM where the bandwidth is limited: what crosses the link is kept to that by
 * the streams, and where they compress, QEMU may say more. Without a limit of its own QEMU would fill all that
 * waits for the link, and the guest would stand still for as long as that takes at the end. Pure.
 */

/** What must have been sent for a ratio to mean something. */
const leastBytes = 256 * 1024;
/** Weight of what was seen last, where it is more than before: QEMU is to be slowed down at once, and let go with care. */
const weight = 0.3;
const mostRatio = 4;
/** QEMU is told of a change of more than this. */
const noticeable = 0.1;

export class RamPace {
  readonly #bandwidthBytesPerSec: number;
  #carriedBytes = 0;
  #sentBytes = 0;
  #ratio = 1;
  #toldRatio = 1;

  /** Takes what may cross the link. QEMU is taken to have been told the same. */
  constructor(bandwidthBytesPerSec: number) {
    this.#bandwidthBytesPerSec = bandwidthBytesPerSec;
  }

  /**
   * So many bytes of the RAM have been handed on at the destination so far, and so many crossed the link.
   * Gives the bytes per second that QEMU is to be told now; null where what it was told holds.
   */
  look(carriedBytes: number, sentBytes: number): number | null {
    const sent = sentBytes - this.#sentBytes;
    if (sent < leastBytes) return null;
    const ratio = Math.max(1, Math.min(mostRatio, (carriedBytes - this.#carriedBytes) / sent));
    this.#carriedBytes = carriedBytes;
    this.#sentBytes = sentBytes;
    this.#ratio = ratio < this.#ratio ? ratio : this.#ratio + weight * (ratio - this.#ratio);
    if (Math.abs(this.#ratio / this.#toldRatio - 1) <= noticeable) return null;
    this.#toldRatio = this.#ratio;
    return Math.ceil(this.#bandwidthBytesPerSec * this.#ratio);
  }
}
