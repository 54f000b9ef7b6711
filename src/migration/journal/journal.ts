/**
 * The journal: what this host durably knows of every session, in bun:sqlite (WAL, synchronous=FULL, so that a
 * committed write survives a power cut; sqlite.org/pragma.html).
 *
 * Several processes of one host may have it open at once. Every durable step of a migration is one call of
 * `write`: the tests kill the process there.
 */
import { Database } from "bun:sqlite";
import { chmodSync } from "node:fs";
import { join } from "node:path";
import { MigrateError, type Side } from "../../protocol/errors.ts";
import { type Edge, isEdge } from "../ownership/records.ts";
import {
  type EndedSession,
  findEnded,
  forgetOver,
  type IsLeft,
  makeEndedTable,
  overSessions,
  pruneEnded,
  pruneEndedOfPeer,
} from "./ended-sessions.ts";
import { reserveJournalRoom } from "./journal-room.ts";
import { columnNames, prepareJournal } from "./journal-schema.ts";
import { ReceiptTable } from "./receipt-table.ts";
import type { JournalFile, SessionRecord } from "./session-record.ts";
import { openSummaries, type SessionSummary, sourceAddresses, summariesOfPeer } from "./session-summaries.ts";
import {
  isAttested,
  keepVerdict,
  makeVerdictTables,
  usePolicy,
  type Verdict,
  verdictsOf,
} from "./verdicts.ts";

export type { JournalFile, SessionRecord } from "./session-record.ts";

/** The fields of a session that may be changed; its state changes only by `Journal.step`. */
export type Change = Partial<Omit<SessionRecord, "session" | "side" | "state">>;

type Row = Omit<SessionRecord, "files" | "kept" | "settled" | "acknowledged"> & {
  files: string;
  machine: string | null;
  settled: number;
  acknowledged: number;
};

/** Called before and after every durable write with its label: tests kill the process here. */
export type WriteHook = (when: "before" | "after", label: string) => void;

/** What to do while another program has the journal's database to itself. */
export interface BusyRules {
  /** How long a write waits in all, in milliseconds: this thread does nothing else meanwhile. */
  waitMs: number;
  /** Called once for a write that has to wait. */
  waiting: () => void;
}

const usualRules: BusyRules = { waitMs: 10_000, waiting: () => {} };
/** After so long a write is said to wait. */
const firstWaitMs = 250;

export class Journal {
  readonly receipts: ReceiptTable;
  readonly #db: Database;
  readonly #path: string;
  readonly #hook: WriteHook;
  readonly #busy: BusyRules;

  private constructor(db: Database, path: string, hook: WriteHook, busy: BusyRules) {
    this.#db = db;
    this.receipts = new ReceiptTable(db);
    this.#path = path;
    this.#hook = hook;
    this.#busy = busy;
  }

  /**
   * Opens the journal in the home folder, and creates it if there is none. Throws MigrateError
   * "home-unusable" if it cannot be opened or was written by a newer version.
   */
  static open(home: string, hook: WriteHook = () => {}, busy: Partial<BusyRules> = {}): Journal {
    const path = join(home, "journal.sqlite");
    let db: Database;
    try {
      db = new Database(path, { create: true, strict: true });
      prepareJournal(db, path);
      db.transaction(() => {
        makeEndedTable(db);
        makeVerdictTables(db);
      }).immediate();
      for (const suffix of ["", "-wal", "-shm"]) {
        try {
          chmodSync(path + suffix, 0o600);
        } catch {} // The -wal and -shm files come and go; the folder has mode 0700 in any case.
      }
    } catch (cause) {
      if (cause instanceof MigrateError) throw cause;
      throw new MigrateError(
        "home-unusable",
        `the journal ${path} cannot be opened: ${(cause as Error).message}`,
        {
          cause,
          hint: "see that MIGRATE_HOME is a folder of yours on a disk with room",
        },
      );
    }
    const journal = new Journal(db, path, hook, { ...usualRules, ...busy });
    // Later, once there is room again, a session that begins takes it.
    journal.#reserve(() => {});
    return journal;
  }

  /**
   * One durable write: when this returns, everything that `change` does is on disk; if it throws, nothing is.
   * `change` runs inside an immediate transaction (sqlite.org/lang_transaction.html), so no other process
   * writes meanwhile. Returns what `change` returns. Throws MigrateError "home-unusable" if the disk does not
   * take the write, and what `change` throws.
   */
  write<T>(label: string, change: (journal: Journal) => T): T {
    this.#hook("before", label);
    let result: T;
    try {
      result = this.#inTurn(() => this.#db.transaction(() => change(this)).immediate());
    } catch (thrown) {
      throw writeFailure(thrown);
    }
    this.#hook("after", label);
    return result;
  }

