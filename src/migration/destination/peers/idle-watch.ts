/** Ends a serve that is there for one move: when nobody calls any more, and soon after the VM has arrived. */
import type { FromDoor } from "../../../transfer/doors/door-messages.ts";

const lookMs = 250;

export class IdleWatch {
  readonly #idleMs: number;
  readonly #idle: () => void;
  readonly #links = new Set<string>();
  #timer: Timer | undefined;
  #busyAtMs = performance.now();
  #hasArrived = false;

  /** `idle` is called once, when no source has been connected for `idleMs`. */
  constructor(idleMs: number, idle: () => void) {
    this.#idleMs = idleMs;
    this.#idle = idle;
  }

  /** Takes every message of a door: control connections come and go. */
  hear(door: number, message: FromDoor): void {
    if (message.kind === "control") this.#links.add(`${door}:${message.conn}`);
    else if (message.kind === "closed") this.#links.delete(`${door}:${message.conn}`);
  }

  /** Counts from now on. */
  start(): void {
    this.#busyAtMs = performance.now();
    this.#timer = setInterval(() => this.#look(), Math.min(lookMs, this.#idleMs));
  }

  /** A VM is here, and its source knows: what is said last may still be on its way. */
  arrived(): void {
    this.#hasArrived = true;
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  #look(): void {
    const now = performance.now();
    if (this.#links.size > 0) this.#busyAtMs = now;
    else if (this.#hasArrived || now - this.#busyAtMs >= this.#idleMs) {
      this.stop();
      this.#idle();
    }
  }
}
