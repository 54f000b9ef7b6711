/**
 * A door of the destination: a Worker that listens on the shared port and does the TLS, the framing
 * and the bulk work of whatever connection the kernel gives it. Lanes and streams are served in place; a control
 * connection's frames are carried to the main thread, which alone decides.
 */
import type { FrameSocket } from "../../channel/frame-socket.ts";
import { type Listening, listen } from "../../channel/listen.ts";
import { Strangers } from "../../channel/strangers.ts";
import { part, turnAway } from "../../channel/turn-away.ts";
import { MigrateError, toPlainError } from "../../protocol/errors.ts";
import type { FrameName } from "../../protocol/frames.ts";
import { deadlines, limits } from "../../protocol/limits.ts";
import { decodeMessage, encodeMessage, type MessageBody } from "../../protocol/messages.ts";
import { software } from "../../protocol/software.ts";
import { readTags } from "../landing/read-tags.ts";
import type { FromReceivingLane } from "../lanes/lane-messages.ts";
import { LaneReceiver } from "../lanes/lane-receiver.ts";
import type { FromDoor, ToDoor } from "./door-messages.ts";
import { type HostedStream, StreamHost } from "./stream-host.ts";
import { VisitorWatch } from "./visitor-watch.ts";

/** Control frames that may wait for the main thread; no honest source has more than a few under way. */
const mostUntaken = 32;
/** Messages on chunks that may wait for it: a lane is read no further then. Zero chunks come faster than it takes them. */
const mostUntakenChunks = 8;
/** Frames that a peer may send before it is let in: HELLO, PAIR, and signs of life between them. */
const mostStrangerFrames = 16;
/** How often it is looked what moves on each connection. */
const lookMs = 1_000;

/** Which of how many doors a connection has come to, of those that can be reached by the way that it took. */
interface Place {
  door: number;
  doors: number;
}

/** Who has not said HELLO yet. */
interface Caller {
  conn: number;
  link: FrameSocket;
  place: Place;
}

interface Visitor extends Caller {
  watch: VisitorWatch;
  lane: LaneReceiver | undefined;
  stream: HostedStream | undefined;
  /** What the source has of our bytes, by the HELLO of a stream. */
  received: number;
  admitted: boolean;
  frames: number;
  /** Control frames, or messages on a lane's chunks, that the main thread has not looked at. */
  untaken: number;
}

export class Door {
  readonly #post: (message: FromDoor) => void;
  readonly #visitors = new Map<number, Visitor>();
  #strangers: Strangers<FrameSocket> | undefined;
  readonly #listening: Listening[] = [];
  readonly #streams: StreamHost;
  #nextConn = 1;
  #looking: Timer | undefined;

