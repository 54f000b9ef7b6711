/**
 * What can be told of a session without what it consists of: a peer's question is answered from these columns
 * alone, since lists of files and command lines are long, and many.
 */
import type { Database } from "bun:sqlite";
import type { Side } from "../../protocol/errors.ts";
import type { SessionRecord } from "./session-record.ts";

export type SessionSummary = Pick<
  SessionRecord,
  | "session"
  | "name"
  | "peer"
  | "mode"
  | "state"
  | "phase"
  | "store"
  | "bytes"
  | "doneBytes"
  | "createdAtMs"
  | "updatedAtMs"
  | "endedAtMs"
  | "attempt"
  | "settled"
  | "acknowledged"
>;

/** Truth as SQLite keeps it. */
interface Flags {
  settled: unknown;
  acknowledged: unknown;
}

const summary =
  "session, name, peer, mode, state, phase, store, bytes, doneBytes, createdAtMs, updatedAtMs, endedAtMs, attempt, settled, acknowledged";

/** Sessions of one peer on one side, at most `most`: those that have not ended first, each kind newest first. */
export function summariesOfPeer(db: Database, side: Side, peer: string, most: number): SessionSummary[] {
  const sql = `SELECT ${summary} FROM sessions WHERE side = $side AND peer = $peer
    ORDER BY endedAtMs IS NOT NULL, createdAtMs DESC LIMIT $most`;
  return select(db, sql, { side, peer, most });
}

/** The sessions of a store at this destination that have not ended, oldest first. */
export function openSummaries(db: Database, store: string): SessionSummary[] {
  const sql = `SELECT ${summary} FROM sessions
    WHERE side = 'destination' AND endedAtMs IS NULL AND store = $store ORDER BY createdAtMs`;
  return select(db, sql, { store });
}

/** The addresses from which sources came, newest first, at most `most`. */
export function sourceAddresses(db: Database, most: number): string[] {
  const sql = `SELECT address FROM sessions WHERE side = 'destination'
    GROUP BY address ORDER BY max(createdAtMs) DESC LIMIT $most`;
  const rows = db.query(sql).all({ most } as never) as { address: string }[];
  return rows.map(({ address }) => address);
}

function select(db: Database, sql: string, values: object): SessionSummary[] {
  const rows = db.query(sql).all(values as never) as (Omit<SessionSummary, keyof Flags> & Flags)[];
  return rows.map((row) => ({ ...row, settled: row.settled === 1, acknowledged: row.acknowledged === 1 }));
}
