/**
 * The destination: greets every connection that its doors accept, decides whom to trust, and passes each
 * request to the session that it is about.
 */
import { ControlLink, type HeartbeatTiming } from "../../channel/control-link.ts";
import type { Identity } from "../../channel/identity.ts";
import { asMigrateError, MigrateError } from "../../protocol/errors.ts";
import { limits } from "../../protocol/limits.ts";
import { encodeError } from "../../protocol/messages.ts";
import type { FromDoor } from "../../transfer/doors/door-messages.ts";
import type { DoorPool } from "../../transfer/doors/door-pool.ts";
import { laneRefused } from "../../transfer/doors/lane-refusal.ts";
import { storeFailure } from "../../transfer/landing/store-failure.ts";
import { isStaged } from "../../vm/folder/staging.ts";
import { patiently } from "../journal/patience.ts";
import { LinkReceipts } from "../receipts/link-receipts.ts";
import { forSource, requestByMessage, unknownSession } from "./destination-replies.ts";
import { DestinationSession, type SessionContext } from "./destination-session.ts";
import { answerInquiry } from "./inquiry.ts";
import type { Measuring } from "./measuring.ts";
import type { Asker } from "./peers/asker.ts";
import { type Attesting, DestinationGate } from "./peers/destination-gate.ts";
import { FamiliarAddresses, mostFamiliar } from "./peers/familiar-addresses.ts";
import { LanePlaces } from "./peers/lane-places.ts";
import { PeerLinks, sourceOf } from "./peers/peer-links.ts";
import { UnreadLinks } from "./peers/unread-links.ts";
import { WorkRate, workOf } from "./peers/work-rate.ts";
import { Reception, type ReceptionOptions } from "./reception.ts";

export interface DestinationOptions extends Omit<SessionContext, "doors">, ReceptionOptions {
  timing?: HeartbeatTiming | undefined;
  /** Called when a session has ended: its VM is here, and the source knows. */
  completed: (session: string) => void;
  /** Called when the first lane opens and when the last one closes: work that can wait pauses in between. */
  receiving?: (isReceiving: boolean) => void;
  attesting?: Attesting | undefined;
  /** This host's; null without authentication. */
  identity?: Identity | null;
  /** Answers requests to measure; absent if nobody may. */
  measuring?: Measuring;
}

type ControlOpened = Extract<FromDoor, { kind: "control" }>;
type LaneAsked = Extract<FromDoor, { kind: "lane" }>;

/** Sessions whose newest connection is remembered outside of the journal. */
const mostRemembered = 4096;

