/**
 * The destination: greets every connection that its doors accept, decides whom to trust, and passes each
 * request to the session that it is about.
 */
import { ControlLink, type HeartbeatTiming } from "../../channel/control-link.ts";
import { asMigrateError, MigrateError } from "../../protocol/errors.ts";
import { limits } from "../../protocol/limits.ts";
import { encodeError, type Message } from "../../protocol/messages.ts";
import type { FromDoor } from "../../transfer/doors/door-messages.ts";
import type { DoorPool } from "../../transfer/doors/door-pool.ts";
import { laneRefused } from "../../transfer/doors/lane-refusal.ts";
import { isJournalFull } from "../journal/journal.ts";
import { patiently } from "../journal/patience.ts";
import type { DestinationRequest } from "../ownership/destination-machine.ts";
import { type Asker, DestinationSession, type SessionContext } from "./destination-session.ts";
import { answerInquiry } from "./inquiry.ts";
import type { Measuring } from "./measuring.ts";
import { Reception, type ReceptionOptions } from "./reception.ts";

export interface DestinationOptions extends Omit<SessionContext, "doors">, ReceptionOptions {
  timing?: HeartbeatTiming | undefined;
  /** Called when a session has ended: its VM is here, and the source knows. */
  completed: (session: string) => void;
  /** Called when the first lane opens and when the last one closes: work that can wait pauses in between. */
  receiving?: (isReceiving: boolean) => void;
  /** Answers requests to measure; absent if nobody may. */
  measuring?: Measuring;
}

type ControlOpened = Extract<FromDoor, { kind: "control" }>;

const requestByMessage: Partial<Record<Message["name"], DestinationRequest>> = {
  offer: "offer",
  seal: "seal",
  release: "release",
  publish: "publish",
  confirm: "confirm",
  cancel: "cancel",
};

/** For how many sessions the newest connection is remembered outside of the journal. */
const mostRemembered = 4096;

export class Destination {
  readonly #options: DestinationOptions;
  readonly #links = new Map<string, ControlLink>();
  readonly #sessions = new Map<string, DestinationSession>();
  /** By session, the source's number of the newest connection that made a request; oldest session first. */
  readonly #newestAttempts = new Map<string, number>();
  /** By connection, the session for which a lane was admitted. */
  readonly #lanes = new Map<string, string>();
  readonly #reception: Reception;
  #doors: DoorPool | undefined;
  #stopping = false;

  constructor(options: DestinationOptions) {
    this.#options = options;
    this.#reception = new Reception(options);
  }

  /** The doors, once they are open. */
  set doors(doors: DoorPool) {
    this.#doors = doors;
  }

