/**
 * Watches the connection that carries a stream: sends PING when nothing else is sent, and ends it when nothing comes, or
 * nothing of what was sent arrives.
 */
import { DeliveryWatch, undeliveredMs } from "../../channel/delivery-watch.ts";
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
  #delivery: DeliveryWatch | undefined;
  #isPingDue = false;

  constructor(timing: StreamTiming) {
    this.#timing = timing;
  }

  /**
   * Watches this connection from now on, and no other; destroys it (MigrateError "network") once it is silent, or takes
   * nothing any more. `isAwaited` tells whether the peer has not acknowledged all that was sent.
   */
  begin(link: FrameSocket, isAwaited: () => boolean): void {
    const { pingMs, silenceMs } = this.#timing;
    this.end();
    this.#sentBytes = link.bytesSent;
    this.#sentAtMs = performance.now();
    this.#isPingDue = false;
    // A program that takes nothing for a while is no dead link: the StallWatch of the move judges that.
    this.#delivery = new DeliveryWatch(link, { limitMs: undeliveredMs(silenceMs), waitsForRoom: true });
    this.#timer = setInterval(() => this.#look(link, isAwaited()), Math.min(pingMs, silenceMs) / 4);
  }

  /** PONG or DATA-ACK came: all that was sent before what it answers has arrived, since it goes the same way. */
  answered(): void {
    this.#isPingDue = false;
    this.#delivery?.answered();
  }

  /** Watches none. */
  end(): void {
    clearInterval(this.#timer);
  }

  #look(link: FrameSocket, isAwaited: boolean): void {
    const nowMs = performance.now();
    const { pingMs, silenceMs } = this.#timing;
    const undelivered = this.#delivery?.look(isAwaited || this.#isPingDue, nowMs) ?? null;
    if (undelivered !== null) {
      link.destroy(undelivered);
      return;
    }
    if (!link.paused && nowMs - link.lastReceivedMs > silenceMs) {
      link.destroy(new MigrateError("network", `nothing was heard for ${silenceMs / 1000} s`));
    } else if (link.bytesSent !== this.#sentBytes) {
      this.#sentBytes = link.bytesSent;
      this.#sentAtMs = nowMs;
    } else if (nowMs - this.#sentAtMs >= pingMs) {
      this.#isPingDue = true;
      link.send(encodeMessage("ping", {}))?.catch(() => {});
    }
  }
}
