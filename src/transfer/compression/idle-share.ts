/** How much of the machine's processors nobody uses (proc_stat(5), the line "cpu"). */
import { closeSync, openSync, readSync } from "node:fs";

/** Two readings that are closer together differ by too few ticks of 10 ms to say anything. */
const leastMs = 50;
/** Readings that are further apart speak of another time. */
const mostMs = 2_000;

export class IdleShare {
  readonly #path: string;
  readonly #room = Buffer.alloc(256);
  #last: { atMs: number; idle: number; all: number } | undefined;

  constructor(path = "/proc/stat") {
    this.#path = path;
  }

  /**
   * The part of processor time, 0 to 1, that was idle since this was asked before; null at first, too
   * soon after, and too long after. 1 if it cannot be read: then it is no reason against anything.
   */
  since(nowMs: number): number | null {
    if (this.#last && nowMs - this.#last.atMs < leastMs) return null;
    const last = this.#last;
    const now = this.#read();
    if (now === undefined) return 1;
    this.#last = { ...now, atMs: nowMs };
    if (last === undefined || nowMs - last.atMs > mostMs || now.all <= last.all) return null;
    return (now.idle - last.idle) / (now.all - last.all);
  }

  /** Ticks in idle and iowait, and in all states. */
  #read(): { idle: number; all: number } | undefined {
    try {
      const fd = openSync(this.#path, "r");
      try {
        const text = this.#room.toString("latin1", 0, readSync(fd, this.#room, 0, this.#room.length, 0));
        const ticks = /^cpu +([\d ]+)/.exec(text)?.[1]?.trim().split(" ").map(Number);
        if (ticks === undefined || ticks.length < 5) return undefined;
        // user nice system idle iowait irq softirq steal; guest time is part of user time.
        return { idle: ticks[3]! + ticks[4]!, all: ticks.slice(0, 8).reduce((sum, one) => sum + one, 0) };
      } finally {
        closeSync(fd);
      }
    } catch {
      return undefined;
    }
  }
}
