/** The connection of one lane of the source: from the first byte to WELCOME, and how it ends. */
import { peerError } from "../../channel/control-link.ts";
import { dial } from "../../channel/dial.ts";
import type { FrameSocket } from "../../channel/frame-socket.ts";
import type { Credentials } from "../../channel/tls.ts";
import { MigrateError } from "../../protocol/errors.ts";
import type { FrameName } from "../../protocol/frames.ts";
import { deadlines, limits } from "../../protocol/limits.ts";
import { decodeMessage, encodeMessage } from "../../protocol/messages.ts";
import type { Landing } from "./lane-spread.ts";

/** A lane that waits for acknowledgements and hears nothing for so long is dead. */
const laneSilenceMs = 3 * deadlines.silenceMs;

/** Where a lane leads, and what lets it in. */
export interface LaneRoute {
  host: string;
  port: number;
  /** Null on an insecure link. */
  credentials: Credentials | null;
  /** The destination's fingerprint; null on an insecure link. */
  peer: string | null;
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
  /** Where it landed at the destination; null where that does not tell. */
  readonly landing: Landing | null;
  readonly #watch: Timer;

  private constructor(socket: FrameSocket, handler: LaneHandler, landing: Landing | null) {
    this.socket = socket;
    this.landing = landing;
    this.#watch = setInterval(() => {
      if (handler.waits() && performance.now() - socket.lastHeardMs > laneSilenceMs) {
        handler.failed(new MigrateError("network", "a lane heard nothing for too long"));
      }
    }, 1000);
  }

  /** Connects and is let in. Throws MigrateError where it is not. */
  static async open(route: LaneRoute, handler: LaneHandler): Promise<LaneLink> {
    const { host, port, credentials, peer, session, laneToken } = route;
    const socket = await dial({
      host,
      port,
      credentials: credentials ?? undefined,
      standing: "lane-source",
      checkPeer: (fingerprint) =>
        fingerprint === peer
          ? null
          : new MigrateError(
              "wrong-identity",
              `another host answered at ${host}:${port}, with ${fingerprint}`,
            ),
    });
    const welcome = Promise.withResolvers<Landing | null>();
    let welcomed = false;
    const fail = (error: MigrateError) => {
      welcome.reject(error);
      if (welcomed) handler.failed(error);
    };
    socket.handler = {
      frame: (name, payload) => {
        if (name === "welcome") {
          welcomed = true;
          welcome.resolve(landingOf(payload));
        } else if (name === "error") {
          const message = decodeMessage("error", payload);
          if (message.name === "error") fail(refusal(peerError(message.body, "destination"), welcomed));
        } else if (!welcomed) {
          throw new MigrateError("protocol", `a lane was not welcomed but told ${name}`);
        } else handler.frame(name, payload);
      },
      closed: (error) => fail(error ?? new MigrateError("network", "the lane was closed by the other side")),
    };
    const hello = { version: limits.version, role: "lane" as const, software: "migrate", session, laneToken };
    socket.send(encodeMessage("hello", hello))?.catch(() => {});
    const late = setTimeout(
      () => fail(new MigrateError("network", "a lane was accepted and never welcomed")),
      deadlines.helloMs,
    );
    let landing: Landing | null;
    try {
      landing = await welcome.promise;
    } catch (thrown) {
      socket.destroy();
      throw thrown;
    } finally {
      clearTimeout(late);
    }
    return new LaneLink(socket, handler, landing);
  }

  close(): void {
    clearInterval(this.#watch);
    this.socket.destroy();
  }
}

function landingOf(payload: Buffer): Landing | null {
  const message = decodeMessage("welcome", payload);
  if (message.name !== "welcome") return null;
  const { door, doors } = message.body;
  return door === undefined || doors === undefined ? null : { door, doors };
}

/**
 * A lane that is not let in does not mean that the migration is refused, which is for the control
 * connection to say: it means that this connection is gone for the destination, while we have not
 * noticed yet. Another link gets another token.
 */
function refusal(error: MigrateError, welcomed: boolean): MigrateError {
  const { code, message, side } = error;
  if (welcomed || (code !== "policy" && code !== "unknown-session")) return error;
  return new MigrateError("network", `a lane was turned away: ${message}`, { side, cause: error });
}
