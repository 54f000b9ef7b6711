/** Watches the connection that carries a stream: sends PING when nothing else is sent, and ends it when nothing comes. */
import type { FrameSocket } from "../../channel/frame-socket.ts";
import { MigrateError } from "../../protocol/errors.ts";
import { deadlines } from "../../protocol/limits.ts";
import { encodeMessage } from "../../protocol/messages.ts";

/** In milliseconds. */
export interface StreamTiming {
  /** PING is sent after so long without another frame of ours. */
  pingMs: number;
  /** A peer that sends nothing for so long is gone. */
  silenceMs: number;
}

export const streamTiming: StreamTiming = { pingMs: deadlines.pingMs, silenceMs: deadlines.silenceMs };

export class StreamWatch {
  readonly #timing: StreamTiming;
  #timer: Timer | undefined;
  #sentBytes = 0;
  #sentAtMs = 0;

  constructor(timing: StreamTiming) {
    this.#timing = timing;
  }

  /** Watches this connection from now on, and no other; destroys it (MigrateError "network") once it is silent. */
  begin(link: FrameSocket): void {
    const { pingMs, silenceMs } = this.#timing;
    this.end();
    this.#sentBytes = link.bytesSent;
    this.#sentAtMs = performance.now();
    this.#timer = setInterval(() => this.#look(link), Math.min(pingMs, silenceMs) / 4);
  }

  /** Watches none. */
  end(): void {
    clearInterval(this.#timer);
  }

  #look(link: FrameSocket): void {
    const nowMs = performance.now();
    const { pingMs, silenceMs } = this.#timing;
    if (!link.paused && nowMs - link.lastReceivedMs > silenceMs) {
      link.destroy(new MigrateError("network", `nothing was heard for ${silenceMs / 1000} s`));
    } else if (link.bytesSent !== this.#sentBytes) {
      this.#sentBytes = link.bytesSent;
      this.#sentAtMs = nowMs;
    } else if (nowMs - this.#sentAtMs >= pingMs) {
      link.send(encodeMessage("ping", {}))?.catch(() => {});
    }
  }
}
