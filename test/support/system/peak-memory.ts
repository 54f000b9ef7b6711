/** The most memory that a process has had at once (VmHWM of proc_pid_status(5)), watched while it lives. */
import { readFileSync } from "node:fs";

const everyMs = 20;

export class PeakMemory {
  #bytes = 0;
  readonly #pid: number;
  readonly #timer: Timer;

  constructor(pid: number) {
    this.#pid = pid;
    this.#timer = setInterval(() => this.look(), everyMs);
  }

  /** Takes the figure now; also goes on by itself until `stop`. */
  look(): void {
    try {
      const kib = /^VmHWM:\s*(\d+) kB/m.exec(readFileSync(`/proc/${this.#pid}/status`, "utf8"))?.[1];
      if (kib !== undefined) this.#bytes = Number(kib) * 1024;
    } catch {
      // It has ended; what was seen last stands.
    }
  }

  /** Stops looking and gives the peak in bytes. */
  stop(): number {
    clearInterval(this.#timer);
    this.look();
    return this.#bytes;
  }
}
