import { Database } from "bun:sqlite";
import { describe, expect, test } from "bun:test";
import { randomBytes } from "node:crypto";
import { existsSync, mkdirSync, rmSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { BlockIndex, sweepSteps } from "../../../../src/transfer/reuse/store/block-index.ts";
import { indexPath } from "../../../../src/transfer/reuse/store/index-file.ts";
import { mostPendingHashes } from "../../../../src/transfer/reuse/store/pending-hashes.ts";
import { eachTestInFolder } from "../../../support/system/test-folder.ts";

let folder: string;
let path: string;
let open: BlockIndex[];

eachTestInFolder("migrate-index-", (made) => {
  folder = made;
  path = join(folder, "index", "store.sqlite");
  open = [];
  return () => {
    for (const index of open) index.close();
  };
});

function opened(index: BlockIndex): BlockIndex {
  open.push(index);
  return index;
}
const make = (store = "/store") => opened(BlockIndex.open(path, store));

/** Takes in a file with these block hashes, its first block being number 0. */
function takeIn(index: BlockIndex, file: string, hashes: Buffer, stamp = "stamp"): number {
  const id = index.begin();
  index.add(id, 0, hashes);
  index.finish(id, file, stamp);
  return id;
}

const hashAt = (hashes: Buffer, i: number) => hashes.subarray(i * 8, i * 8 + 8);

function rowsIn(database: string): number {
  const db = new Database(database, { readonly: true });
  const { rows } = db.query("SELECT count(*) AS rows FROM blocks").get() as { rows: number };
  db.close();
  return rows;
}

describe("looking up", () => {
  test("gives the place of a block, and nothing for what is not there or has no data", () => {
    const index = make();
    const hashes = Buffer.concat([randomBytes(8), Buffer.alloc(8), randomBytes(8)]);
    const file = takeIn(index, "vm/disk", hashes);
    expect(index.lookup(hashAt(hashes, 0))).toEqual([{ file, block: 0 }]);
    expect(index.lookup(hashAt(hashes, 1))).toEqual([]);
    expect(index.lookup(hashAt(hashes, 2))).toEqual([{ file, block: 2 }]);
    expect(index.lookup(randomBytes(8))).toEqual([]);
    expect(index.pathOf(file)).toBe("vm/disk");
  });

  test("gives at most four places, one in each file", () => {
    const index = make();
    const hash = randomBytes(8);
    for (let i = 0; i < 6; i++) takeIn(index, `vm${i}/disk`, Buffer.concat([hash, hash]));
    const places = index.lookup(hash);
    expect(places.length).toBe(4);
    expect(new Set(places.map(({ file }) => file)).size).toBe(4);
  });

  test("finds nothing of a file that is forgotten, or was not finished, even when it is opened again", () => {
    let index = make();
    const [forgotten, unfinished, kept] = [randomBytes(80), randomBytes(20_000 * 8), randomBytes(80)];
    takeIn(index, "a/disk", forgotten);
    index.forget("a/disk");
    takeIn(index, "b/disk", kept);
    const cut = index.begin();
    index.add(cut, 0, unfinished);
    index.flush(cut).next();
    expect(rowsIn(path)).toBeGreaterThan(10_000);
    open.pop()!.close();
    index = make();
    expect(index.lookup(hashAt(forgotten, 3))).toEqual([]);
    expect(index.lookup(hashAt(unfinished, 3))).toEqual([]);
    expect(index.lookup(hashAt(kept, 3)).length).toBe(1);
    expect(index.files().map((file) => file.path)).toEqual(["b/disk"]);
    expect(index.fileCount).toBe(1);
  });

  test("never gives a file's number to another file", () => {
    const index = make();
    const numbers = new Set<number>();
    for (let i = 0; i < 5; i++) {
      numbers.add(takeIn(index, "a/disk", randomBytes(8)));
      index.forget("a/disk");
    }
    numbers.add(index.begin());
    open.pop()!.close();
    numbers.add(make().begin());
    expect(numbers.size).toBe(7);
  });

  test("finds what is in a file now, once it was read again, and not what was", () => {
    const index = make();
    const [before, after] = [randomBytes(16), randomBytes(16)];
    takeIn(index, "a/disk", before, "old");
    const id = index.begin();
    index.add(id, 0, after);
    expect(index.lookup(hashAt(before, 1)).length).toBe(1);
    expect(index.finish(id, "a/disk", "new")).toBe(2);
    expect(index.lookup(hashAt(before, 1))).toEqual([]);
    expect(index.lookup(hashAt(after, 1)).length).toBe(1);
    expect(index.files()).toEqual([{ id, path: "a/disk", stamp: "new" }]);
  });

  test("goes on under a file's new path, which takes the place of what was there", () => {
    const index = make();
    const [moved, replaced] = [randomBytes(8), randomBytes(8)];
    const id = takeIn(index, "a/disk", moved);
    takeIn(index, "b/disk", replaced);
    index.move("a/disk", "b/disk");
    expect(index.pathOf(id)).toBe("b/disk");
    expect(index.lookup(replaced)).toEqual([]);
    expect(index.lookup(moved)).toEqual([{ file: id, block: 0 }]);
  });
});

test("more block hashes than fit in memory are written as they come, each with its block", () => {
  const index = make();
  const hashes = randomBytes((mostPendingHashes + 5000) * 8);
  const file = takeIn(index, "a/disk", hashes);
  expect(rowsIn(path)).toBe(mostPendingHashes + 5000);
  for (const block of [0, 1, 77_777, mostPendingHashes - 1, mostPendingHashes, mostPendingHashes + 4999]) {
    expect(index.lookup(hashAt(hashes, block))).toEqual([{ file, block }]);
  }
});

describe("sweeping", () => {
  test("takes away the rows of files that are forgotten, and no others", () => {
    const index = make();
    const [kept, forgotten] = [randomBytes(1000 * 8), randomBytes(70_000 * 8)];
    takeIn(index, "a/disk", kept);
    takeIn(index, "b/disk", forgotten);
    expect(index.needsSweep).toBe(false);
    index.forget("b/disk");
    expect(index.needsSweep).toBe(true);
    for (let step = 0; step < sweepSteps; step++) index.sweep(step);
    expect(index.needsSweep).toBe(false);
    expect(rowsIn(path)).toBe(1000);
    for (let i = 0; i < 1000; i++) expect(index.lookup(hashAt(kept, i)).length).toBe(1);
  });

  test("reaches the first and the last block hash there can be", () => {
    const index = make();
    const ends = Buffer.concat([Buffer.from("0000000000000001", "hex"), Buffer.alloc(8, 0xff)]);
    takeIn(index, "a/disk", ends);
    index.forget("a/disk");
    for (let step = 0; step < sweepSteps; step++) index.sweep(step);
    expect(rowsIn(path)).toBe(0);
  });

  test("counts what was never finished", () => {
    const index = make();
    const cut = index.begin();
    index.add(cut, 0, randomBytes(5 * 16_384 * 8));
    expect([...index.flush(cut)].length).toBe(5);
    open.pop()!.close();
    expect(make().needsSweep).toBe(true);
  });
});

describe("the file", () => {
  test("is for this user alone, and so are its folder and its side files", () => {
    const index = make();
    takeIn(index, "a/disk", randomBytes(8));
    expect(statSync(dirname(path)).mode & 0o777).toBe(0o700);
    for (const suffix of ["", "-wal", "-shm"]) expect(statSync(path + suffix).mode & 0o777).toBe(0o600);
  });

  test("keeps its key and its files", () => {
    const { key } = make();
    takeIn(open[0]!, "a/disk", randomBytes(8));
    open.pop()!.close();
    const again = make();
    expect(again.key.equals(key)).toBe(true);
    expect(again.isEmpty).toBe(false);
  });

  test("is made anew, with the key that is given, where it is no database or damaged", () => {
    const key = randomBytes(16);
    const spoil = [
      () => writeFileSync(path, randomBytes(20_000)),
      () => writeFileSync(path, "SQLite format 3\0"),
      () => {
        BlockIndex.open(path, "/store").close();
        const db = new Database(path);
        db.run("PRAGMA user_version = 99");
        db.close();
      },
      () => {
        BlockIndex.open(path, "/store").close();
        const db = new Database(path);
        db.run("DELETE FROM meta");
        db.close();
      },
      () => {
        const other = new Database(path, { create: true });
        other.run("CREATE TABLE sessions (id)");
        other.close();
      },
      () => BlockIndex.open(path, "/another/store").close(),
    ];
    mkdirSync(dirname(path));
    for (const [i, damage] of spoil.entries()) {
      rmSync(path, { force: true });
      damage();
      const index = BlockIndex.open(path, "/store", key);
      expect([i, index.key.equals(key), index.isEmpty]).toEqual([i, true, true]);
      takeIn(index, "a/disk", randomBytes(8));
      index.close();
    }
  });

  test("is not made anew where it cannot be opened: that is an error, and a link is not followed", () => {
    mkdirSync(path, { recursive: true });
    expect(() => make()).toThrow();
    rmSync(path, { recursive: true });
    symlinkSync(join(folder, "elsewhere"), path);
    expect(() => make()).toThrow(expect.objectContaining({ code: "ELOOP" }));
    expect(existsSync(join(folder, "elsewhere"))).toBe(false);
  });

  test("has a name of its own for each store, by whatever path that is named", () => {
    for (const name of ["one", "two"]) mkdirSync(join(folder, name));
    symlinkSync(join(folder, "one"), join(folder, "link"));
    const of = (store: string) => indexPath("/home", join(folder, store));
    expect(of("one")).toMatch(/^\/home\/index\/[0-9a-f]{32}\.sqlite$/);
    expect(of("one")).not.toBe(of("two"));
    expect(of("link")).toBe(of("one"));
  });
});

describe("reading while another writes", () => {
  test("sees each file once it is finished, and nothing of it before", () => {
    const index = make();
    takeIn(index, "a/disk", randomBytes(8));
    const reader = opened(BlockIndex.openReadOnly(path));
    const hashes = randomBytes(40_000 * 8);
    const id = index.begin();
    index.add(id, 0, hashes);
    expect(reader.atOnce(() => reader.lookup(hashAt(hashes, 5)))).toEqual([]);
    index.finish(id, "b/disk", "stamp");
    expect(reader.atOnce(() => reader.lookup(hashAt(hashes, 5)))).toEqual([{ file: id, block: 5 }]);
    expect(reader.key.equals(index.key)).toBe(true);
  });

  test("works where nobody has the index open for writing, and cannot change it", () => {
    const hashes = randomBytes(8);
    takeIn(make(), "a/disk", hashes);
    open.pop()!.close();
    const reader = opened(BlockIndex.openReadOnly(path));
    expect(reader.lookup(hashes).length).toBe(1);
    expect(() => reader.forget("a/disk")).toThrow(expect.objectContaining({ code: "SQLITE_READONLY" }));
  });

  test("goes on in other processes, which are never refused", async () => {
    const index = make();
    const hashes = randomBytes(30_000 * 8);
    takeIn(index, "first/disk", hashes);
    const module = join(import.meta.dir, "../../../../src/transfer/reuse/store/block-index.ts");
    const code = `
      const { BlockIndex } = await import(${JSON.stringify(module)});
      const index = BlockIndex.openReadOnly(${JSON.stringify(path)});
      const hash = Buffer.from("${hashAt(hashes, 7).toString("hex")}", "hex");
      process.stdout.write("ready\\n");
      const last = () => index.files().some(({ path }) => path === "last/disk");
      let looks = 0;
      do {
        if (index.atOnce(() => index.lookup(hash)).length === 0) throw new Error("not found");
        looks++;
      } while (!last());
      process.stdout.write("looks " + looks);`;
    const readers = [0, 1].map(() =>
      Bun.spawn([process.execPath, "-e", code], { stdout: "pipe", stderr: "inherit", stdin: "ignore" }),
    );
    const outputs = readers.map(({ stdout }) => stdout.getReader());
    for (const output of outputs) await output.read();
    for (let i = 0; i < 5; i++) takeIn(index, `vm${i}/disk`, randomBytes(20_000 * 8));
    takeIn(index, "last/disk", randomBytes(8));
    for (const [i, reader] of readers.entries()) {
      expect(await reader.exited).toBe(0);
      expect(Buffer.from((await outputs[i]!.read()).value!).toString()).toMatch(/^looks [1-9]/);
    }
  });
});
