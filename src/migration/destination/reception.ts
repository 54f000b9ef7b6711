/** How the destination receives a connection: as a peer that it knows, by a ticket, or not at all. */
import type { ControlLink } from "../../channel/control-link.ts";
import { Strangers } from "../../channel/strangers.ts";
import type { TicketBook } from "../../channel/ticket-book.ts";
import type { TrustFile } from "../../channel/trust.ts";
import { dayBefore, endOf } from "../../channel/trusted/trust-terms.ts";
import { asMigrateError, MigrateError } from "../../protocol/errors.ts";
import { deadlines, limits } from "../../protocol/limits.ts";
import type { Generations } from "../../protocol/messages.ts";
import { software } from "../../protocol/software.ts";
import type { FromDoor } from "../../transfer/doors/door-messages.ts";
import type { Journal } from "../journal/journal.ts";
import type { Observer } from "../report/events.ts";
import { type Attesting, isDemanded } from "./peers/destination-gate.ts";

/** How many connections may be open and not yet trusted, over all doors. */
const mostStrangers = 256;

export interface ReceptionOptions {
  insecure: boolean;
  tickets: TicketBook;
  trust: () => TrustFile;
  attesting?: Attesting | undefined;
  journal: Journal;
  observe: Observer;
  now: () => number;
}

export class Reception {
  readonly #options: ReceptionOptions;
  readonly #strangers = new Strangers<ControlLink>(mostStrangers, deadlines.helloMs, (link, why) =>
    link.fail(
      why === "late"
        ? new MigrateError("not-trusted", "no ticket was shown in time")
        : new MigrateError("busy", "too many connections at once"),
    ),
  );

  constructor(options: ReceptionOptions) {
    this.#options = options;
  }

  /**
   * Sends WELCOME, and admits the peer, which is told `receipts`; `admit` is called before the peer is told. Returns the peer's
   * fingerprint, or "insecure". Throws MigrateError "not-trusted" or "ticket-…".
   */
  async welcome(
    link: ControlLink,
    opened: Extract<FromDoor, { kind: "control" }>,
    admit: () => void,
    receipts?: Generations,
  ): Promise<string> {
    const { insecure, tickets, observe } = this.#options;
    const peer = opened.peer;
    const says = {
      version: limits.version,
      software,
      asks: true,
      policies: true,
      ...(await this.#proofs(peer, opened.session)),
    };
    const standing = await this.#standing(peer);
    // What is under way runs to its end, after a cut as well; with it no source begins another session.
    const isUnderWay = standing.is === "expired" && this.#isOpen(opened.session, peer);
    if (insecure || standing.is === "trusted" || isUnderWay) {
      admit();
      link.send("welcome", { ...says, trusted: true, receipts });
      return peer ?? "insecure";
    }
    if (peer === null) throw new MigrateError("not-trusted", "the source showed no certificate");
    this.#strangers.add(link, opened.remote);
    try {
      const { expiredAtMs } = standing;
      if (expiredAtMs !== undefined) {
        const message = `${opened.remote}: the trust in ${peer} expired on ${dayBefore(expiredAtMs)}`;
        observe({ event: "warning", message });
      }
      const expiry = expiredAtMs === undefined ? {} : { expiredAtMs };
      link.send("welcome", { ...says, trusted: false, ...expiry });
      const { body } = await link.expect("pair");
      tickets.redeem(
        Buffer.from(body.ticket, "hex"),
        Buffer.from(body.proof, "hex"),
        Buffer.from(opened.exporter),
        peer,
      );
      const comment = `paired ${new Date(this.#options.now()).toISOString()}`;
      await this.#trust((file) => file.add(peer, "source", opened.remote, comment));
      admit();
      link.send("paired", { receipts });
      observe({ event: "paired", peer });
      return peer;
    } finally {
      this.#strangers.drop(link);
    }
  }

  /** What is said of proofs: only where there are any. */
  async #proofs(
    peer: string | null,
    session: string | null,
  ): Promise<{ attests?: boolean; demands?: boolean }> {
    const { attesting, insecure, journal } = this.#options;
    const isDemanding =
      !insecure &&
      (await this.#trust((trust) => isDemanded(peer, session, { attesting, journal, trust: () => trust })));
    return {
      ...(attesting?.proves === true && !insecure ? { attests: true } : {}),
      ...(isDemanding ? { demands: true } : {}),
    };
  }

  async #standing(
    peer: string | null,
  ): Promise<{ is: "trusted" | "expired" | "unknown"; expiredAtMs?: number }> {
    if (this.#options.insecure || peer === null) return { is: "unknown" };
    return await this.#trust((file) => {
      const is = file.standing(peer, "source");
      const { expires } = file.terms(peer, "source") ?? {};
      return is === "expired" ? { is, expiredAtMs: endOf(expires!)! } : { is };
    });
  }

  /** Whether this session is open here, and this source's. */
  #isOpen(session: string | null, peer: string | null): boolean {
    const record = session === null ? null : this.#options.journal.find(session);
    return record?.side === "destination" && record.peer === peer && record.endedAtMs === null;
  }

  /** The addresses from which trusted sources have come: they keep places for those that pair anew from there. */
  know(addresses: readonly string[]): void {
    this.#strangers.know(addresses);
  }

  /** Reads or changes the trust file. What is wrong with it is reported on this host only. */
  async #trust<T>(ask: (file: TrustFile) => T | Promise<T>): Promise<T> {
    try {
      return await ask(this.#options.trust());
    } catch (thrown) {
      this.#options.observe({ event: "warning", message: asMigrateError(thrown).message });
      throw new MigrateError("not-trusted", "the destination cannot tell whom it trusts", {
        side: "destination",
        cause: thrown,
      });
    }
  }
}