  constructor(post: (message: FromDoor) => void) {
    this.#post = post;
    this.#streams = new StreamHost(post);
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
      case "flush": {
        const flushed = () => this.#post({ kind: "flushed", conn: message.conn });
        const waiting = this.#visitors.get(message.conn)?.link.send(Buffer.alloc(0));
        if (waiting === undefined) flushed();
        else waiting.then(flushed, () => {});
        break;
      }
      case "finish": {
        const visitor = this.#visitors.get(message.conn);
        if (visitor) part(visitor.link);
        break;
      }
      case "destroy":
        this.#visitors.get(message.conn)?.link.destroy();
        break;
      case "taken": {
        const visitor = this.#visitors.get(message.conn);
        if (visitor === undefined) break;
        visitor.untaken--;
        if (visitor.lane !== undefined && visitor.untaken < mostUntakenChunks) visitor.link.paused = false;
        break;
      }
      case "admit": {
        const visitor = this.#visitors.get(message.conn);
        if (visitor) {
          visitor.admitted = true;
          visitor.link.standing = "control";
        }
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
      case "open-stream": {
        const visitor = this.#visitors.get(message.conn);
        if (visitor) visitor.stream = this.#streams.open(message.stream, visitor.link, visitor.received);
        break;
      }
      case "drop-streams":
        this.#streams.drop(message.session);
        break;
      case "known":
        this.#strangers?.know(message.addresses);
        break;
      case "read-tags":
        void this.#readTags(message);
        break;
      case "barrier":
        this.#post(message);
        break;
      case "stop":
        // Whatever chunk was in hand has been written: chunks are handled whole, in one go.
        for (const listening of this.#listening) listening.stop(false);
        clearInterval(this.#looking);
        this.#streams.drop();
        for (const { link } of [...this.#visitors.values()]) link.finish();
        this.#post({ kind: "stopped" });
        break;
    }
  }

  async #readTags({ id, tagged, first, count }: Extract<ToDoor, { kind: "read-tags" }>): Promise<void> {
    const { tagBytes } = limits;
    const tags = new Uint8Array(count * tagBytes);
    try {
      await readTags(tagged, first, count, (chunk, tag) => tags.set(tag, (chunk - first) * tagBytes));
      this.#post({ kind: "tags-read", id, tags, error: null });
    } catch (thrown) {
      const { code = "EIO", message } = thrown as NodeJS.ErrnoException;
      this.#post({ kind: "tags-read", id, tags: null, error: { code, message } });
    }
  }

  #listen(message: Extract<ToDoor, { kind: "listen" }>): void {
    const { places, credentials, door, doors } = message;
    const strangers = new Strangers<FrameSocket>(message.maxStrangers, deadlines.helloMs, (link, why) =>
      link.destroy(
        new MigrateError("network", why === "late" ? "no HELLO in time" : "too many connections at once"),
      ),
    );
    this.#strangers = strangers;
    this.#looking = setInterval(() => this.#lookAtAll(), lookMs);
    for (const at of places) {
      // On a unix socket there is this door and no other.
      const place = "unix" in at ? { door: 0, doors: 1 } : { door, doors };
      try {
        const listening = listen({
          at,
          credentials: credentials ?? undefined,
          strangers,
          mostDescriptor: message.mostDescriptor,
          accept: (link) => this.#greet(link, place, credentials !== null),
          rejected: (remote, error) => this.#post({ kind: "rejected", remote, error: toPlainError(error) }),
        });
        this.#listening.push(listening);
      } catch (thrown) {
        const { code, message: text } = thrown as NodeJS.ErrnoException;
        this.#post({ kind: "listen-failed", place: at, code: code ?? "unknown", message: text });
        return;
      }
    }
    this.#post({ kind: "listening" });
  }

  /** A peer is there; waits for its HELLO. */
  #greet(link: FrameSocket, place: Place, secure: boolean): void {
    const conn = this.#nextConn++;
    const remote = link.remoteAddress;
    const rejected = (error: MigrateError) =>
      this.#post({ kind: "rejected", remote, error: toPlainError(error) });
    const refuse = (error: MigrateError) => {
      this.#strangers?.drop(link);
      rejected(error);
      turnAwayFrom(link, error);
    };
    link.handler = {
      frame: (name, payload) => {
        this.#strangers?.drop(link);
        this.#hello({ conn, link, place }, name, payload);
      },
      broken: refuse,
      closed: (error) => {
        this.#strangers?.drop(link);
        if (error) rejected(error);
      },
    };
    if (secure && link.peer === null) {
      refuse(new MigrateError("not-trusted", "the source showed no certificate"));
    }
  }

  #hello({ conn, link, place }: Caller, name: FrameName, payload: Buffer): void {
    if (name !== "hello") throw new MigrateError("protocol", "a connection begins with HELLO");
    const { body } = decodeMessage("hello", payload) as { body: MessageBody<"hello"> };
    if (body.version !== limits.version) {
      throw new MigrateError(
        "version",
        `this host speaks version ${limits.version} of the protocol, not ${body.version}`,
      );
    }
    if (body.role === "lane" && (body.session === undefined || body.laneToken === undefined)) {
      throw new MigrateError("protocol", "a lane names its session and its token");
    }
    if (
      body.role === "stream" &&
      [body.session, body.laneToken, body.stream, body.received].includes(undefined)
    ) {
      throw new MigrateError("protocol", "a stream names its session, its number, its token and what it has");
    }
    const remote = link.remoteAddress;
    const origin = { conn, peer: link.peer, remote };
    const visitor: Visitor = {
      conn,
      link,
      watch: new VisitorWatch(link),
      lane: undefined,
      stream: undefined,
      received: body.received ?? 0,
      place,
      admitted: false,
      frames: 0,
      untaken: 0,
    };
    this.#visitors.set(conn, visitor);
    link.handler = {
      frame: (frame, bytes) => this.#frame(visitor, frame, bytes),
      broken: (error) => this.#broken(visitor, error),
      closed: (error) => this.#closed(visitor, error),
    };
    if (body.role === "control") {
      // Short frames alone until the main thread has let the peer in.
      this.#post({
        kind: "control",
        ...origin,
        exporter: link.exporter(),
        session: body.session ?? null,
        attempt: body.attempt ?? 0,
        receipts: body.receipts ?? null,
      });
      return;
    }
    // A lane or a stream sends nothing before WELCOME, which follows once the main thread has let it in.
    const session = body.session!;
    const token = body.laneToken!;
    if (body.role === "lane") this.#post({ kind: "lane", ...origin, session, laneToken: token });
    else this.#post({ kind: "stream", ...origin, session, token, stream: body.stream! });
  }

  /** What moves is told, so that a slow link is not taken for a dead one; a lane on which nothing does ends. */
  #lookAtAll(): void {
    for (const visitor of [...this.#visitors.values()]) {
      const { conn, link, watch, lane, stream } = visitor;
      const moved = watch.moved();
      const session = (lane ?? stream)?.session ?? null;
      const came = moved.came && (session !== null || link.isMidFrame);
      if (came || moved.went) this.#post({ kind: "moving", conn, session, came, went: moved.went });
      if (lane === undefined) continue;
      const dead = watch.dead();
      if (dead === null) watch.tell(moved);
      else this.#broken(visitor, dead);
    }
  }

  /** Nothing that this peer sends is looked at any more; it is told why. */
  #broken(visitor: Visitor, error: MigrateError): void {
    const { link, lane, stream } = visitor;
    link.mute();
    // A stream tells its peer itself, and learns of the end of its connection after that.
    if (stream) {
      stream.broken(link, error);
      return;
    }
    if (lane) this.#post({ kind: "lane-failed", session: lane.session, error: toPlainError(error) });
    else this.#post({ kind: "rejected", remote: link.remoteAddress, error: toPlainError(error) });
    this.#closed(visitor, error);
    turnAwayFrom(link, error);
  }

  #openLane({ conn, lane }: Extract<ToDoor, { kind: "open-lane" }>): void {
    const visitor = this.#visitors.get(conn);
    if (visitor === undefined) return;
    const failed = (error: MigrateError) => this.#broken(visitor, error);
    const post = (message: FromReceivingLane) => {
      if (message.kind !== "chunks") return this.#post(message);
      this.#post({ ...message, conn });
      if (++visitor.untaken >= mostUntakenChunks) visitor.link.paused = true;
    };
    visitor.untaken = 0;
    visitor.lane = new LaneReceiver(lane, visitor.link, post, failed);
    visitor.link.standing = "lane-destination";
    const welcome = { version: limits.version, software, trusted: true, ...visitor.place };
    visitor.link.send(encodeMessage("welcome", welcome))?.catch(() => {});
  }

  /** Throws what is wrong with the frame; the peer is told and turned away. */
  #frame(visitor: Visitor, name: FrameName, payload: Buffer): void {
    const { conn, link, lane, stream } = visitor;
    if (stream !== undefined) {
      stream.frame(link, name, payload);
      return;
    }
    if (lane !== undefined) {
      if (name === "ping") link.answerPing();
      else lane.frame(name, payload);
      return;
    }
    if (!visitor.admitted && ++visitor.frames > mostStrangerFrames) {
      throw new MigrateError("protocol", "too many messages from a source that was not let in");
    }
    if (visitor.untaken >= mostUntaken) {
      // So many answers are on their way that this one is not missed.
      if (name === "ping" || name === "pong") return;
      throw new MigrateError("protocol", "too many messages at once");
    }
    visitor.untaken++;
    this.#post({ kind: "frame", conn, name, payload: new Uint8Array(payload) });
  }

  #closed({ conn, link, lane, stream }: Visitor, error: MigrateError | undefined): void {
    if (!this.#visitors.delete(conn)) return;
    lane?.close();
    stream?.closed(link);
    this.#post({ kind: "closed", conn, error: error ? toPlainError(error) : null });
  }
}

/** Sends ERROR and closes; nothing that happens on the connection is reported any more. */
function turnAwayFrom(link: FrameSocket, error: MigrateError): void {
  link.handler = { frame: () => {}, closed: () => {} };
  turnAway(link, error);
}
