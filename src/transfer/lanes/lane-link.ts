/** The connection of one lane of the source: how it is opened, watched and ended. */
import { type Callee, call, type Welcome } from "../../channel/call.ts";
import { peerError } from "../../channel/control-link.ts";
import { DeliveryWatch, undeliveredMs } from "../../channel/delivery-watch.ts";
import type { FrameSocket } from "../../channel/frame-socket.ts";
import { asMigrateError, MigrateError } from "../../protocol/errors.ts";
import type { FrameName } from "../../protocol/frames.ts";
import { decodeMessage, type MessageBody } from "../../protocol/messages.ts";
import type { Landing } from "./lane-spread.ts";

/** How often is looked, at most. */
const mostLookMs = 1000;

/** Where a lane leads, and what lets it in. */
export interface LaneRoute {
  callee: Callee;
  session: string;
  laneToken: string;
  /** How long a peer may be silent, in milliseconds; see `undeliveredMs`. */
  silenceMs: number;
}

export interface LaneHandler {
  /** A frame that is neither WELCOME, ERROR, PING nor PONG. May throw: the lane has failed then. */
  frame(name: FrameName, payload: Buffer): void;
  /** The lane is over. */
  failed(error: MigrateError): void;
  /** True while an answer is due. */
  waits(): boolean;
  /** Something of what was sent has arrived since this was last called. */
  moved(): void;
}

export class LaneLink {
  readonly socket: FrameSocket;
  /** Where it landed at the destination; null if WELCOME does not name it. */
  readonly landing: Landing | null;
  readonly #watch: Timer;

  private constructor(
    socket: FrameSocket,
    delivery: DeliveryWatch,
    handler: LaneHandler,
    { landing, silenceMs }: { landing: Landing | null; silenceMs: number },
  ) {
    this.socket = socket;
    this.landing = landing;
    this.#watch = setInterval(
      () => {
        const before = delivery.movedAtMs;
        const dead = delivery.look(handler.waits());
        if (dead !== null) handler.failed(dead);
        else if (handler.waits() && delivery.movedAtMs !== before) handler.moved();
      },
      Math.min(mostLookMs, silenceMs / 4),
    );
  }

  /** Connects and is let in. Rejects with the MigrateError that `call` rejects with. */
  static async open(
    { callee, session, laneToken, silenceMs }: LaneRoute,
    handler: LaneHandler,
    signal: AbortSignal,
  ): Promise<LaneLink> {
    const opened = Promise.withResolvers<LaneLink>();
    try {
      await call(callee, "lane", {
        hello: () => ({ session, laneToken }),
        welcomed: (socket, welcome) => {
          const delivery = new DeliveryWatch(socket, {
            limitMs: undeliveredMs(silenceMs),
            waitsForRoom: false,
          });
          opened.resolve(new LaneLink(socket, delivery, handler, { landing: landingOf(welcome), silenceMs }));
          return {
            frame: (name, payload) => {
              // A destination says nothing on a lane but that more has come [ACK-3].
              delivery.answered();
              if (name === "error") handler.failed(reported(payload));
              else if (name === "ping") socket.answerPing();
              else if (name !== "pong") handler.frame(name, payload);
            },
            closed: (error) =>
              handler.failed(error ?? new MigrateError("network", "the lane was closed by the other side")),
          };
        },
        signal,
      });
    } catch (thrown) {
      throw refusal(asMigrateError(thrown));
    }
    return await opened.promise;
  }

  close(): void {
    clearInterval(this.#watch);
    this.socket.destroy();
  }
}

function landingOf({ door, doors }: Welcome): Landing | null {
  return door === undefined || doors === undefined ? null : { door, doors };
}

/** What went wrong at the destination, by its ERROR frame. */
function reported(payload: Buffer): MigrateError {
  return peerError(decodeMessage("error", payload).body as MessageBody<"error">, "destination");
}

/**
 * A lane that is not let in does not mean that the migration is refused, which is for the control
 * connection to say: it means that this connection is gone for the destination, while we have not
 * noticed yet. Another link gets another token.
 */
function refusal(error: MigrateError): MigrateError {
  const { code, message, side } = error;
  if (side !== "destination" || (code !== "policy" && code !== "unknown-session")) return error;
  return new MigrateError("network", `a lane was turned away: ${message}`, { side, cause: error });
}
