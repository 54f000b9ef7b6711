/**
 * Receipts on one connection: what is due there by what its two sides said in HELLO and WELCOME (SPEC.md, Receipts).
 * On an insecure connection, and of a copy, nothing is due.
 */
import type { Side } from "../../protocol/errors.ts";
import type { MessageBody } from "../../protocol/messages.ts";
import type { Offer } from "../../protocol/offer.ts";
import type { Receipt, ReceiptKind } from "../../protocol/receipt.ts";
import type { Journal, SessionRecord } from "../journal/journal.ts";
import type { StoredReceipt } from "../journal/receipt-table.ts";
import type { DestinationRequest } from "../ownership/destination-machine.ts";
import type { Heard, ReceiptKeeper } from "./receipt-keeper.ts";

export interface LinkReceiptsOptions {
  /** Null on an insecure connection. */
  keeper: ReceiptKeeper | null | undefined;
  journal: Journal;
  /** Which of the two this host is. */
  side: Side;
  peer: string;
  /** What the peer has said of itself and of this host; undefined if it gives no receipts. */
  theirs: Heard | undefined;
  /** How far this host had seen the peer when it said so on this connection. */
  saw: number;
}

export class LinkReceipts {
  readonly #options: LinkReceiptsOptions;

  constructor(options: LinkReceiptsOptions) {
    this.#options = options;
  }

  /** What goes with this host's word on a session; `verdict` as in a receipt. Throws as `ReceiptKeeper.give`. */
  async give(kind: ReceiptKind, session: string, verdict?: string): Promise<{ receipt?: Receipt }> {
    const { keeper, journal, theirs } = this.#options;
    if (!keeper || theirs === undefined || journal.find(session)?.mode !== "move") return {};
    return { receipt: await keeper.give(kind, session, verdict) };
  }

  /**
   * The receipt that came with the peer's word, to be kept before anything is done on that; null where none is due.
   * Throws MigrateError "integrity" as `ReceiptKeeper.check`.
   */
  came(kind: ReceiptKind, record: SessionRecord, receipt: Receipt | undefined): StoredReceipt | null {
    const { keeper, journal, theirs } = this.#options;
    if (!keeper || record.mode !== "move") return null;
    // A session that began with receipts ends with them, and so does what is said without having been asked for.
    const isDue = theirs !== undefined || journal.receipts.find(record.session, "ready") !== null;
    return isDue || receipt !== undefined ? keeper.check(kind, record, receipt) : null;
  }

  /** Warns this host's person if the peer has seen more of it than its journal knows, whatever the peer does then. */
  warnIfBehind(warn: (message: string) => void): void {
    const { keeper, side, peer, theirs } = this.#options;
    const behind = keeper?.behind(side, peer, theirs?.seen ?? 0) ?? null;
    if (behind !== null) warn(`${behind.message}. ${behind.hint}`);
  }

  /** As `ReceiptKeeper.requireInStep`; `generation` is what the peer has said since then. */
  async requireInStep(generation = this.#options.theirs?.generation): Promise<void> {
    const { keeper, side, peer, theirs, saw } = this.#options;
    await keeper?.requireInStep(side, peer, theirs && { seen: theirs.seen, generation }, saw);
  }

  /**
   * At the destination, before a request of a move is looked at: both sides are as far as they were, and RELEASE has its
   * receipt, which is durable once this returns. Throws MigrateError as `requireInStep` and `came`.
   */
  async admit(request: DestinationRequest, record: SessionRecord | null, body: unknown): Promise<void> {
    if (this.#options.keeper == null) return;
    const mode = record?.mode ?? (request === "offer" ? (body as Offer).mode : "copy");
    if (mode !== "move" || !["offer", "seal", "release"].includes(request)) return;
    await this.requireInStep(request === "offer" ? ((body as Offer).generation ?? 0) : undefined);
    // In any other state nothing is done on it.
    if (request !== "release" || record?.state !== "ready") return;
    const { receipt } = body as MessageBody<"release">;
    const release = this.came("release", record, receipt);
    if (release !== null) {
      const { journal } = this.#options;
      journal.write("given-release", () => journal.receipts.take(release));
    }
  }
}
