/** The connection of one lane of the source: how it is opened, watched and ended. */
import { type Callee, call, type Welcome } from "../../channel/call.ts";
import { peerError } from "../../channel/control-link.ts";
import type { FrameSocket } from "../../channel/frame-socket.ts";
import { asMigrateError, MigrateError } from "../../protocol/errors.ts";
import type { FrameName } from "../../protocol/frames.ts";
import { deadlines } from "../../protocol/limits.ts";
import { decodeMessage, type MessageBody } from "../../protocol/messages.ts";
import type { Landing } from "./lane-spread.ts";

/** A lane that waits for acknowledgements and receives nothing for so long is dead. */
const laneSilenceMs = 3 * deadlines.silenceMs;

/** Where a lane leads, and what lets it in. */
export interface LaneRoute {
  callee: Callee;
  session: string;
  laneToken: string;
}

export interface LaneHandler {
  /** A frame that is neither WELCOME nor ERROR. May throw: the lane has failed then. */
  frame(name: FrameName, payload: Buffer): void;
  /** The lane is over. */
  failed(error: MigrateError): void;
  /** True while an answer is due. */
  waits(): boolean;
}

export class LaneLink {
  readonly socket: FrameSocket;
  /** Where it landed at the destination; null if WELCOME does not name it. */
  readonly landing: Landing | null;
  readonly #watch: Timer;

  private constructor(socket: FrameSocket, handler: LaneHandler, landing: Landing | null) {
    this.socket = socket;
    this.landing = landing;
    this.#watch = setInterval(() => {
      if (handler.waits() && performance.now() - socket.lastReceivedMs > laneSilenceMs) {
        handler.failed(new MigrateError("network", "a lane heard nothing for too long"));
      }
    }, 1000);
  }

  /** Connects and is let in. Rejects with the MigrateError that `call` rejects with. */
  static async open(
    { callee, session, laneToken }: LaneRoute,
    handler: LaneHandler,
    signal: AbortSignal,
  ): Promise<LaneLink> {
    const opened = Promise.withResolvers<{ socket: FrameSocket; landing: Landing | null }>();
    try {
      await call(callee, "lane", {
        hello: () => ({ session, laneToken }),
        welcomed: (socket, welcome) => {
          opened.resolve({ socket, landing: landingOf(welcome) });
          return {
            frame: (name, payload) => {
              if (name === "error") handler.failed(reported(payload));
              else handler.frame(name, payload);
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
    const { socket, landing } = await opened.promise;
    return new LaneLink(socket, handler, landing);
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
