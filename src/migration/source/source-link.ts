/**
 * How a source comes to a control connection with a destination that it has reason to trust: dial,
 * pin, HELLO, and the ticket where the two have not met.
 */
import { ControlLink, type HeartbeatTiming } from "../../channel/control-link.ts";
import { dial } from "../../channel/dial.ts";
import type { FrameSocket } from "../../channel/frame-socket.ts";
import type { Identity } from "../../channel/identity.ts";
import type { Ticket } from "../../channel/ticket.ts";
import { TrustFile } from "../../channel/trust.ts";
import { MigrateError } from "../../protocol/errors.ts";
import { deadlines, limits } from "../../protocol/limits.ts";
import { software } from "../../protocol/software.ts";

export interface Address {
  host: string;
  port: number;
}

export interface SourceLinkOptions {
  home: string;
  address: Address;
  /** Null for an insecure link. */
  identity: Identity | null;
  ticket?: Ticket | undefined;
  /** The fingerprint that this session has spoken to before, where it has. */
  knownPeer?: string | undefined;
  session?: { id: string; attempt: number } | undefined;
  timing?: HeartbeatTiming | undefined;
}

export interface SourceLink {
  link: ControlLink;
  socket: FrameSocket;
  /** The destination's fingerprint, or "insecure". */
  peer: string;
  /** True where the ticket was used up just now. */
  paired: boolean;
}

/** host:port as a person writes it; IPv6 in brackets. */
export function addressText({ host, port }: Address): string {
  return host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
}

/**
 * Connects. Throws MigrateError: "network" where nobody answers, "wrong-identity" where another host
 * does, "not-trusted" where there is neither a pin nor a ticket, "ticket-…" where the destination
 * does not take the ticket.
 */
export async function openSourceLink(options: SourceLinkOptions): Promise<SourceLink> {
  const { address, identity, ticket, home } = options;
  const place = addressText(address);
  const trust = identity ? TrustFile.load(home) : null;
  const pinned =
    ticket?.destinationFingerprint ?? options.knownPeer ?? trust?.knownDestination(place) ?? undefined;
  if (identity && pinned === undefined) {
    throw new MigrateError("not-trusted", `${place} is not a destination that this host knows`, {
      side: "source",
      hint: "run `migrate serve` there and paste the line it prints; it carries a ticket",
    });
  }
  const socket = await dial({
    ...address,
    credentials: identity ?? undefined,
    standing: "control",
    checkPeer: (fingerprint) =>
      fingerprint === pinned ? null : wrongIdentity(place, fingerprint, ticket !== undefined),
  });
  socket.holdBack();
  const link = new ControlLink(
    {
      send: (frame) => void socket.send(frame)?.catch(() => {}),
      finish: () => socket.finish(),
      destroy: () => socket.destroy(),
    },
    "destination",
    options.timing,
  );
  socket.handler = {
    frame: (name, payload) => {
      try {
        link.deliver(name, payload);
      } catch (thrown) {
        link.fail(thrown);
      }
    },
    closed: (error) => link.lost(error),
  };
  const late = setTimeout(() => {
    link.destroy(new MigrateError("network", `${place} accepted the connection and says nothing`));
  }, deadlines.helloMs);
  try {
    link.send("hello", {
      version: limits.version,
      role: "control",
      software,
      ...(options.session ? { session: options.session.id, attempt: options.session.attempt } : {}),
    });
    const welcome = await link.expect("welcome").catch((thrown) => {
      throw identity === null ? silentOnPlainTcp(place, thrown) : thrown;
    });
    let paired = false;
    if (!welcome.body.trusted) {
      if (ticket === undefined || identity === null) {
        throw new MigrateError("not-trusted", `${place} does not take VMs from this host`, {
          side: "destination",
          hint: "run `migrate serve` there and paste the line it prints; it carries a ticket",
        });
      }
      link.send("pair", {
        ticket: ticket.id.toString("hex"),
        proof: ticket.prove(socket.exporter(), identity.fingerprint).toString("hex"),
      });
      await link.expect("paired");
      paired = true;
    }
    if (trust && ticket && socket.peer !== null && trust.knownDestination(place) !== socket.peer) {
      await trust.add(socket.peer, "destination", place, `paired ${new Date().toISOString()}`);
    }
    return { link, socket, peer: socket.peer ?? "insecure", paired };
  } catch (thrown) {
    link.finish();
    throw thrown;
  } finally {
    clearTimeout(late);
  }
}

/** A TLS server that hears plain bytes often just hangs up. */
function silentOnPlainTcp(place: string, thrown: unknown): unknown {
  if (!(thrown instanceof MigrateError) || thrown.code !== "network") return thrown;
  return new MigrateError("network", `${place} closed the connection before it said a word`, {
    cause: thrown,
    hint: "does it serve without --insecure? Then this host must send without it, too",
  });
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

/** The reverse of `addressText`, for what this program wrote itself. */
export function parseAddressText(text: string): Address {
  const at = text.lastIndexOf(":");
  return { host: text.slice(0, at).replace(/^\[|\]$/g, ""), port: Number(text.slice(at + 1)) };
}
