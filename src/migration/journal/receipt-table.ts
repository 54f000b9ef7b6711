/**
 * The receipts of this host's sessions, its own and those that it was given, and how far the generations of this host
 * and of its peers have come (SPEC.md, Receipts).
 *
 * A receipt lives as long as its session's row: it goes with that row, and before that with the record that takes back
 * what it says (`Journal.step`). Of a session there is at most one of each kind.
 */
import type { Database } from "bun:sqlite";
import type { Receipt, ReceiptKind, Statement } from "../../protocol/receipt.ts";

/** A receipt with all that it says: enough to check it by itself. */
export type StoredReceipt = Statement & Pick<Receipt, "certificate" | "signature">;

/** How far this host has come. */
export interface OwnGeneration {
  generation: number;
  /** What the witness outside of the journal stood at after the last receipt. */
  witness: number;
  /** What this home's counter in the TPM stood at then; null if none was ever counted, 0 while its first count is under way. */
  tpm: number | null;
}

/** What this host knows of another one's generation, and that one says to know of this host's. */
export interface PeerGeneration {
  /** The highest one that the peer has shown in a receipt. */
  generation: number;
  /** The highest one that the peer has claimed to have seen of this host, where that was more than there had been. */
  claimed: number;
}

/** Idempotent. Only within a transaction. */
export function makeReceiptTables(db: Database): void {
  db.run(`CREATE TABLE IF NOT EXISTS receipts (session TEXT NOT NULL, kind TEXT NOT NULL, mode TEXT NOT NULL,
    digest TEXT NOT NULL, signer TEXT NOT NULL, other TEXT NOT NULL, generation INTEGER NOT NULL,
    seen INTEGER NOT NULL, verdict TEXT, certificate TEXT NOT NULL, signature TEXT NOT NULL,
    PRIMARY KEY (session, kind)) WITHOUT ROWID`);
  db.run(`CREATE TRIGGER IF NOT EXISTS receiptsGo AFTER DELETE ON sessions
    BEGIN DELETE FROM receipts WHERE session = OLD.session; END`);
  db.run(`CREATE TABLE IF NOT EXISTS peerGenerations (peer TEXT PRIMARY KEY, generation INTEGER NOT NULL,
    claimed INTEGER NOT NULL) WITHOUT ROWID`);
  db.run(`CREATE TABLE IF NOT EXISTS ownGeneration (one INTEGER PRIMARY KEY CHECK (one = 1),
    generation INTEGER NOT NULL, witness INTEGER NOT NULL, tpm INTEGER)`);
  const columns = db.query("SELECT name FROM pragma_table_info('ownGeneration')").all() as { name: string }[];
  if (!columns.some(({ name }) => name === "tpm")) db.run("ALTER TABLE ownGeneration ADD COLUMN tpm INTEGER");
}

export class ReceiptTable {
  readonly #db: Database;

  constructor(db: Database) {
    this.#db = db;
  }

  find(session: string, kind: ReceiptKind): StoredReceipt | null {
    const sql = "SELECT * FROM receipts WHERE session = $session AND kind = $kind";
    return fromRow(this.#db.query(sql).get({ session, kind } as never));
  }

  /** All receipts of a session, in the order of the handover. */
  of(session: string): StoredReceipt[] {
    const sql = `SELECT * FROM receipts WHERE session = $session
      ORDER BY CASE kind WHEN 'ready' THEN 1 WHEN 'release' THEN 2 ELSE 3 END`;
    return this.#db
      .query(sql)
      .all({ session } as never)
      .map((row) => fromRow(row)!);
  }

  /** True if this host has signed READY for a session, and not OWNED. */
  owesOwned(session: string): boolean {
    return this.find(session, "ready") !== null && this.find(session, "owned") === null;
  }

  /** Keeps a receipt, in the place of an older one of its kind. Only within `Journal.write`. */
  put(receipt: StoredReceipt): void {
    this.#db
      .query(
        `INSERT OR REPLACE INTO receipts VALUES ($session, $kind, $mode, $digest, $signer, $other, $generation,
           $seen, $verdict, $certificate, $signature)`,
      )
      .run({ ...receipt, verdict: receipt.verdict ?? null } as never);
  }

  /** Keeps a receipt of the peer's, and how far it shows the peer to be. Only within `Journal.write`. */
  take(receipt: StoredReceipt): void {
    this.put(receipt);
    this.#notePeer(receipt.signer, { generation: receipt.generation });
  }

  /**
   * What a session's receipts say holds no more: a step of this host's as well, so that a journal from before it is
   * recognised. Only within `Journal.write`.
   */
  drop(session: string): void {
    const { changes } = this.#db
      .query("DELETE FROM receipts WHERE session = $session")
      .run({ session } as never);
    if (changes === 0) return;
    const { generation, witness } = this.own();
    this.setOwn({ generation: generation + 1, witness: witness + 1 });
  }

  own(): OwnGeneration {
    const found = this.#db.query("SELECT generation, witness, tpm FROM ownGeneration").get();
    return (found as OwnGeneration | null) ?? { generation: 0, witness: 0, tpm: null };
  }

  /** Without `tpm` what is recorded of the TPM stays. Only within `Journal.write`. */
  setOwn({ generation, witness, tpm = null }: Omit<OwnGeneration, "tpm"> & Partial<OwnGeneration>): void {
    this.#db
      .query(
        `INSERT INTO ownGeneration VALUES (1, $generation, $witness, $tpm) ON CONFLICT (one) DO UPDATE
           SET generation = excluded.generation, witness = excluded.witness, tpm = coalesce(excluded.tpm, tpm)`,
      )
      .run({ generation, witness, tpm } as never);
  }

  /** Null of a peer that has never given a receipt. */
  peer(peer: string): PeerGeneration | null {
    const sql = "SELECT generation, claimed FROM peerGenerations WHERE peer = $peer";
    return this.#db.query(sql).get({ peer } as never) as PeerGeneration | null;
  }

  /** A peer says that this host has been further than it is. Only within `Journal.write`. */
  noteClaim(peer: string, claimed: number): void {
    this.#notePeer(peer, { claimed });
  }

  /** The highest generation that any peer has claimed to have seen of this host. */
  claimed(): number {
    const found = this.#db.query("SELECT max(claimed) AS most FROM peerGenerations").get();
    return (found as { most: number | null }).most ?? 0;
  }

  /** No claim is open any more. Only within `Journal.write`. */
  dropClaims(): void {
    this.#db.run("UPDATE peerGenerations SET claimed = 0");
  }

  /** Forgets how far a peer was; false if nothing was known. Only within `Journal.write`. */
  forgetPeer(peer: string): boolean {
    const { changes } = this.#db
      .query("DELETE FROM peerGenerations WHERE peer = $peer")
      .run({ peer } as never);
    return changes > 0;
  }

  #notePeer(peer: string, { generation = 0, claimed = 0 }: Partial<PeerGeneration>): void {
    this.#db
      .query(
        `INSERT INTO peerGenerations VALUES ($peer, $generation, $claimed) ON CONFLICT (peer) DO UPDATE
           SET generation = max(generation, excluded.generation), claimed = max(claimed, excluded.claimed)`,
      )
      .run({ peer, generation, claimed } as never);
  }
}

function fromRow(row: unknown): StoredReceipt | null {
  if (row === null || row === undefined) return null;
  const { verdict, ...rest } = row as Omit<StoredReceipt, "verdict"> & { verdict: string | null };
  return { ...rest, ...(verdict === null ? {} : { verdict }) };
}
