/**
 * What other hosts have proven of themselves to this one, by session, and the newest policy that was in use for each. The
 * evidence lies in files of its own; here is which one, and its digest, so that a session that was begun with proofs
 * goes on with them [ATT-8].
 */
import type { Database } from "bun:sqlite";
import type { Side } from "../../protocol/errors.ts";

export interface Verdict {
  /** "" where no session was named. */
  session: string;
  /** The side of the host that has proven itself, and its fingerprint. */
  role: Side;
  peer: string;
  /** When in the move the last proof was made. */
  moment: string;
  policyVersion: number;
  /** Whether the policy allows what that proof shows. */
  allowed: boolean;
  /** Of the file with the evidence: SHA-256, hex 64. */
  digest: string;
  file: string;
  bytes: number;
  atMs: number;
}

/**
 * How much is kept of what sources have proven here: they come as often as they like. Of a session's attempts the last
 * ones are kept, whoever has proven; besides, of destinations all, for as long as a person wants it. What is open stays.
 */
export const verdictKeeps = { peerFiles: 512, peerBytes: 256 * 1024 * 1024, sessionFiles: 8 } as const;

export function makeVerdictTables(db: Database): void {
  db.run(`CREATE TABLE IF NOT EXISTS verdicts (file TEXT PRIMARY KEY, session TEXT NOT NULL, role TEXT NOT NULL,
    peer TEXT NOT NULL, moment TEXT NOT NULL, policyVersion INTEGER NOT NULL, allowed INTEGER NOT NULL,
    digest TEXT NOT NULL, bytes INTEGER NOT NULL, atMs INTEGER NOT NULL)`);
  db.run("CREATE INDEX IF NOT EXISTS verdictsBySession ON verdicts (session)");
  db.run(
    "CREATE TABLE IF NOT EXISTS policies (host TEXT PRIMARY KEY, version INTEGER NOT NULL) WITHOUT ROWID",
  );
}

/** Keeps a verdict, in place of the one with the same file. Returns the files that are one too many, which it forgets. */
export function keepVerdict(db: Database, verdict: Verdict): string[] {
  db.query(
    `INSERT OR REPLACE INTO verdicts (file, session, role, peer, moment, policyVersion, allowed, digest, bytes, atMs)
     VALUES ($file, $session, $role, $peer, $moment, $policyVersion, $allowed, $digest, $bytes, $atMs)`,
  ).run(verdict as never);
  const { session, role } = verdict;
  const older = db
    .query(
      `DELETE FROM verdicts WHERE file IN (SELECT file FROM verdicts
         WHERE session = $session AND role = $role AND bytes > 0
         ORDER BY atMs DESC, file LIMIT -1 OFFSET $files) AND file <> $file RETURNING file`,
    )
    .all({ session, role, file: verdict.file, files: verdictKeeps.sessionFiles } as never) as {
    file: string;
  }[];
  if (role !== "source") return older.map(({ file }) => file);
  const surplus = db
    .query(
      `DELETE FROM verdicts WHERE file IN (SELECT file FROM (
         SELECT file, row_number() OVER newest AS nth, sum(bytes) OVER newest AS sumBytes FROM verdicts
         WHERE role = 'source' AND peer = $peer
         WINDOW newest AS (ORDER BY atMs DESC, file ROWS UNBOUNDED PRECEDING))
       WHERE nth > $files OR sumBytes > $bytes) AND file <> $file
         AND session NOT IN (SELECT session FROM sessions WHERE endedAtMs IS NULL) RETURNING file`,
    )
    .all({
      ...{ peer: verdict.peer, file: verdict.file },
      ...{ files: verdictKeeps.peerFiles, bytes: verdictKeeps.peerBytes },
    } as never) as { file: string }[];
  return [...older, ...surplus].map(({ file }) => file);
}

/** Whether the other side's host has proven itself in a session, or was asked to (a row without evidence). */
export function isAttested(db: Database, session: string, role: Side): boolean {
  return (
    db
      .query("SELECT 1 FROM verdicts WHERE session = $session AND role = $role")
      .get({ session, role } as never) !== null
  );
}

/** The verdicts of one session that have evidence, oldest first. */
export function verdictsOf(db: Database, session: string): Verdict[] {
  const rows = db
    .query("SELECT * FROM verdicts WHERE session = $session AND bytes > 0 ORDER BY atMs")
    .all({ session } as never) as Verdict[];
  // Truth as SQLite keeps it.
  return rows.map((row) => ({ ...row, allowed: Boolean(row.allowed) }));
}

/** Notes that this version of the policy for a host is in use. Returns the newest one that ever was. */
export function usePolicy(db: Database, host: string, version: number): number {
  const row = db
    .query(
      `INSERT INTO policies (host, version) VALUES ($host, $version)
       ON CONFLICT (host) DO UPDATE SET version = max(version, $version) RETURNING version`,
    )
    .get({ host, version } as never) as { version: number };
  return row.version;
}
