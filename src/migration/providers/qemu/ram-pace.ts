/**
 * How fast QEMU may send a VM's RAM if the bandwidth is limited. The streams keep to the limit on the link;
 * if they compress, QEMU may send more than that. Without a limit of its own, QEMU would fill every buffer
 * before the link, and at the end the guest would be stopped until these are empty. Pure.
 */

/** How many bytes must have been sent before a ratio is meaningful. */
const leastBytes = 256 * 1024;
/**
 * Weight of the newest ratio if it is higher than before: QEMU is slowed down at once, but sped up with care.
 */
const weight = 0.3;
const mostRatio = 4;
/** QEMU is told only of relative changes larger than this. */
const noticeable = 0.1;

export class RamPace {
  readonly #bandwidthBytesPerSec: number;
  #carriedBytes = 0;
  #sentBytes = 0;
  #ratio = 1;
  #toldRatio = 1;

  /**
   * Takes the limit of the link in bytes per second, which QEMU is assumed to have as its own limit at first.
   */
  constructor(bandwidthBytesPerSec: number) {
    this.#bandwidthBytesPerSec = bandwidthBytesPerSec;
  }

  /**
   * Takes how many bytes of the RAM the destination's QEMU has received so far, and how many crossed the link
   * for them. Returns QEMU's new limit in bytes per second, or null if the last one still holds.
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
