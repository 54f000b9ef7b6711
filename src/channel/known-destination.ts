/**
 * How a source comes to a control connection with a destination that it has reason to trust: the pin that
 * it remembers or that a ticket brings, and the pairing of two hosts that have not met (SPEC.md, Pairing).
 *
 * An address with a pin of its own is answered by that host or by none. One without is answered by any destination that
 * this host trusts, whatever the address that it is known by: who it is, is said before anything else is done.
 */
import { MigrateError } from "../protocol/errors.ts";
import { deadlines } from "../protocol/limits.ts";
import type { Generations } from "../protocol/messages.ts";
import { printable } from "../protocol/printable.ts";
import { type Address, addressText } from "./address.ts";
import { call, calleeOf, type Welcome } from "./call.ts";
import { ControlLink, type HeartbeatTiming } from "./control-link.ts";
import { DeliveryWatch } from "./delivery-watch.ts";
import type { FrameHandler, FrameSocket } from "./frame-socket.ts";
import type { Identity } from "./identity.ts";
import type { Ticket } from "./ticket.ts";
import { TrustFile } from "./trust.ts";
import { dayBefore, lastDayOf } from "./trusted/trust-terms.ts";

/** No Date is later (ECMA-262, section 21.4.1.1); in milliseconds. */
const mostDateMs = 8.64e15;

/** For how much of a silence nothing of what is said may arrive. */
const deliveryPart = 3 / 4;

export interface SourceLinkOptions {
  home: string;
  address: Address;
  /** Null for an insecure link. */
  identity: Identity | null;
  ticket?: Ticket | undefined;
  /** The fingerprint that this session has spoken to before, if it has. */
  knownPeer?: string | undefined;
  session?: { id: string; attempt: number } | undefined;
  timing?: HeartbeatTiming | undefined;
  /** How far this host has seen the one of this fingerprint (SPEC.md, Receipts); absent if it gives no receipts here. */
  sawOf?: ((fingerprint: string) => number) | undefined;
  /** Says which host it is that has answered at an address which this host does not know. */
  notice?: ((message: string) => void) | undefined;
}

export interface SourceLink {
  link: ControlLink;
  socket: FrameSocket;
  /** The destination's fingerprint, or "insecure". */
  peer: string;
  /** True if the ticket was used up just now. */
  paired: boolean;
  /** What the destination says that it is: "migrate 0.2.0", as printable text. */
  software: string;
  /** True if it answers ASK. */
  asks: boolean;
  /** True if it proves what it runs, and if it demands the same (SPEC.md, Attestation). */
  attests: boolean;
  demands: boolean;
  /** What a proof is bound to: keying material of this connection; empty on an insecure link. */
  exporter: Buffer;
  /** How far it is, and has seen this host; undefined if it gives no receipts. */
  receipts: Generations | undefined;
  /** How far this host had seen it when it asked. */
  saw: number;
  /** True if it keeps to a VM's own policy. */
  policies: boolean;
}

/**
 * Opens a control connection. Throws MigrateError: what `call` throws; "wrong-identity" if another host
 * answers than the one that is known or that made the ticket; "not-trusted" if there is neither a pin nor a
 * ticket, or the destination takes no VMs from this host; "ticket-…" if it does not take the ticket.
 */
export async function openSourceLink(options: SourceLinkOptions): Promise<SourceLink> {
  const { address, identity, ticket, home, session } = options;
  const place = addressText(address);
  const trust = identity && TrustFile.load(home);
  const pinned =
    ticket?.destinationFingerprint ?? options.knownPeer ?? trust?.knownDestination(place) ?? null;
  const known = pinned === null && trust !== null ? trust.destinations() : new Map<string, string>();
  if (identity !== null && pinned === null && known.size === 0) throw unknownPlace(place);
  let saw = 0;
  // Of who has answered, by whatever address; and before it says how far it is, which may grow meanwhile.
  const gives = (peer: string | null) => {
    saw = (peer !== null && options.sawOf?.(peer)) || 0;
    return options.sawOf === undefined ? {} : { receipts: { seen: saw } };
  };
  const end = (fingerprint: string) => expiryOf(trust, fingerprint);
  // A session that is under way runs to its end, and a ticket is newer than the line.
  const isNew = ticket === undefined && options.knownPeer === undefined;
  const over = isNew && pinned !== null ? end(pinned) : null;
  if (over !== null) throw expired(place, over);
  const opened = Promise.withResolvers<{ link: ControlLink; socket: FrameSocket; welcome: Welcome }>();
  await call(calleeOf(address, identity, pinned ?? ""), "control", {
    hello: (peer) => ({
      ...(session ? { session: session.id, attempt: session.attempt } : {}),
      ...gives(peer),
    }),
    welcomed: (socket, welcome) => {
      const { link, handler } = controlOver(socket, options.timing);
      opened.resolve({ link, socket, welcome });
      return handler;
    },
    mayAnswer: (fingerprint) => known.has(fingerprint),
    wrongPeer: (fingerprint) =>
      pinned === null
        ? unknownOrExpired(place, fingerprint, end(fingerprint))
        : wrongIdentity(place, fingerprint, ticket !== undefined),
  });
  const { link, socket, welcome } = await opened.promise;
  const { trusted, expiredAtMs, asks = false, attests = false, demands = false } = welcome;
  const { policies = false } = welcome;
  let { receipts } = welcome;
  try {
    const name = known.get(socket.peer ?? "");
    if (name !== undefined) options.notice?.(`${place} is ${name}, by its fingerprint ${socket.peer}`);
    if (!trusted) {
      if (ticket === undefined || identity === null) {
        const since =
          expiredAtMs === undefined ? "" : ` any more: its trust expired on ${dayOf(expiredAtMs)}`;
        throw notTrusted("destination", `${place} does not take VMs from this host${since}`);
      }
      receipts = await pair(link, socket, ticket, identity);
    }
    const isKnown = trust?.knownDestination(place) === socket.peer && end(socket.peer ?? "") === null;
    if (trust && ticket && socket.peer !== null && !isKnown) {
      await trust.add(socket.peer, "destination", place, `paired ${new Date().toISOString()}`);
    }
    return {
      link,
      socket,
      peer: socket.peer ?? "insecure",
      paired: !trusted,
      software: printable(welcome.software, " "),
      asks,
      attests,
      demands,
      exporter: socket.exporter(),
      receipts: options.sawOf && receipts,
      saw,
      policies,
    };
  } catch (thrown) {
    link.finish();
    throw thrown;
  }
}