  /** Does `work`; if another program has the database, says so after a while, and waits as long as it may. */
  #inTurn<T>(work: () => T): T {
    const { waitMs, waiting } = this.#busy;
    this.#db.run(`PRAGMA busy_timeout = ${Math.min(firstWaitMs, waitMs)}`);
    try {
      return work();
    } catch (thrown) {
      if (sqliteCode(thrown)?.startsWith("SQLITE_BUSY") !== true) throw thrown;
      waiting();
      if (waitMs <= firstWaitMs) throw thrown;
      this.#db.run(`PRAGMA busy_timeout = ${waitMs - firstWaitMs}`);
      return work();
    }
  }

  /**
   * Adds a session in the first state of its side, and takes the room that its later records need. Only within
   * `write`. Throws MigrateError "bug" for any other state, "home-unusable" if the disk does not have that room.
   */
  insert(record: SessionRecord): void {
    if (record.state !== (record.side === "source" ? "sending" : "receiving")) {
      throw new MigrateError("bug", `a session cannot begin as ${record.state}`);
    }
    this.#reserve((full) => {
      throw writeFailure(
        Object.assign(new Error("no room for the journal", { cause: full }), { code: "SQLITE_FULL" }),
      );
    });
    const names = columnNames.join(", ");
    const places = columnNames.map((name) => `$${name}`).join(", ");
    this.#db.query(`INSERT INTO sessions (${names}) VALUES (${places})`).run(toRow(record) as never);
  }

  /**
   * Changes a session's state by one edge, and other fields with it; a step that takes something back drops the
   * receipts for it (SPEC.md, RCPT-6). Only within `write`. Throws MigrateError "bug" for an edge that ownership/records.ts does not have, and "cancelled" or "in-doubt" if the session
   * is no longer in the state `edge.from`: another process, or a person, has settled it meanwhile.
   */
  step(session: string, edge: Edge, change: Change = {}): void {
    const record = this.find(session);
    if (record === null || record.side !== edge.side)
      throw new MigrateError("bug", "there is no such session");
    if (!isEdge(edge, record.mode)) {
      throw new MigrateError(
        "bug",
        `a session of the ${edge.side} cannot go from ${edge.from} to ${edge.to}`,
      );
    }
    if (record.state !== edge.from) throw movedOn(record);
    if (edge.to === "cancelled" || edge.to === "receiving") this.receipts.drop(session);
    this.#set(session, { ...change, state: edge.to });
  }

  /** Changes fields of a session, and leaves its state as it is. Only within `write`. */
  update(session: string, change: Change): void {
    this.#set(session, change);
  }

  #set(session: string, change: Change & { state?: SessionRecord["state"] }): void {
    const row = toRow({ ...change, session } as SessionRecord) as Record<string, unknown>;
    const names = Object.keys(change).map((name) => (name === "kept" ? "machine" : name));
    const known = names.filter((name) => columnNames.includes(name));
    const values = Object.fromEntries([...known, "session"].map((name) => [name, row[name]]));
    const sets = known.map((name) => `${name} = $${name}`).join(", ");
    this.#db.query(`UPDATE sessions SET ${sets} WHERE session = $session`).run(values as never);
  }

  /** Removes a session of which no destination knows. Only within `write`. */
  remove(session: string): void {
    this.#db.query("DELETE FROM sessions WHERE session = $session").run({ session } as never);
  }

  /**
   * Records how far a session is, for `migrate status` alone. Nothing is decided by it, so it is no durable
   * step: it does not call the hook, and is skipped if the disk does not take it.
   */
  noteProgress(
    session: string,
    progress: Pick<SessionRecord, "phase" | "doneBytes" | "wireBytes" | "updatedAtMs">,
  ): void {
    try {
      this.update(session, progress);
    } catch (thrown) {
      if (sqliteCode(thrown) === undefined) throw thrown;
    }
  }

  find(session: string): SessionRecord | null {
    return fromRow(
      this.#db.query("SELECT * FROM sessions WHERE session = $session").get({ session } as never),
    );
  }

  /**
   * All sessions whose id begins with `prefix`, oldest first; none if `prefix` is not lower-case hex digits.
   */
  findByPrefix(prefix: string): SessionRecord[] {
    if (!/^[0-9a-f]+$/.test(prefix)) return [];
    return this.#all("SELECT * FROM sessions WHERE session LIKE $like ORDER BY createdAtMs", {
      like: `${prefix}%`,
    });
  }

  /** The sessions that have not ended, of one side or of both, oldest first. */
  open(side?: Side): SessionRecord[] {
    return this.#all(
      "SELECT * FROM sessions WHERE endedAtMs IS NULL AND ($side IS NULL OR side = $side) ORDER BY createdAtMs",
      { side: side ?? null },
    );
  }

  /** Sessions of one peer on one side, newest first, at most `most`. */
  ofPeer(side: Side, peer: string, most: number): SessionSummary[] {
    return summariesOfPeer(this.#db, side, peer, most);
  }

  /** The sessions of a store at this destination that have not ended, oldest first. */
  openIn(store: string): SessionSummary[] {
    return openSummaries(this.#db, store);
  }

  /** The addresses from which sources came, newest first, at most `most`. */
  sourceAddresses(most: number): string[] {
    return sourceAddresses(this.#db, most);
  }

  /** What is left of a session that came here, is over, and whose row was removed. */
  findEnded(session: string): EndedSession | null {
    return findEnded(this.#db, session);
  }

  /**
   * Removes what is too much of sessions that are over (ended-sessions.ts): of one peer's, or, without a peer, of
   * all. A session of which `left` says that something still lies in the store keeps its row. Nothing depends on
   * it: it is no durable step, and is skipped if the disk does not take it.
   */
  prune(nowMs: number, left: IsLeft, peer?: string): void {
    try {
      this.#db
        .transaction(() => {
          if (peer === undefined) pruneEnded(this.#db, nowMs, left);
          else pruneEndedOfPeer(this.#db, peer, nowMs, left);
        })
        .immediate();
    } catch (thrown) {
      if (sqliteCode(thrown) === undefined) throw thrown;
    }
  }

  /** The sessions that are over and of which the journal need not tell any more, each with the bytes of its row. */
  over(): { session: string; bytes: number }[] {
    return overSessions(this.#db);
  }

  /** Forgets a session that is over; false if it is not. Only within `write`. */
  forget(session: string): boolean {
    return forgetOver(this.#db, session);
  }

  /** Every session of one side, or of both, newest first. */
  all(side?: Side): SessionRecord[] {
    return this.#all("SELECT * FROM sessions WHERE $side IS NULL OR side = $side ORDER BY createdAtMs DESC", {
      side: side ?? null,
    });
  }

  /** As `keepVerdict` of verdicts.ts. Only within `write`. */
  keepVerdict(verdict: Verdict): string[] {
    return keepVerdict(this.#db, verdict);
  }

  /** As `isAttested` of verdicts.ts [ATT-8]. */
  isAttested(session: string, role: Side): boolean {
    return isAttested(this.#db, session, role);
  }

  verdictsOf(session: string): Verdict[] {
    return verdictsOf(this.#db, session);
  }

  /** As in verdicts.ts. Only within `write`. */
  usePolicy(host: string, version: number): number {
    return usePolicy(this.#db, host, version);
  }

  close(): void {
    this.#db.close();
  }

  #reserve(full: (thrown: unknown) => void): void {
    try {
      reserveJournalRoom(this.#path);
    } catch (thrown) {
      full(thrown);
    }
  }

  #all(sql: string, values: Record<string, unknown>): SessionRecord[] {
    return this.#db
      .query(sql)
      .all(values as never)
      .map((row) => fromRow(row)!);
  }
}

/** The error if a step was decided on a state in which the session no longer is. */
function movedOn({ side, name, state }: SessionRecord): MigrateError {
  return new MigrateError(
    state === "cancelled" ? "cancelled" : "in-doubt",
    `the session of ${name} has been settled at the ${side} meanwhile: it is ${state} there`,
    { side, hint: "look at it with migrate status, and run the command again if it still fits" },
  );
}

/** The code of an error that SQLite reported (sqlite.org/rescode.html). */
function sqliteCode(thrown: unknown): string | undefined {
  const code = (thrown as { code?: unknown } | null)?.code;
  return typeof code === "string" && code.startsWith("SQLITE_") ? code : undefined;
}

function writeFailure(thrown: unknown): unknown {
  const code = sqliteCode(thrown);
  if (code === undefined) return thrown;
  if (code.startsWith("SQLITE_BUSY")) {
    return new MigrateError("home-unusable", "another program keeps the journal locked", {
      cause: thrown,
      hint: "see who has journal.sqlite in MIGRATE_HOME open (lsof), and end it; the same command then goes on",
    });
  }
  const full = code === "SQLITE_FULL";
  return new MigrateError(
    "home-unusable",
    full ? "the disk that the journal is on is full" : `the journal cannot be written (${code})`,
    { cause: thrown, hint: "make room on the disk of MIGRATE_HOME; the same command then goes on" },
  );
}

/** True if `error` means that another program has the journal's database to itself: the write may be tried again. */
export function isJournalBusy(error: MigrateError): boolean {
  return sqliteCode(error.cause)?.startsWith("SQLITE_BUSY") === true;
}

/** True if `error` means that the journal's disk is full. */
export function isJournalFull(error: MigrateError): boolean {
  return sqliteCode(error.cause) === "SQLITE_FULL";
}

function toRow({ kept, ...record }: SessionRecord): Row {
  return {
    ...record,
    files: JSON.stringify(record.files ?? []),
    machine: kept ? JSON.stringify(kept) : null,
    settled: record.settled ? 1 : 0,
    acknowledged: record.acknowledged ? 1 : 0,
  };
}

function fromRow(row: unknown): SessionRecord | null {
  if (row === null || row === undefined) return null;
  const { files, machine, settled, acknowledged, ...rest } = row as Row;
  return {
    ...rest,
    files: JSON.parse(files) as JournalFile[],
    kept: machine === null ? null : (JSON.parse(machine) as object),
    settled: settled === 1,
    acknowledged: acknowledged === 1,
  };
}