  /** Takes every message of a door. */
  hear(door: number, message: FromDoor): void {
    switch (message.kind) {
      case "control":
        void this.#control(door, message);
        break;
      case "lane":
        this.#lane(door, message);
        break;
      case "frame": {
        const link = this.#links.get(`${door}:${message.conn}`);
        try {
          link?.deliver(message.name, Buffer.from(message.payload));
        } catch (thrown) {
          link?.fail(thrown);
        }
        this.#doors!.post(door, { kind: "taken", conn: message.conn });
        break;
      }
      case "closed": {
        const { error } = message;
        const link = this.#links.get(`${door}:${message.conn}`);
        this.#links.delete(`${door}:${message.conn}`);
        if (this.#lanes.delete(`${door}:${message.conn}`) && this.#lanes.size === 0)
          this.#options.receiving?.(false);
        link?.lost(error ? new MigrateError(error.code, error.message) : undefined);
        break;
      }
      case "stream":
        this.#stream(door, message);
        break;
      case "stream-state":
        this.#sessions.get(message.session)?.streams?.receive(door, message);
        break;
      case "chunks":
        this.#sessions.get(message.session)?.chunks(message);
        break;
      case "lane-failed":
        // A chunk that was not written whole is neither the old one nor the new one.
        if (message.error.code === "no-room" || message.error.code === "store-failed") {
          this.#sessions.get(message.session)?.distrustFiles();
        }
        this.#options.observe({ event: "warning", message: `a lane was closed: ${message.error.message}` });
        break;
      case "rejected":
        if (message.error.code !== "network") {
          this.#options.observe({ event: "warning", message: `${message.remote}: ${message.error.message}` });
        }
        break;
    }
  }

  /** Accepts no new requests, and finishes those in progress. Resolves when every session is at rest. */
  async stop(): Promise<void> {
    this.#stopping = true;
    await Promise.all([...this.#sessions.values()].map((session) => stopped(session)));
  }

  async #control(door: number, opened: ControlOpened): Promise<void> {
    const doors = this.#doors!;
    const { conn } = opened;
    const link = new ControlLink(
      {
        send: (frame) => doors.post(door, { kind: "send", conn, bytes: frame }),
        finish: () => doors.post(door, { kind: "finish", conn }),
        destroy: () => doors.post(door, { kind: "destroy", conn }),
      },
      "source",
      this.#options.timing,
    );
    this.#links.set(`${door}:${conn}`, link);
    const admit = () => doors.post(door, { kind: "admit", conn });
    let bound: DestinationSession | undefined;
    try {
      const peer = await this.#reception.welcome(link, opened, admit);
      const asker: Asker = { link, peer, remote: opened.remote, attempt: opened.attempt };
      for (;;) {
        const message = await link.receive();
        if (this.#stopping) throw new MigrateError("network", "the destination is shutting down");
        const request = requestByMessage[message.name];
        if (request !== undefined) {
          bound ??= (await this.#bind(opened, asker)) ?? undefined;
          if (bound === undefined) {
            // The same answer as for a session that nobody has begun.
            if (request !== "cancel") throw unknownSession();
            link.send("cancelled", {});
            continue;
          }
          const session = bound;
          await session.inTurn(() => {
            if (link.closed) throw new MigrateError("network", "the connection is closed");
            return session.request(request, asker, message.body);
          });
          if (session.record?.endedAtMs && request === "confirm") this.#options.completed(session.session);
        } else if (message.name === "start" && bound !== undefined) {
          const session = bound;
          await session.inTurn(() => session.start(asker));
        } else if (message.name === "profile" && this.#options.measuring !== undefined) {
          await this.#options.measuring.begin(asker, message.body);
        } else {
          answerInquiry(this.#options.journal, asker, message);
        }
      }
    } catch (thrown) {
      const error = asMigrateError(thrown);
      if (!link.closed) {
        if (error.code !== "network") {
          this.#options.observe({ event: "warning", message: `${opened.remote}: ${error.message}` });
        }
        link.fail(forSource(error));
      }
      if (error.code === "bug") {
        this.#options.observe({
          event: "warning",
          message: `a bug of ours: ${error.stack ?? error.message}`,
        });
      }
    } finally {
      // A destination that stops has seen to its sessions already, and its journal may be closed.
      if (bound && bound.link === link && !this.#stopping) {
        const session = bound;
        await session.inTurn(() => session.linkLost());
        const { record } = session;
        if (record === null || record.endedAtMs !== null) this.#sessions.delete(session.session);
      }
    }
  }

  /**
   * Makes this connection the only one that is obeyed for its session. An older connection of the session is
   * never obeyed again, even if its messages arrive later. Returns null if the session belongs to another
   * peer.
   */
  async #bind(opened: ControlOpened, asker: Asker): Promise<DestinationSession | null> {
    if (opened.session === null)
      throw new MigrateError("protocol", "the connection named no session in its HELLO");
    const { journal } = this.#options;
    const known = journal.find(opened.session);
    // Checked before the session's turn: the time that takes would reveal another peer's session.
    if (known && (known.side !== "destination" || known.peer !== asker.peer)) return null;
    const session = this.#session(opened.session);
    await session.inTurn(async () => {
      const record = session.record;
      if (record && record.peer !== asker.peer) throw unknownSession();
      // The record remembers connections from before a restart. If there is no record (no offer came, or the
      // session was cancelled before one), no connection can have outlived this process.
      if (opened.attempt <= (record?.attempt ?? this.#newestAttempts.get(opened.session!) ?? 0)) {
        throw new MigrateError("busy", "a newer connection of this session has spoken already");
      }
      this.#remember(opened.session!, opened.attempt);
      const note = { attempt: opened.attempt };
      const write = async () => journal.write("attempt", () => journal.update(opened.session!, note));
      const waiting = (message: string) => this.#options.observe({ event: "warning", message });
      if (record) await patiently(write, { isOver: () => asker.link.closed, waiting });
      session.link?.destroy(new MigrateError("network", "a newer connection took over"));
      session.link = asker.link;
    });
    return session;
  }

  #remember(session: string, attempt: number): void {
    this.#newestAttempts.delete(session);
    this.#newestAttempts.set(session, attempt);
    const [oldest] = this.#newestAttempts.keys();
    if (this.#newestAttempts.size > mostRemembered) this.#newestAttempts.delete(oldest!);
  }

  #lane(door: number, { conn, peer, session, laneToken }: Extract<FromDoor, { kind: "lane" }>): void {
    try {
      // A peer that may not have the session must not learn whether it exists.
      const lane = this.#sessions.get(session)?.grantLane(laneToken, peer ?? "insecure");
      if (lane === undefined) throw laneRefused();
      const lanes = [...this.#lanes.values()].filter((other) => other === session);
      if (lanes.length >= limits.lanes) {
        throw new MigrateError("limit", `a session has at most ${limits.lanes} lanes`, {
          side: "destination",
        });
      }
      if (this.#lanes.size === 0) this.#options.receiving?.(true);
      this.#lanes.set(`${door}:${conn}`, session);
      this.#doors!.post(door, { kind: "open-lane", conn, lane });
    } catch (thrown) {
      this.#doors!.post(door, { kind: "send", conn, bytes: encodeError(thrown) });
      this.#doors!.post(door, { kind: "finish", conn });
    }
  }

  #stream(door: number, message: Extract<FromDoor, { kind: "stream" }>): void {
    const { conn, session, peer } = message;
    const streams = this.#sessions.get(session)?.streams;
    if (streams === undefined || (peer ?? "insecure") !== this.#sessions.get(session)?.record?.peer) {
      this.#doors!.post(door, { kind: "send", conn, bytes: encodeError(laneRefused()) });
      this.#doors!.post(door, { kind: "finish", conn });
      return;
    }
    streams.admit(door, message);
  }

  #session(id: string): DestinationSession {
    let session = this.#sessions.get(id);
    if (session === undefined) {
      session = new DestinationSession(id, { ...this.#options, doors: this.#doors });
      this.#sessions.set(id, session);
    }
    return session;
  }
}

/** The streams end with this process, and so does what the QEMU of a running VM waits for. */
async function stopped(session: DestinationSession): Promise<void> {
  if (session.streams !== undefined) {
    await session.giveUp(new MigrateError("cancelled", "the destination is shutting down"));
  }
  await session.inTurn(() => session.linkLost());
  session.rest();
}

function unknownSession(): MigrateError {
  return new MigrateError("unknown-session", "the destination has no record of this session", {
    side: "destination",
  });
}

/**
 * To the source, a journal that cannot be written is the same as a store that cannot: no fault of its own.
 */
function forSource(error: MigrateError): MigrateError {
  if (error.code !== "home-unusable") return error;
  const [code, what] = isJournalFull(error)
    ? (["no-room", "the destination's disk is full"] as const)
    : (["store-failed", "the destination cannot write its journal"] as const);
  return new MigrateError(code, what, { side: "destination", cause: error });
}
