/**
 * What the journal keeps of sessions that are over. Peers begin and cancel sessions as they like, so their rows
 * are limited in number and in bytes, for each peer and in all; the oldest go first. Of a session that came to
 * this host a short line stays (table `ended`), from which a late question of its source is answered; after
 * that, vm.json and the marks of the files still tell.
 *
 * Never removed: a session that has not ended, one that a person has settled and whose VM is here, and one whose
 * VM was sent away while its files were kept.
 */
import type { Database } from "bun:sqlite";
import type { Mode } from "../ownership/phases.ts";
import type { DestinationRecord } from "../ownership/records.ts";

export interface EndedSession {
  session: string;
  /** Fingerprint of the source, or "insecure". */
  peer: string;
  mode: Mode;
  state: DestinationRecord;
  attempt: number;
  endedAtMs: number;
}

/** How much is kept. */
export const journalKeeps = {
  /** Rows and bytes of one peer's sessions that are over. */
  peerRows: 256,
  peerBytes: 1024 * 1024,
  /** Rows and bytes of all that are over, on each side. */
  rows: 4096,
  bytes: 4 * 1024 * 1024,
  /** Milliseconds after the end: 90 days. */
  forMs: 90 * 24 * 3_600_000,
  /** Short lines of one peer's sessions that ended in the same state, and of all. */
  peerLines: 4096,
  lines: 16_384,
} as const;

/** What a peer can make this host look for has an index: a question must not cost more the longer the journal is. */
export function makeEndedTable(db: Database): void {
  db.run(`CREATE TABLE IF NOT EXISTS ended (session TEXT PRIMARY KEY, peer TEXT NOT NULL, mode TEXT NOT NULL,
    state TEXT NOT NULL, attempt INTEGER NOT NULL, endedAtMs INTEGER NOT NULL) WITHOUT ROWID`);
  db.run("CREATE INDEX IF NOT EXISTS endedByPeer ON ended (peer, state, endedAtMs)");
  db.run("CREATE INDEX IF NOT EXISTS sessionsByPeer ON sessions (side, peer, createdAtMs)");
  db.run("CREATE INDEX IF NOT EXISTS sessionsOpen ON sessions (side, createdAtMs) WHERE endedAtMs IS NULL");
}

export function findEnded(db: Database, session: string): EndedSession | null {
  return db
    .query("SELECT * FROM ended WHERE session = $session")
    .get({ session } as never) as EndedSession | null;
}

const isOver: Readonly<Record<"source" | "destination", string>> = {
  destination: "side = 'destination' AND endedAtMs IS NOT NULL AND state IN ('closed', 'cancelled')",
  // A destination is told of what was cancelled; that it owns a VM it has said itself.
  source: `side = 'source' AND endedAtMs IS NOT NULL AND (state = 'confirmed' OR state = 'cancelled' AND acknowledged = 1)
    AND (settled = 1 OR provider = 'files')
    AND NOT (state = 'confirmed' AND mode = 'move' AND after = 'keep')`,
};

const sizeOf = "length(CAST(files AS BLOB)) + ifnull(length(CAST(machine AS BLOB)), 0) + 512";

/** Whether something of a session is still in its store. */
export type IsLeft = (session: string, store: string | null) => boolean;

/** The rows that go: those beyond `rows` or `bytes`, counted from the newest, and those that ended before `before`. */
function surplus(where: string): string {
  return `SELECT session, store FROM (
      SELECT session, store, endedAtMs, row_number() OVER newest AS nth, sum(size) OVER newest AS sumBytes
      FROM (SELECT session, store, endedAtMs, ${sizeOf} AS size FROM sessions WHERE ${where})
      WINDOW newest AS (ORDER BY endedAtMs DESC, session ROWS UNBOUNDED PRECEDING))
    WHERE nth > $rows OR sumBytes > $bytes OR endedAtMs < $before`;
}

/**
 * Removes what is too much of one peer's sessions at this destination. Only within a transaction. `left` is asked
 * of each whether something of it is still in the store; such a row stays.
 */
export function pruneEndedOfPeer(db: Database, peer: string, nowMs: number, left: IsLeft): void {
  const { peerRows: rows, peerBytes: bytes, forMs, peerLines: most } = journalKeeps;
  const surplusOfPeer = surplus(`${isOver.destination} AND peer = $peer`);
  abridge(db, surplusOfPeer, { rows, bytes, before: nowMs - forMs, peer }, left);
  for (const state of ["closed", "cancelled"]) {
    db.query(
      `DELETE FROM ended WHERE session IN (SELECT session FROM ended WHERE peer = $peer AND state = $state
         ORDER BY endedAtMs DESC LIMIT -1 OFFSET $most)`,
    ).run({ peer, state, most } as never);
  }
}

/** As `pruneEndedOfPeer`, for all peers together, and for what left this host. */
export function pruneEnded(db: Database, nowMs: number, left: IsLeft): void {
  const { rows, bytes, forMs, lines: most } = journalKeeps;
  abridge(db, surplus(isOver.destination), { rows, bytes, before: nowMs - forMs }, left);
  // What a person sent away is no peer's doing: it goes only if there is too much of it.
  db.query(`DELETE FROM sessions WHERE session IN (SELECT session FROM (${surplus(isOver.source)}))`).run({
    rows,
    bytes,
    before: 0,
  } as never);
  db.query(
    `DELETE FROM ended WHERE session IN (SELECT session FROM ended ORDER BY endedAtMs DESC
       LIMIT -1 OFFSET $most)`,
  ).run({ most } as never);
}

/** The sessions that are over and whose row may go, of both sides, oldest first; each with the bytes of its row. */
export function overSessions(db: Database): { session: string; bytes: number }[] {
  return db
    .query(
      `SELECT session, ${sizeOf} AS bytes FROM sessions
         WHERE (${isOver.destination}) OR (${isOver.source}) ORDER BY endedAtMs`,
    )
    .all() as { session: string; bytes: number }[];
}

/**
 * Removes the row of a session that is over, and keeps a short line of one that came here. Only within a transaction.
 * Returns false, and changes nothing, if it is not over (any more).
 */
export function forgetOver(db: Database, session: string): boolean {
  const one = { session } as never;
  const isOne = `session = $session AND ((${isOver.destination}) OR (${isOver.source}))`;
  if (db.query(`SELECT 1 FROM sessions WHERE ${isOne}`).get(one) === null) return false;
  db.query(
    `INSERT OR REPLACE INTO ended SELECT session, peer, mode, state, attempt, endedAtMs FROM sessions
       WHERE session = $session AND side = 'destination'`,
  ).run(one);
  db.query("DELETE FROM sessions WHERE session = $session").run(one);
  return true;
}

function abridge(db: Database, which: string, values: object, left: IsLeft): void {
  const found = db.query(which).all(values as never) as { session: string; store: string | null }[];
  for (const { session, store } of found) {
    if (left(session, store)) continue;
    const one = { session } as never;
    db.query(
      `INSERT OR REPLACE INTO ended SELECT session, peer, mode, state, attempt, endedAtMs FROM sessions
         WHERE session = $session`,
    ).run(one);
    db.query("DELETE FROM sessions WHERE session = $session").run(one);
  }
}
