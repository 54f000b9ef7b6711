/**
 * A door of the destination: a Worker that listens on the shared port and does the TLS, the framing
 * and the bulk work of whatever connection the kernel gives it. A lane is served in place; a control
 * connection's frames are carried to the main thread, which alone decides.
 */
import type { TCPSocketListener } from "bun";
import type { FrameSocket } from "../channel/frame-socket.ts";
import { listen } from "../channel/listen.ts";
import { asMigrateError, MigrateError } from "../protocol/errors.ts";
import type { FrameName } from "../protocol/frames.ts";
import { deadlines, limits } from "../protocol/limits.ts";
import { decodeMessage, encodeError, encodeMessage, type MessageBody } from "../protocol/messages.ts";
import type { FromDoor, ToDoor, WireError } from "./lane-messages.ts";
import { LaneReceiver } from "./lane-receiver.ts";

/** Control frames that may wait for the main thread before the door stops reading. */
const mostUntaken = 32;

interface Visitor {
  link: FrameSocket;
  lane: LaneReceiver | undefined;
  untaken: number;
}

export class Door {
  readonly #post: (message: FromDoor) => void;
  readonly #visitors = new Map<number, Visitor>();
  #listener: TCPSocketListener<FrameSocket> | undefined;
  #nextConn = 1;

  constructor(post: (message: FromDoor) => void) {
    this.#post = post;
  }

  handle(message: ToDoor): void {
    switch (message.kind) {
      case "listen":
        this.#listen(message);
        break;
      case "send":
        this.#visitors
          .get(message.conn)
          ?.link.send(Buffer.from(message.bytes))
          ?.catch(() => {});
        break;
      case "finish":
        this.#visitors.get(message.conn)?.link.finish();
        break;
      case "destroy":
        this.#visitors.get(message.conn)?.link.destroy();
        break;
      case "taken": {
        const visitor = this.#visitors.get(message.conn);
        if (visitor && visitor.untaken-- === mostUntaken) visitor.link.resume();
        break;
      }
      case "admit": {
        const visitor = this.#visitors.get(message.conn);
        if (visitor) visitor.link.standing = "control";
        break;
      }
      case "open-lane":
        this.#openLane(message);
        break;
      case "drop-session":
        for (const { link, lane } of [...this.#visitors.values()]) {
          if (lane?.session === message.session) link.destroy();
        }
        break;
      case "barrier":
        this.#post(message);
        break;
      case "stop":
        // Whatever chunk was in hand has been written: chunks are handled whole, in one go.
        this.#listener?.stop(false);
        for (const { link } of [...this.#visitors.values()]) link.finish();
        this.#post({ kind: "stopped" });
        break;
    }
  }

  #listen(message: Extract<ToDoor, { kind: "listen" }>): void {
    try {
      this.#listener = listen({
        host: message.host,
        port: message.port,
        credentials: message.credentials ?? undefined,
        maxStrangers: message.maxStrangers,
        accept: (link) => this.#greet(link),
        rejected: (remote, error) => this.#post({ kind: "rejected", remote, error: plain(error) }),
      });
      this.#post({ kind: "listening", port: this.#listener.port });
    } catch (thrown) {
      const { code, message: text } = thrown as NodeJS.ErrnoException;
      this.#post({ kind: "listen-failed", code: code ?? "unknown", message: text });
    }
  }

  /** A peer is there; waits for its HELLO. */
  #greet(link: FrameSocket): void {
    const conn = this.#nextConn++;
    const remote = link.remoteAddress;
    const timer = setTimeout(
      () => link.destroy(new MigrateError("network", "no HELLO in time")),
      deadlines.helloMs,
    );
    link.handler = {
      frame: (name, payload) => {
        clearTimeout(timer);
        try {
          this.#hello(conn, link, name, payload);
        } catch (thrown) {
          this.#turnAway(link, thrown);
        }
      },
      closed: (error) => {
        clearTimeout(timer);
        if (error) this.#post({ kind: "rejected", remote, error: plain(error) });
      },
    };
  }

  #hello(conn: number, link: FrameSocket, name: FrameName, payload: Buffer): void {
    if (name !== "hello") throw new MigrateError("protocol", "a connection begins with HELLO");
    const { body } = decodeMessage("hello", payload) as { body: MessageBody<"hello"> };
    if (body.version !== limits.version) {
      throw new MigrateError(
        "version",
        `this host speaks version ${limits.version} of the protocol, not ${body.version}`,
      );
    }
    const visitor: Visitor = { link, lane: undefined, untaken: 0 };
    this.#visitors.set(conn, visitor);
    const origin = { conn, peer: link.peer, remote: link.remoteAddress };
    link.handler = {
      frame: (frame, bytes) => this.#frame(conn, visitor, frame, bytes),
      closed: (error) => this.#closed(conn, visitor, error),
    };
    if (body.role === "control") {
      // Short frames alone until the main thread has let the peer in.
      this.#post({
        kind: "control",
        ...origin,
        exporter: link.exporter(),
        session: body.session ?? null,
        attempt: body.attempt ?? 0,
      });
    } else {
      if (body.session === undefined || body.laneToken === undefined) {
        throw new MigrateError("protocol", "a lane names its session and its token");
      }
      // Nothing may come before the main thread has let the lane in; WELCOME says so.
      this.#post({ kind: "lane", ...origin, session: body.session, laneToken: body.laneToken });
    }
  }

  #openLane({ conn, lane }: Extract<ToDoor, { kind: "open-lane" }>): void {
    const visitor = this.#visitors.get(conn);
    if (visitor === undefined) return;
    visitor.lane = new LaneReceiver(lane, visitor.link, this.#post);
    visitor.link.standing = "lane-destination";
    const welcome = { version: limits.version, software: "migrate", trusted: true };
    visitor.link.send(encodeMessage("welcome", welcome))?.catch(() => {});
  }

  #frame(conn: number, visitor: Visitor, name: FrameName, payload: Buffer): void {
    if (visitor.lane !== undefined) {
      if (name === "ping") visitor.link.send(encodeMessage("pong", {}))?.catch(() => {});
      if (name !== "chunk") return;
      try {
        visitor.lane.chunk(payload);
      } catch (thrown) {
        this.#post({ kind: "lane-failed", session: visitor.lane.session, error: plain(thrown) });
        this.#turnAway(visitor.link, thrown);
      }
      return;
    }
    this.#post({ kind: "frame", conn, name, payload: new Uint8Array(payload) });
    if (++visitor.untaken === mostUntaken) visitor.link.pause();
  }

  #closed(conn: number, visitor: Visitor, error: MigrateError | undefined): void {
    this.#visitors.delete(conn);
    visitor.lane?.close();
    this.#post({ kind: "closed", conn, error: error ? plain(error) : null });
  }

  /** Says why and closes; whatever else the peer still sends is not looked at. */
  #turnAway(link: FrameSocket, thrown: unknown): void {
    link.mute();
    link.send(encodeError(thrown))?.catch(() => {});
    link.finish();
    // A peer that does not close in its turn is cut off.
    setTimeout(() => link.destroy(asMigrateError(thrown)), 1000).unref();
  }
}

function plain(thrown: unknown): WireError {
  const { code, message, side } = asMigrateError(thrown);
  return { code, message, side };
}
