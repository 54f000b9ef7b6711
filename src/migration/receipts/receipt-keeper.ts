/**
 * This host's receipts: it signs its own words of the handover, and makes sure of those of its peers (SPEC.md, Receipts).
 *
 * Whatever is signed has a generation of its own. It is recorded first and told to the witness then, both before it is
 * said; so a witness that is ahead of the journal shows that the journal is not the one that it was.
 */
import type { Identity } from "../../channel/identity.ts";
import { asMigrateError, MigrateError, type Side } from "../../protocol/errors.ts";
import type { Generations } from "../../protocol/messages.ts";
import { type Receipt, type ReceiptKind, receiptSides, type Statement } from "../../protocol/receipt.ts";
import type { Journal, SessionRecord } from "../journal/journal.ts";
import type { StoredReceipt } from "../journal/receipt-table.ts";
import { OwnWitness, type WitnessOptions } from "./own-witness.ts";
import { behindPeer, fellSilent, peerBehind } from "./rolled-back.ts";
import { onTheWire, requireSigned, signed, wrong } from "./signature.ts";

/** In which states of a session its words are true. */
const trueIn: Readonly<Record<ReceiptKind, readonly SessionRecord["state"][]>> = {
  ready: ["ready"],
  release: ["released"],
  owned: ["owner", "closed"],
};
/** What each word answers. */
const answers = { ready: null, release: "ready", owned: "release" } as const;

/** What a peer has said: how far it has seen this host and, once it has heard how far that has seen it, how far it is. */
export interface Heard {
  seen: number;
  generation?: number | undefined;
}

export interface ReceiptKeeperOptions extends WitnessOptions {
  identity: Identity;
}

export class ReceiptKeeper {
  readonly #journal: Journal;
  readonly #identity: Identity;
  readonly #witness: OwnWitness;

  constructor({ identity, ...rest }: ReceiptKeeperOptions) {
    this.#journal = rest.journal;
    this.#identity = identity;
    this.#witness = new OwnWitness(rest);
  }

  /** Null where there is nobody to sign as: on an insecure link. */
  static of(options: Omit<ReceiptKeeperOptions, "identity"> & { identity: Identity | null }) {
    const { identity } = options;
    return identity === null ? null : new ReceiptKeeper({ ...options, identity });
  }

  /** What this host's person is to know as it begins: that its journal is older than its witness; null if it is not. */
  async warning(side: Side): Promise<string | null> {
    const behind = await this.#witness.require(side).then(() => null, asMigrateError);
    return behind && [behind.message, ...(behind.hint === undefined ? [] : [behind.hint])].join(". ");
  }

  /** How far this host is, and how far it knows this peer to be; 0 of one that it does not know. */
  generations(peer: string | null): Generations {
    const { receipts } = this.#journal;
    const seen = peer === null ? 0 : (receipts.peer(peer)?.generation ?? 0);
    return { generation: receipts.own().generation, seen };
  }

