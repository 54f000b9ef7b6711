/**
 * The index of a store: which block of which file has which hash, in bun:sqlite.
 *
 * There is no list of a file's blocks: forgetting a file leaves its rows behind, which no look-up returns
 * any more, until there are enough of them for a sweep. So the number of a file is never used again.
 */
import type { Database, Statement } from "bun:sqlite";
import { randomBytes } from "node:crypto";
import { limits } from "../../../protocol/limits.ts";
import { indexKeyBytes, isNoBlockHash } from "./block-hash.ts";
import { type IndexFile, openIndexFile, openIndexFileReadOnly } from "./index-file.ts";
import { PendingHashes } from "./pending-hashes.ts";

const { blockHashBytes } = limits;

/** Places that a look-up returns at most. */
const mostPlaces = 4;
/** Rows in one transaction: some 100 ms, and a few MiB of changed pages. */
const batchRows = 16_384;
/** Rows of forgotten files are swept once they are so many, and a third of all. */
const leastSweptRows = 65_536;
/** A sweep goes through the block hashes in so many steps, each a transaction. */
export const sweepSteps = 1024;

/** A place in an indexed file; both numbers are of use with the same index alone. */
export interface IndexedPlace {
  file: number;
  block: number;
}

export interface IndexedFile {
  id: number;
  /** Relative to the store. */
  path: string;
  /** What the file looked like when it was read: see store-scan.ts. */
  stamp: string;
}

export class BlockIndex {
  /** The key of the block hashes in it, 16 bytes. */
  readonly key: Buffer;
  readonly #db: Database;
  readonly #lookup: Statement<unknown, [Uint8Array]>;
  readonly #pathOf: Statement<{ path: string }, [number]>;
  readonly #pending = new PendingHashes();
  #rowsOfFile = 0;