/** Shows the ticket: a proof that holds on this very connection, never its secret. Returns what PAIRED says of receipts. */
async function pair(
  link: ControlLink,
  socket: FrameSocket,
  ticket: Ticket,
  identity: Identity,
): Promise<Generations | undefined> {
  link.answerMs = deadlines.helloMs;
  link.send("pair", {
    ticket: ticket.id.toString("hex"),
    proof: ticket.prove(socket.exporter(), identity.fingerprint).toString("hex"),
  });
  try {
    const { body } = await link.expect("paired");
    link.answerMs = undefined;
    return body.receipts;
  } catch (thrown) {
    throw withWayOut(thrown);
  }
}

/** The destination's own advice does not travel: errors of a peer are a code and a sentence. */
function withWayOut(thrown: unknown): unknown {
  if (!(thrown instanceof MigrateError) || !thrown.code.startsWith("ticket-")) return thrown;
  return new MigrateError(thrown.code, thrown.message, {
    side: "destination",
    hint: "run migrate ticket there: it prints a line with a new ticket, which pairs one source, once, and for as long as its --ttl says. Hosts that are paired need none",
    cause: thrown,
  });
}

/** The messages and the heartbeat of a control connection, over its socket. */
function controlOver(
  socket: FrameSocket,
  timing: HeartbeatTiming = deadlines,
): { link: ControlLink; handler: FrameHandler } {
  socket.holdBack();
  const link = new ControlLink(
    {
      send: (frame) => void socket.send(frame)?.catch(() => {}),
      finish: () => socket.finish(),
      destroy: () => socket.destroy(),
      lastReceivedMs: () => socket.lastReceivedMs,
      // A destination that hears nothing of us for a silence closes: before that, it is known here why.
      delivery: new DeliveryWatch(socket, { limitMs: timing.silenceMs * deliveryPart, waitsForRoom: true }),
    },
    "destination",
    timing,
  );
  const handler: FrameHandler = {
    frame: (name, payload) => {
      try {
        link.deliver(name, payload);
      } catch (thrown) {
        link.fail(thrown);
      }
    },
    closed: (error) => link.lost(error),
  };
  return { link, handler };
}

function notTrusted(side: "source" | "destination", message: string): MigrateError {
  return new MigrateError("not-trusted", message, {
    side,
    hint: "run `migrate ticket` there, or `migrate serve` if it does not run, and paste the line that it prints with its ticket",
  });
}

/** Of an address without a pin; `fingerprint` is that of the host which has answered there, if one was asked. */
function unknownPlace(place: string, fingerprint?: string): MigrateError {
  return notTrusted(
    "source",
    fingerprint === undefined
      ? `${place} is not a destination that this host knows`
      : `${place} is not a destination that this host knows: it shows ${fingerprint}`,
  );
}

/** The last day on which a destination was trusted that is not any more; null of any other. */
function expiryOf(trust: TrustFile | null, fingerprint: string): string | null {
  if (trust?.standing(fingerprint, "destination") !== "expired") return null;
  return lastDayOf(trust.terms(fingerprint, "destination")!);
}

function unknownOrExpired(place: string, fingerprint: string, day: string | null): MigrateError {
  return day === null ? unknownPlace(place, fingerprint) : expired(place, day);
}

function expired(place: string, day: string): MigrateError {
  return new MigrateError("not-trusted", `this host's trust in ${place} expired on ${day}`, {
    side: "source",
    hint: "if it is still the right one, migrate trust add it again, with another --expires or with none",
  });
}

/** Of a time that a destination told, which may be any. */
function dayOf(expiredAtMs: number): string {
  return expiredAtMs <= mostDateMs ? dayBefore(expiredAtMs) : "some day";
}

function wrongIdentity(place: string, fingerprint: string, byTicket: boolean): MigrateError {
  return new MigrateError(
    "wrong-identity",
    byTicket
      ? `${place} is not the host that made this ticket: it shows ${fingerprint}`
      : `${place} shows another identity than it used to: ${fingerprint}`,
    {
      side: "source",
      hint: "somebody may be in between, or the host was set up anew; compare with `migrate id` there, then use a ticket of its own or `migrate trust remove`",
    },
  );
}