export class Destination {
  readonly #options: DestinationOptions;
  readonly #links = new Map<string, ControlLink>();
  readonly #sessions = new Map<string, DestinationSession>();
  /** By session, the source's number of the newest connection that made a request; oldest session first. */
  readonly #newestAttempts = new Map<string, number>();
  readonly #lanes = new LanePlaces<{ door: number; message: LaneAsked }>();
  readonly #peers = new PeerLinks<ControlLink>((link) =>
    link.fail(new MigrateError("busy", "this source has too many connections", { side: "destination" })),
  );
  readonly #rate = new WorkRate();
  readonly #unread = new UnreadLinks();
  readonly #reception: Reception;
  #doors: DoorPool | undefined;
  #familiar: FamiliarAddresses | undefined;
  #stopping = false;

  constructor(options: DestinationOptions) {
    this.#options = options;
    this.#reception = new Reception(options);
  }

  /** The doors, once they are open. */
  set doors(doors: DoorPool) {
    this.#doors = doors;
    const known = this.#options.journal.sourceAddresses(mostFamiliar);
    this.#familiar = new FamiliarAddresses(known, (addresses) => {
      this.#reception.know(addresses);
      doors.postAll({ kind: "known", addresses });
    });
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
        if (this.#lanes.close(`${door}:${message.conn}`)) this.#laneClosed();
        link?.lost(error ? new MigrateError(error.code, error.message) : undefined);
        break;
      }
      case "stream":
        this.#stream(door, message);
        break;
      case "stream-state":
        this.#sessions.get(message.session)?.streams?.receive(door, message);
        break;
      case "flushed":
        this.#unread.read(`${door}:${message.conn}`);
        break;
      case "moving":
        this.#moving(door, message);
        break;
      case "chunks":
        this.#chunks(message);
        this.#doors!.post(door, { kind: "taken", conn: message.conn });
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

  /**
   * To be called each minute: gives up what has been held for too long, and shortens what the journal keeps of
   * sessions that are over. Never throws.
   */
  async upkeep(): Promise<void> {
    const { journal, store, now, lookup } = this.#options;
    for (const { session: id, state } of journal.openIn(store)) {
      if (state !== "receiving" || this.#stopping) continue;
      const session = this.#session(id);
      await session.expire();
      // As long as it has not ended, this object alone speaks for it.
      const isOver = session.record !== null && session.record.endedAtMs !== null;
      if (isOver && session.link?.closed !== false) this.#sessions.delete(id);
    }
    lookup?.refill();
    if (!this.#stopping) journal.prune(now(), isStaged);
  }

  /** Accepts no new requests, and finishes those in progress. Resolves when every session is at rest. */
  async stop(): Promise<void> {
    this.#stopping = true;
    // A source that does not read would be waited for.
    for (const link of this.#unread.links)
      link.fail(new MigrateError("network", "the destination is shutting down"));
    await Promise.all([...this.#sessions.values()].map((session) => stopped(session)));
  }

  async #control(door: number, opened: ControlOpened): Promise<void> {
    const doors = this.#doors!;
    const { conn } = opened;
    const link = new ControlLink(
      {
        send: (frame) => doors.post(door, { kind: "send", conn, bytes: frame }),
        flushed: () => this.#flushed(door, conn, link),
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
      const { receipts: keeper, journal } = this.#options;
      const ours = keeper?.generations(opened.peer);
      const peer = await this.#reception.welcome(link, opened, admit, ours);
      const source = sourceOf(peer, opened.remote);
      const isOver = () => link.closed || this.#stopping;
      const theirs = opened.receipts ?? undefined;
      const saw = ours?.seen ?? 0;
      const receipts = new LinkReceipts({ keeper, journal, side: "destination", peer, theirs, saw });
      receipts.warnIfBehind((message) => this.#options.observe({ event: "warning", message }));
      const { remote, attempt } = opened;
      const asker: Asker = { link, peer, source, remote, attempt, receipts, isOver };
      const gate = new DestinationGate(asker, opened, this.#options);
      receipts.verdict = () => gate.verdict;
      asker.hasProven = () => gate.hasProven;
      this.#peers.add(source, link);
      this.#familiar?.add(opened.remote);
      for (;;) {
        const message = await link.receive();
        const isAgain = this.#sessions.get(opened.session ?? "")?.record?.state === "ready";
        if (!(await this.#rate.turn(source, workOf(message, isAgain), link))) {
          throw new MigrateError("network", "the connection is closed");
        }
        if (this.#stopping) throw new MigrateError("network", "the destination is shutting down");
        gate.require(message.name);
        if (await gate.answer(message)) continue;
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
          // A session of which there is no record is nothing that a connection could speak for.
          if (session.record?.endedAtMs === null) this.#peers.bound(link);
          if (session.record?.endedAtMs && request === "confirm") this.#options.completed(session.session);
        } else if (message.name === "start" && bound !== undefined) {
          const session = bound;
          await session.inTurn(() => session.start(asker));
        } else if (message.name === "profile" && this.#options.measuring !== undefined) {
          this.#options.sources?.requireTrusted(asker.peer);
          await this.#options.measuring.begin(asker, message.body);
        } else {
          await answerInquiry(this.#options, asker, message);
        }
      }
    } catch (thrown) {
      const error = asMigrateError(thrown);
      if (!link.closed) {
        if (error.code !== "network") {
          const why = error.code === "libvirt-failed" && error.hint ? `: ${error.hint}` : "";
          this.#options.observe({ event: "warning", message: `${opened.remote}: ${error.message}${why}` });
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
      this.#peers.drop(link);
      // A destination that stops has seen to its sessions already, and its journal may be closed.
      if (bound && bound.link === link && !this.#stopping) {
        const session = bound;
        await session.inTurn(() => session.linkLost());
        const { record } = session;
        if (record === null || record.endedAtMs !== null) this.#sessions.delete(session.session);
      }
    }
  }

  #moving(door: number, { conn, session, came, went }: Extract<FromDoor, { kind: "moving" }>): void {
    const link = session === null ? this.#links.get(`${door}:${conn}`) : this.#sessions.get(session)?.link;
    if (came) link?.alive();
    if (went && session === null) link?.taken();
  }

  #flushed(door: number, conn: number, link: ControlLink): Promise<void> {
    const flushed = this.#unread.wait(`${door}:${conn}`, link);
    this.#doors!.post(door, { kind: "flush", conn });
    return flushed;
  }

  #chunks(message: Extract<FromDoor, { kind: "chunks" }>): void {
    const session = this.#sessions.get(message.session);
    try {
      session?.chunks(message);
    } catch (thrown) {
      // The tags of what was written could not be kept; the disk still has them.
      session?.distrustFiles();
      session?.link?.fail(storeFailure(thrown));
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
    const ended = known === null ? journal.findEnded(opened.session) : null;
    const owner = known?.side === "source" ? null : (known ?? ended)?.peer;
    if (owner !== undefined && owner !== asker.peer) return null;
    const spoken = () => Math.max(ended?.attempt ?? 0, this.#newestAttempts.get(opened.session!) ?? 0);
    const older = () => new MigrateError("busy", "a newer connection of this session has spoken already");
    // Nothing is made, and kept, for a session that there is not.
    if (known === null && !this.#sessions.has(opened.session) && opened.attempt <= spoken()) throw older();
    const session = this.#session(opened.session);
    this.#endUnread(session, opened.attempt);
    await session.inTurn(async () => {
      const record = session.record;
      if (record && record.peer !== asker.peer) throw unknownSession();
      // The record remembers connections from before a restart. If there is no record (no offer came, or the
      // session was cancelled before one), no connection can have outlived this process.
      if (opened.attempt <= (record?.attempt ?? spoken())) throw older();
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

  /** An older connection that does not read what it is told would be waited for. */
  #endUnread({ link, record }: DestinationSession, attempt: number): void {
    if (link === undefined || record === null || attempt <= record.attempt) return;
    this.#unread.endUnread(link, new MigrateError("network", "a newer connection took over"));
  }

  #remember(session: string, attempt: number): void {
    this.#newestAttempts.delete(session);
    this.#newestAttempts.set(session, attempt);
    const [oldest] = this.#newestAttempts.keys();
    if (this.#newestAttempts.size > mostRemembered) this.#newestAttempts.delete(oldest!);
  }

  #lane(door: number, message: LaneAsked): void {
    const { conn, peer, session, laneToken } = message;
    const key = `${door}:${conn}`;
    try {
      // A peer that may not have the session must not learn whether it exists.
      const lane = this.#sessions.get(session)?.grantLane(laneToken, peer ?? "insecure");
      if (lane === undefined) throw laneRefused();
      if (this.#lanes.ofSession(session) >= limits.lanes) {
        throw new MigrateError("limit", `a session has at most ${limits.lanes} lanes`, {
          side: "destination",
        });
      }
      const source = sourceOf(peer ?? "insecure", message.remote);
      switch (this.#lanes.place(key, source, { door, message })) {
        case "later":
          return;
        case "never":
          throw new MigrateError("limit", "this source has too many lanes", { side: "destination" });
      }
      if (this.#lanes.isEmpty) this.#options.receiving?.(true);
      this.#lanes.open(key, session, source);
      this.#doors!.post(door, { kind: "open-lane", conn, lane });
    } catch (thrown) {
      this.#doors!.post(door, { kind: "send", conn, bytes: encodeError(thrown) });
      this.#doors!.post(door, { kind: "finish", conn });
    }
  }

  /** One lane less: another one may have waited for its place. */
  #laneClosed(): void {
    const next = this.#lanes.next();
    if (next !== undefined) this.#lane(next.door, next.message);
    if (this.#lanes.isEmpty) this.#options.receiving?.(false);
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
