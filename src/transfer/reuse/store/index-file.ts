/**
 * The file that the index of a store is kept in (bun:sqlite): where it is, how it is opened, and when it
 * is thrown away.
 *
 * All that is in it can be had again by reading the store, so it is written fast rather than safely (WAL
 * with synchronous=NORMAL: a power cut loses the last writes, sqlite.org/pragma.html), and one that is
 * damaged or of another version is made anew. One process writes; others may read meanwhile.
 */
import { Database } from "bun:sqlite";
import { createHash } from "node:crypto";
import { closeSync, constants, lstatSync, mkdirSync, openSync, realpathSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";
import { indexKeyBytes } from "./block-hash.ts";

const schemaVersion = 1;

/** "mgix" (sqlite.org/pragma.html, application_id): a database of another program is not ours to read. */
const applicationId = 0x6d676978;

export interface IndexFile {
  db: Database;
  /** The key of the block hashes in it, indexKeyBytes long. */
  key: Uint8Array;
}

/** What is there is no index, or not one of this version or of this store. */
class Foreign extends Error {}

/** Path of the index that a home keeps of a store; the store must be there. Throws as node:fs does. */
export function indexPath(home: string, store: string): string {
  const name = createHash("sha256").update(realpathSync(store)).digest("hex").slice(0, 32);
  return join(home, "index", `${name}.sqlite`);
}

/** True if an error says that the index is not one, or not whole: then it is to be made anew. */
export function isDamage(thrown: unknown): boolean {
  const code = (thrown as { code?: unknown } | null)?.code;
  return thrown instanceof Foreign || (typeof code === "string" && /^SQLITE_(?:CORRUPT|NOTADB)/.test(code));
}

/** Removes an index and what SQLite keeps beside it. Whoever has it open still reads what was there. */
export function removeIndex(path: string): void {
  for (const suffix of ["", "-wal", "-shm"]) rmSync(path + suffix, { force: true });
}

/** Opens the index for writing, made anew with `key` if need be; see BlockIndex.open. */
export function openIndexFile(path: string, store: string, key: Uint8Array): IndexFile {
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  try {
    return openOrMake(path, store, key);
  } catch (thrown) {
    if (!isDamage(thrown)) throw thrown;
    removeIndex(path);
    return openOrMake(path, store, key);
  }
}

/** Opens the index for reading; see BlockIndex.openReadOnly. */
export function openIndexFileReadOnly(path: string): IndexFile {
  return opened(new Database(path, { readonly: true, strict: true }), (db) => {
    db.run("PRAGMA busy_timeout = 100");
    return readMeta(db).key;
  });
}

function openOrMake(path: string, store: string, key: Uint8Array): IndexFile {
  makeFile(path);
  return opened(new Database(path, { create: true, strict: true }), (db) => {
    db.run("PRAGMA busy_timeout = 10000");
    db.run("PRAGMA journal_mode = WAL");
    db.run("PRAGMA synchronous = NORMAL");
    db.run("PRAGMA cache_size = -8192");
    db.transaction(() => {
      if (db.query("SELECT 1 FROM sqlite_schema LIMIT 1").get() === null) createTables(db, store, key);
    }).immediate();
    const meta = readMeta(db);
    if (meta.store !== store) throw new Foreign("it is of another store");
    return meta.key;
  });
}

/**
 * An empty file that SQLite makes a database of, and whose mode it gives its side files. One that is there is
 * left alone: closing a descriptor of it would take back SQLite's own locks (sqlite.org/howtocorrupt.html).
 */
function makeFile(path: string): void {
  const { O_WRONLY, O_CREAT, O_EXCL, O_NOFOLLOW } = constants;
  try {
    closeSync(openSync(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600));
  } catch (thrown) {
    if ((thrown as NodeJS.ErrnoException).code !== "EEXIST") throw thrown;
    if (lstatSync(path).isSymbolicLink()) {
      throw Object.assign(new Error("the index is a link"), { code: "ELOOP" });
    }
  }
}

/** The database with its key; closed if `keyOf` throws. */
function opened(db: Database, keyOf: (db: Database) => Uint8Array): IndexFile {
  try {
    return { db, key: keyOf(db) };
  } catch (thrown) {
    db.close();
    throw thrown;
  }
}

function createTables(db: Database, store: string, key: Uint8Array): void {
  db.run("CREATE TABLE meta (key BLOB, store TEXT, nextFile INTEGER, deadRows INTEGER)");
  db.run("CREATE TABLE files (id INTEGER PRIMARY KEY, path TEXT UNIQUE, stamp TEXT, rows INTEGER)");
  // One place in each file is enough for a block, and its hash (`print`) is all that is ever asked for.
  db.run(
    "CREATE TABLE blocks (print BLOB, file INTEGER, block INTEGER, PRIMARY KEY (print, file)) WITHOUT ROWID",
  );
  db.query("INSERT INTO meta VALUES (?, ?, 0, 0)").run(Buffer.from(key), store);
  db.run(`PRAGMA application_id = ${applicationId}`);
  db.run(`PRAGMA user_version = ${schemaVersion}`);
}

/** Throws Foreign if this is no index of this version. */
function readMeta(db: Database): { key: Uint8Array; store: string } {
  const { application_id: application } = db.query("PRAGMA application_id").get() as {
    application_id: number;
  };
  const { user_version: version } = db.query("PRAGMA user_version").get() as { user_version: number };
  if (application !== applicationId || version !== schemaVersion) throw new Foreign("it is no index of ours");
  const meta = db.query("SELECT key, store FROM meta").get() as { key: Uint8Array; store: string } | null;
  if (meta?.key?.length !== indexKeyBytes) throw new Foreign("it has no key");
  return meta;
}
