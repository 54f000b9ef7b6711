/**
 * The tickets that this destination has issued, in its memory alone: a ticket does not outlive the
 * process that printed it.
 *
 * A ticket lets in one source, once, for a time. The time runs on a monotonic clock, so that a wall
 * clock set back does not prolong it. A book belongs to one thread; redeem is synchronous, so of two
 * sources that come with one ticket at once exactly one gets in.
 */
import { randomBytes as systemRandomBytes } from "node:crypto";
import { MigrateError } from "../protocol/errors.ts";
import { exporterBytes, makeTicket, type Ticket, ticketIdBytes } from "./ticket.ts";

/** Wrong proofs that burn a ticket. Its id travels only to the pinned destination, so a stranger cannot burn it. */
export const wrongProofsMax = 5;
/** Tickets remembered, open or not; the oldest is forgotten first, and is then unknown. */
export const ticketsMax = 1024;

export interface TicketBookOptions {
  /** Milliseconds on a clock that never goes back, such as performance.now. */
  monotonicMs: () => number;
  randomBytes?: (count: number) => Uint8Array;
}

interface Entry {
  ticket: Ticket;
  expiresAtMs: number;
  wrongProofs: number;
  used: boolean;
}

export class TicketBook {
  readonly #entries = new Map<string, Entry>();
  readonly #fingerprint: string;
  readonly #monotonicMs: () => number;
  readonly #randomBytes: (count: number) => Uint8Array;

  /** A book for the destination with this canonical fingerprint. */
  constructor(fingerprint: string, { monotonicMs, randomBytes = systemRandomBytes }: TicketBookOptions) {
    this.#fingerprint = fingerprint;
    this.#monotonicMs = monotonicMs;
    this.#randomBytes = randomBytes;
  }

  /** A new ticket that is good for ttlMs (more than 0) from now. */
  issue(ttlMs: number): Ticket {
    if (!(ttlMs > 0)) throw new MigrateError("bug", "A ticket was issued for no time at all.");
    const ticket = makeTicket(this.#fingerprint, this.#randomBytes);
    const expiresAtMs = this.#monotonicMs() + ttlMs;
    this.#entries.set(keyOf(ticket.id), { ticket, expiresAtMs, wrongProofs: 0, used: false });
    const [oldest] = this.#entries.keys();
    if (this.#entries.size > ticketsMax && oldest !== undefined) this.#entries.delete(oldest);
    return ticket;
  }

  /**
   * Takes the ticket if the proof is right for this connection and this source; returns, and the
   * ticket is used. Everything but sourceFingerprint may be what a hostile peer sent.
   *
   * Throws MigrateError "ticket-used", "ticket-expired", or "ticket-invalid" for one that is unknown,
   * wrongly proven or burned by wrongProofsMax wrong proofs.
   */
  redeem(ticketId: Uint8Array, proof: Uint8Array, exporter: Uint8Array, sourceFingerprint: string): void {
    const wellFormed = ticketId.length === ticketIdBytes && exporter.length === exporterBytes;
    const entry = wellFormed ? this.#entries.get(keyOf(ticketId)) : undefined;
    if (entry === undefined) {
      throw refused("ticket-invalid", "The destination does not know this ticket.");
    }
    if (entry.used) throw refused("ticket-used", "The ticket has been used already; it works once.");
    if (this.#monotonicMs() >= entry.expiresAtMs) {
      throw refused("ticket-expired", "The ticket has expired.");
    }
    if (entry.wrongProofs >= wrongProofsMax) {
      throw refused("ticket-invalid", "The ticket was withdrawn after too many wrong proofs.");
    }
    if (!entry.ticket.check(proof, exporter, sourceFingerprint)) {
      entry.wrongProofs += 1;
      throw refused("ticket-invalid", "The proof of the ticket is wrong for this connection.");
    }
    entry.used = true;
  }
}

function keyOf(ticketId: Uint8Array): string {
  return Buffer.from(ticketId).toString("hex");
}

function refused(code: "ticket-invalid" | "ticket-used" | "ticket-expired", message: string): MigrateError {
  return new MigrateError(code, message, {
    side: "destination",
    hint: "Take a new ticket there: migrate ticket makes one.",
  });
}
