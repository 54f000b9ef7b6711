/** What moves on one connection of a door, be it less than a frame: on a slow link that is all there is for a while. */
import { DeliveryWatch, undeliveredMs } from "../../channel/delivery-watch.ts";
import type { FrameSocket } from "../../channel/frame-socket.ts";
import { MigrateError } from "../../protocol/errors.ts";
import { deadlines } from "../../protocol/limits.ts";
import { encodeMessage } from "../../protocol/messages.ts";

/** Since it was looked at before. */
export interface Moved {
  /** Bytes of the peer's have come. */
  came: boolean;
  /** The peer's kernel has taken bytes of ours. */
  went: boolean;
}

export class VisitorWatch {
  readonly #link: FrameSocket;
  readonly #delivery: DeliveryWatch;
  #receivedBytes = 0;
  #sentBytes = 0;
  #sentAtMs = performance.now();

  constructor(link: FrameSocket) {
    this.#link = link;
    this.#delivery = new DeliveryWatch(link, {
      limitMs: undeliveredMs(deadlines.silenceMs),
      waitsForRoom: false,
    });
  }

  /** Looks again. */
  moved(): Moved {
    const { bytesReceived } = this.#link;
    const before = this.#delivery.movedAtMs;
    const waits = this.#link.untakenBytes > 0;
    this.#delivery.look(false);
    const moved = {
      came: bytesReceived !== this.#receivedBytes,
      went: waits && this.#delivery.movedAtMs !== before,
    };
    this.#receivedBytes = bytesReceived;
    return moved;
  }

  /**
   * Why the connection, a lane, is dead, if it is: in the middle of a frame nothing more has come for too long, or
   * nothing of what was answered arrives. Returns MigrateError "network", or null.
   */
  dead(nowMs = performance.now()): MigrateError | null {
    const silentMs = nowMs - this.#link.lastReceivedMs;
    // One that is not read here is no silent one.
    if (this.#link.isMidFrame && !this.#link.paused && silentMs > undeliveredMs(deadlines.silenceMs)) {
      const said = `the link from ${this.#link.remoteAddress} takes small messages but no data: nothing more of a chunk has come for ${Math.round(silentMs / 1000)} s`;
      return new MigrateError("network", said);
    }
    return this.#delivery.look(false, nowMs);
  }

  /** Says PING on a lane on which something has come and nothing was answered for a while [ACK-3]. */
  tell({ came }: Moved, nowMs = performance.now()): void {
    if (this.#link.bytesSent !== this.#sentBytes) this.#sentAtMs = nowMs;
    else if (came && nowMs - this.#sentAtMs >= deadlines.pingMs) {
      this.#link.send(encodeMessage("ping", {}))?.catch(() => {});
      this.#sentAtMs = nowMs;
    }
    this.#sentBytes = this.#link.bytesSent;
  }
}
