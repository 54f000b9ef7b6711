/** A socket whose bytes go out in its own time: Bun's takes what there is room for, and says later that there is more. */
import type { Socket } from "bun";

export class SlowSocket {
  readonly #socket: Socket<unknown>;
  #waiting: Uint8Array[] = [];
  /** Bytes that nobody has taken yet. */
  waitingBytes = 0;

  constructor(socket: Socket<unknown>) {
    this.#socket = socket;
  }

  /** Takes the bytes over. */
  send(bytes: Uint8Array): void {
    this.#waiting.push(bytes);
    this.waitingBytes += bytes.length;
    this.flush();
  }

  /** To be called when there is room again. */
  flush(): void {
    for (let next = this.#waiting[0]; next !== undefined; next = this.#waiting[0]) {
      const taken = this.#socket.write(next);
      // Negative once it is closed; `close` is called for that.
      if (taken <= 0) return;
      this.waitingBytes -= taken;
      if (taken < next.length) {
        this.#waiting[0] = next.subarray(taken);
        return;
      }
      this.#waiting.shift();
    }
  }

  end(): void {
    this.#socket.end();
  }

  pause(): void {
    this.#socket.pause();
  }

  resume(): void {
    this.#socket.resume();
  }
}