  private constructor({ db, key }: IndexFile) {
    this.#db = db;
    this.key = Buffer.from(key);
    // With its plus the file's number is no key: few rows have the hash, and there are many files.
    const known = "+file IN (SELECT id FROM files)";
    this.#lookup = db.query(
      `SELECT file, block FROM blocks WHERE print = ? AND ${known} LIMIT ${mostPlaces}`,
    );
    this.#pathOf = db.query("SELECT path FROM files WHERE id = ?");
  }

  /**
   * Opens the index at `path` for writing, and makes it (mode 0600, its folder 0700) if there is none
   * or if it is damaged, of another version or of another store. A new one gets `key`. Throws an
   * error of SQLite or node:fs if it cannot be written.
   */
  static open(path: string, store: string, key: Uint8Array = randomBytes(indexKeyBytes)): BlockIndex {
    return new BlockIndex(openIndexFile(path, store, key));
  }

  /** Opens an index for looking blocks up. Throws an error of SQLite if it is not there or no index. */
  static openReadOnly(path: string): BlockIndex {
    return new BlockIndex(openIndexFileReadOnly(path));
  }

  /** Number of files that look-ups find. */
  get fileCount(): number {
    return (this.#db.query("SELECT count(*) AS n FROM files").get() as { n: number }).n;
  }

  get isEmpty(): boolean {
    return this.#db.query("SELECT 1 FROM files LIMIT 1").get() === null;
  }

  files(): IndexedFile[] {
    return this.#db.query("SELECT id, path, stamp FROM files").all() as IndexedFile[];
  }

  /** Path of a file relative to the store; null if the file was forgotten. */
  pathOf(file: number): string | null {
    return this.#pathOf.get(file)?.path ?? null;
  }

  /** Places of a block of this hash, at most four, one in each file. */
  lookup(hash: Uint8Array): IndexedPlace[] {
    return (this.#lookup.values(hash) as [number, number][]).map(([file, block]) => ({
      file,
      block,
    }));
  }

  /** All that `look` looks up is of one moment, and costs less than looked up one by one. */
  atOnce<T>(look: () => T): T {
    this.#db.run("BEGIN");
    try {
      return look();
    } finally {
      this.#db.run("COMMIT");
    }
  }

  /** Begins to take in a file, one at a time, and returns its number for `add` and `finish`. */
  begin(): number {
    this.#pending.clear();
    this.#rowsOfFile = 0;
    return this.#write(() => {
      const row = this.#db.query("UPDATE meta SET nextFile = nextFile + 1 RETURNING nextFile").get();
      return (row as { nextFile: number }).nextFile;
    });
  }

  /**
   * Takes in the hashes of consecutive blocks (8 bytes each, those of zeros are left out). They are
   * gathered, and written if there is no room for more.
   */
  add(file: number, firstBlock: number, hashes: Buffer): void {
    for (let at = 0, block = firstBlock; at < hashes.length; at += blockHashBytes, block++) {
      if (isNoBlockHash(hashes, at / blockHashBytes)) continue;
      if (this.#pending.room === 0) for (const _ of this.flush(file));
      this.#pending.add(hashes, at, block);
    }
  }

  /** Block hashes that the next `add` can take without writing: whoever must not block calls `flush` in time. */
  get room(): number {
    return this.#pending.room;
  }

  /** Writes what was gathered; each step is a transaction. */
  *flush(file: number): Generator<void> {
    for (const rows of this.#pending.take(batchRows)) {
      yield this.#write(() => {
        const insert = this.#db.query("INSERT OR IGNORE INTO blocks VALUES (?, ?, ?)");
        let added = 0;
        for (const { hash, block } of rows) added += insert.run(hash, file, block).changes;
        this.#rowsOfFile += added;
        // Dead until their file is finished: a crash leaves nothing that is not counted.
        this.#db.query("UPDATE meta SET deadRows = deadRows + ?").run(added);
      });
    }
  }

  /** From here on the file is found, in place of what was known of a file at this path. Returns its rows. */
  finish(file: number, path: string, stamp: string): number {
    for (const _ of this.flush(file));
    const rows = this.#rowsOfFile;
    this.#write(() => {
      this.#drop(path);
      this.#db.query("INSERT INTO files VALUES (?, ?, ?, ?)").run(file, path, stamp, rows);
      this.#db.query("UPDATE meta SET deadRows = deadRows - ?").run(rows);
    });
    return rows;
  }

  /** The file of this path is found no more. */
  forget(path: string): void {
    this.#write(() => this.#drop(path));
  }

  /** A file has another path now, and is the same. What was known of a file at that path is forgotten. */
  move(from: string, to: string): void {
    this.#write(() => {
      this.#drop(to);
      this.#db.query("UPDATE files SET path = ? WHERE path = ?").run(to, from);
    });
  }

  /** True if so many rows are of forgotten files that a sweep pays. */
  get needsSweep(): boolean {
    const { dead, live } = this.#db
      .query("SELECT deadRows AS dead, (SELECT coalesce(sum(rows), 0) FROM files) AS live FROM meta")
      .get() as { dead: number; live: number };
    return dead >= leastSweptRows && dead > live / 2;
  }

  /** Step `step` of a sweep, from 0 to sweepSteps - 1; not while a file is being taken in. */
  sweep(step: number): void {
    const from = Buffer.alloc(blockHashBytes);
    const to = Buffer.alloc(blockHashBytes, 0xff);
    from.writeUInt32BE(step * (2 ** 32 / sweepSteps));
    to.writeUInt32BE((step + 1) * (2 ** 32 / sweepSteps) - 1);
    this.#write(() => {
      const { changes } = this.#db
        .query("DELETE FROM blocks WHERE print BETWEEN ? AND ? AND file NOT IN (SELECT id FROM files)")
        .run(from, to);
      this.#db.query("UPDATE meta SET deadRows = max(0, deadRows - ?)").run(changes);
    });
  }

  close(): void {
    this.#lookup.finalize();
    this.#pathOf.finalize();
    this.#db.close();
  }

  #drop(path: string): void {
    const rows = "(SELECT coalesce(sum(rows), 0) FROM files WHERE path = ?)";
    this.#db.query(`UPDATE meta SET deadRows = deadRows + ${rows}`).run(path);
    this.#db.query("DELETE FROM files WHERE path = ?").run(path);
  }

  #write<T>(change: () => T): T {
    return this.#db.transaction(change).immediate();
  }
}
