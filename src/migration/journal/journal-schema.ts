/** The tables of the journal: how they are made, and brought from an earlier version to this one. */
import type { Database } from "bun:sqlite";
import { MigrateError } from "../../protocol/errors.ts";
import { makeReceiptTables } from "./receipt-table.ts";

const schemaVersion = 7;

/** The columns of a row, with their SQL types. */
const columns = `session TEXT PRIMARY KEY, side TEXT NOT NULL, name TEXT NOT NULL, vm TEXT NOT NULL,
  mode TEXT NOT NULL, peer TEXT NOT NULL, address TEXT NOT NULL, state TEXT NOT NULL, phase TEXT NOT NULL,
  attempt INTEGER NOT NULL, tagKey TEXT NOT NULL, files TEXT NOT NULL, folder TEXT, store TEXT,
  after TEXT NOT NULL, digest TEXT, bytes INTEGER NOT NULL, doneBytes INTEGER NOT NULL,
  wireBytes INTEGER NOT NULL, settled INTEGER NOT NULL, acknowledged INTEGER NOT NULL,
  createdAtMs INTEGER NOT NULL, updatedAtMs INTEGER NOT NULL, endedAtMs INTEGER, machine TEXT, provider TEXT NOT NULL DEFAULT 'files', release TEXT`;

export const columnNames = [...columns.matchAll(/(?:^|,)\s*(\w+) (?:TEXT|INTEGER)/g)].map(
  (match) => match[1]!,
);

/**
 * Sets up a database that was just opened: creates its tables, or brings them to this version. Idempotent, whenever
 * the process was killed before. Throws MigrateError "home-unusable" if a newer version wrote it, and what SQLite
 * throws.
 */
export function prepareJournal(db: Database, path: string): void {
  db.run("PRAGMA busy_timeout = 10000");
  db.run("PRAGMA journal_mode = WAL");
  db.run("PRAGMA synchronous = FULL");
  // What is removed is overwritten: keys of tags, and names of VMs that are long gone.
  db.run("PRAGMA secure_delete = ON");
  const version = db
    .transaction(() => {
      const found = versionOf(db);
      if (found > schemaVersion) {
        throw new MigrateError("home-unusable", `the journal ${path} was written by a newer migrate`, {
          hint: "use that version here, too",
        });
      }
      if (found === 0) makeTables(db, schemaVersion);
      else if (found < 4) addColumns(db, found);
      return versionOf(db);
    })
    .immediate();
  if (version === 4) removeCommandLines(db);
  db.transaction(() => addReceipts(db)).immediate();
}

/**
 * Before version 6 nothing was signed, and before version 7 no TPM counted. The tables are there in any case: version 4
 * stays until what it kept too much of can be removed.
 */
function addReceipts(db: Database): void {
  makeReceiptTables(db);
  const version = versionOf(db);
  if (version > 4 && version < schemaVersion) db.run(`PRAGMA user_version = ${schemaVersion}`);
}

function versionOf(db: Database): number {
  return (db.query("PRAGMA user_version").get() as { user_version: number }).user_version;
}

function makeTables(db: Database, version: number): void {
  db.run(`CREATE TABLE IF NOT EXISTS sessions (${columns})`);
  db.run(`PRAGMA user_version = ${version}`);
}

/**
 * Version 1 knew no running VMs, version 2 no providers: what ran, ran under QEMU. What a person says at the
 * destination had nothing to show before version 4.
 */
function addColumns(db: Database, version: number): void {
  if (version < 2) db.run("ALTER TABLE sessions ADD COLUMN machine TEXT");
  if (version < 3) {
    db.run("ALTER TABLE sessions ADD COLUMN provider TEXT NOT NULL DEFAULT 'files'");
    db.run("UPDATE sessions SET provider = 'qemu' WHERE machine IS NOT NULL");
  }
  db.run("ALTER TABLE sessions ADD COLUMN release TEXT");
  db.run("PRAGMA user_version = 4");
}

/**
 * Until version 4 the command line of a VM's QEMU at its source was kept, with whatever paths, ports and secrets it
 * had in it. It is removed from the rows, and from all that SQLite has kept of them: freed pages (VACUUM) and the
 * log (sqlite.org/wal.html). That takes room, and that nobody else reads the log: if it cannot be done now, it is done
 * the next time, and the journal, which is needed to end what was begun, opens all the same.
 */
function removeCommandLines(db: Database): void {
  try {
    removeAll(db);
  } catch (thrown) {
    const { code } = thrown as { code?: unknown };
    if (code !== "SQLITE_FULL" && !String(code).startsWith("SQLITE_BUSY")) throw thrown;
  }
}

function removeAll(db: Database): void {
  db.run(
    "UPDATE sessions SET machine = json_remove(machine, '$.words', '$.machineType') WHERE machine IS NOT NULL AND json_valid(machine)",
  );
  db.run("VACUUM");
  const { busy } = db.query("PRAGMA wal_checkpoint(TRUNCATE)").get() as { busy: number };
  if (busy === 0) db.run("PRAGMA user_version = 5");
}
