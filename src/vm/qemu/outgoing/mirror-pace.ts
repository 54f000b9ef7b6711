/** Whether the mirror of a disk gets done, or the guest writes faster than it is copied. Reads no clock. */
import type { MirrorProgress } from "./disk-mirror.ts";

/** For so long at least what is left must not have become less, in milliseconds, though it is copied all the time. */
const hopelessMs = 10_000;
/** And for so much of the time that it has taken so far: what was copied in hours is not thrown away for a burst. */
const hopelessPart = 1 / 4;
/** A mirror of which nothing was copied for so long was held up by something else than the guest. */
const heldUpMs = 5000;

export class MirrorPace {
  #since: (MirrorProgress & { atMs: number }) | undefined;
  #begunAtMs: number | undefined;
  #grown = { doneBytes: 0, atMs: 0 };

  /** Looks at the progress; `nowMs` is monotonic. Returns true if the mirror does not get done by itself. */
  isHopeless(now: MirrorProgress, nowMs: number): boolean {
    // It is 0 of 0 until QEMU has looked at the disk.
    if (now.bytes === 0) return false;
    this.#begunAtMs ??= nowMs;
    const hasGrown = now.doneBytes > this.#grown.doneBytes;
    const wasHeldUp = nowMs - this.#grown.atMs > heldUpMs;
    if (hasGrown) this.#grown = { doneBytes: now.doneBytes, atMs: nowMs };
    const before = this.#since;
    const leftBytes = now.bytes - now.doneBytes;
    if (before === undefined || leftBytes < before.bytes - before.doneBytes || (hasGrown && wasHeldUp)) {
      this.#since = { ...now, atMs: nowMs };
      return false;
    }
    const patienceMs = Math.max(hopelessMs, (nowMs - this.#begunAtMs) * hopelessPart);
    return hasGrown && nowMs - before.atMs >= patienceMs;
  }
}
