/** Whether the mirror of a disk gets done, or the guest writes faster than it is copied. Reads no clock. */
import type { MirrorProgress } from "./disk-mirror.ts";

/** For so long what is left must not have become less, in milliseconds, though something was copied. */
const hopelessMs = 10_000;

export class MirrorPace {
  #since: (MirrorProgress & { atMs: number }) | undefined;

  /** Looks at the progress; `nowMs` is monotonic. Returns true if the mirror does not get done by itself. */
  isHopeless(now: MirrorProgress, nowMs: number): boolean {
    // It is 0 of 0 until QEMU has looked at the disk.
    if (now.bytes === 0) return false;
    const before = this.#since;
    const leftBytes = now.bytes - now.doneBytes;
    if (before === undefined || leftBytes < before.bytes - before.doneBytes) {
      this.#since = { ...now, atMs: nowMs };
      return false;
    }
    // A link that carries nothing is no guest that is too fast.
    return nowMs - before.atMs >= hopelessMs && now.doneBytes > before.doneBytes;
  }
}