  /**
   * The receipt for this host's word on a session: the one that it has given before, or a new one, which is durable once
   * this returns. Throws MigrateError "in-doubt" where the session's record does not say so (any more), or the journal
   * is older than its witness; and what the journal, the home and the witness throw.
   */
  async give(kind: ReceiptKind, session: string, verdict?: string): Promise<Receipt> {
    const { receipts } = this.#journal;
    await this.#witness.next(receiptSides[kind], (witnesses) => {
      if (this.#given(kind, this.#trueRecord(kind, session)) !== null) return null;
      return this.#journal.write(`receipt-${kind}`, () => {
        // Another process may have settled the session while this one waited for the journal.
        const { digest, mode, peer } = this.#trueRecord(kind, session);
        const answered = answers[kind] && receipts.find(session, answers[kind]);
        const seen = answered?.generation ?? this.generations(peer).seen;
        const parties = { signer: this.#identity.fingerprint, other: peer };
        const generation = receipts.own().generation + 1;
        const said: Statement = {
          kind,
          session,
          mode,
          digest: digest!,
          ...parties,
          generation,
          seen,
          verdict,
        };
        receipts.put(signed(said, this.#identity));
        receipts.setOwn({ generation, ...witnesses });
        return true;
      });
    });
    return onTheWire(this.#given(kind, this.#trueRecord(kind, session))!);
  }

  /** As `OwnWitness.catchUp`. */
  async catchUp(): Promise<void> {
    await this.#witness.catchUp();
  }

  /** Signs that this host owns the VM of a session in which receipts are given, if it has not yet. Throws as `give`. */
  async signOwned(session: string): Promise<void> {
    if (this.#journal.receipts.owesOwned(session)) await this.give("owned", session);
  }

  /**
   * A peer's receipt for its word on a session, with all that it says. Throws MigrateError "integrity" if there is none,
   * it is not the peer's, or it is about something else.
   */
  check(kind: ReceiptKind, record: SessionRecord, receipt: Receipt | undefined): StoredReceipt {
    const side = receiptSides[kind];
    if (receipt === undefined) {
      throw new MigrateError("integrity", `the ${side} said ${kind.toUpperCase()} without a receipt for it`, {
        side,
        hint: "nothing was done on it; see which version of migrate runs there",
      });
    }
    const { session, mode, digest, peer: signer } = record;
    if (digest === null) throw wrong({ kind }, "is about a VM that was not sealed", side);
    const checked = { kind, session, mode, digest, signer, other: this.#identity.fingerprint, ...receipt };
    requireGood(checked, this.#journal);
    return checked;
  }

  /**
   * Before a move begins, or goes on to its seal and handover. This host is the `side`; `theirs` is what the peer has said
   * on this connection of itself and of this host; `saw` what this host had seen of it when it said so. Throws
   * MigrateError "in-doubt" if either side shows less than it was, and "policy" if a peer that gave receipts does not
   * any more.
   */
  async requireInStep(side: Side, peer: string, theirs: Heard | undefined, saw: number): Promise<void> {
    await this.#witness.require(side);
    const { receipts } = this.#journal;
    if (theirs === undefined) {
      if (receipts.peer(peer) !== null) throw fellSilent(side, peer);
      return;
    }
    const behind = this.behind(side, peer, theirs.seen);
    if (behind !== null) throw behind;
    if (theirs.generation !== undefined && theirs.generation < saw)
      throw peerBehind(side, peer, theirs.generation, saw);
  }

  /**
   * What is wrong where a peer has `seen` more of this host, which is the `side`, than its journal knows, and durably so
   * from then on; null if it has not.
   */
  behind(side: Side, peer: string, seen: number): MigrateError | null {
    const { receipts } = this.#journal;
    const { generation } = receipts.own();
    if (seen <= generation) return null;
    if ((receipts.peer(peer)?.claimed ?? 0) < seen) {
      this.#journal.write("claimed", () => receipts.noteClaim(peer, seen));
    }
    return behindPeer(side, { generation, claimed: seen }, this.#journal.open());
  }

  /** This host's receipt for its word on a session as it is now; null if there is none yet. */
  #given(kind: ReceiptKind, { session, digest }: SessionRecord): StoredReceipt | null {
    const found = this.#journal.receipts.find(session, kind);
    return found?.signer === this.#identity.fingerprint && found.digest === digest ? found : null;
  }

  #trueRecord(kind: ReceiptKind, session: string): SessionRecord {
    const record = this.#journal.find(session);
    if (record?.digest && record.mode === "move" && trueIn[kind].includes(record.state)) return record;
    const state = record?.state ?? "unknown";
    throw new MigrateError("in-doubt", `the session is ${state} here, and nothing else is signed of it`, {
      side: receiptSides[kind],
      hint: "look at it with migrate status, and run the command again if it still fits",
    });
  }
}

/**
 * Throws MigrateError "integrity" unless a peer's receipt is signed by it and, if it is for RELEASE, for the last READY
 * that this host said of the session.
 */
export function requireGood(receipt: StoredReceipt, journal: Journal): void {
  requireSigned(receipt);
  const { kind, session, seen } = receipt;
  const ready = kind === "release" ? journal.receipts.find(session, "ready") : null;
  if (ready === null || ready.generation === seen) return;
  throw wrong(receipt, "is for an earlier READY than the last one", "source");
}
