import { Database } from "bun:sqlite";
import { describe, expect, test } from "bun:test";
import { randomBytes } from "node:crypto";
import {
  closeSync,
  mkdirSync,
  openSync,
  renameSync,
  rmSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { limits } from "../../../../src/protocol/limits.ts";
import { BlockHasher } from "../../../../src/transfer/reuse/store/block-hash.ts";
import { BlockIndex } from "../../../../src/transfer/reuse/store/block-index.ts";
import { Indexer } from "../../../../src/transfer/reuse/store/indexer.ts";
import type { FromIndexer, ScanSummary } from "../../../../src/transfer/reuse/store/indexer-messages.ts";
import { eachTestInFolder } from "../../../support/system/test-folder.ts";

const { blockBytes } = limits;
const mebibyte = 1024 ** 2;
const minuteMs = 60_000;
const key = randomBytes(16);
const hasher = new BlockHasher(key);

let folder: string;
let store: string;
let database: string;
let indexer: Indexer;
let messages: FromIndexer[];
let nowMs: number;
let onPiece: (path: string) => void;

eachTestInFolder("migrate-indexer-", (made) => {
  folder = made;
  store = join(folder, "store");
  database = join(folder, "index.sqlite");
  messages = [];
  nowMs = Date.now();
  onPiece = () => {};
  mkdirSync(store);
  indexer = new Indexer({
    database,
    store,
    key,
    quietMs: 10 * minuteMs,
    nowMs: () => nowMs,
    post: (message) => messages.push(message),
    onPiece: (path) => onPiece(path),
  });
  return () => indexer.stop();
});

function put(path: string, data: Buffer): void {
  mkdirSync(dirname(join(store, path)), { recursive: true });
  writeFileSync(join(store, path), data);
}

function change(path: string, at: number, data: Buffer): void {
  const fd = openSync(join(store, path), "r+");
  writeSync(fd, data, 0, data.length, at);
  closeSync(fd);
}

async function scan(): Promise<ScanSummary> {
  messages = [];
  await indexer.scan();
  const scanned = messages.find((message) => message.kind === "scanned");
  if (scanned === undefined) throw new Error(`no scan: ${JSON.stringify(messages)}`);
  return scanned.summary;
}

/** Where the index finds a block, as "path:block". */
function placesOf(block: Buffer): string[] {
  const index = BlockIndex.openReadOnly(database);
  try {
    return index.lookup(hasher.hash(block)).map(({ file, block: i }) => `${index.pathOf(file)}:${i}`);
  } finally {
    index.close();
  }
}

describe("a scan", () => {
  test("finds each block of each file, a last part as well, and reads nothing twice", async () => {
    const data = randomBytes(5 * mebibyte + 1000);
    put("web1/disk", data);
    const other = randomBytes(blockBytes);
    put("web2.migrated/ram", other);
    expect(await scan()).toMatchObject({ files: 2, blocks: 82, bytesRead: data.length + blockBytes });
    for (let i = 0; i * blockBytes < data.length; i++) {
      expect(placesOf(data.subarray(i * blockBytes, (i + 1) * blockBytes))).toEqual([`web1/disk:${i}`]);
    }
    expect(placesOf(other)).toEqual(["web2.migrated/ram:0"]);
    expect(messages.filter(({ kind }) => kind === "files").at(-1)).toEqual({ kind: "files", count: 2 });
    expect(await scan()).toMatchObject({ files: 0, blocks: 0, bytesRead: 0 });
  });

  test("skips holes, and finds what lies between and across them", async () => {
    const data = randomBytes(3 * blockBytes);
    put("web1/disk", Buffer.alloc(0));
    truncateSync(join(store, "web1/disk"), 2 ** 40);
    change("web1/disk", 2 ** 39, data);
    const across = randomBytes(8192);
    const blockWithHole = Buffer.alloc(blockBytes);
    across.copy(blockWithHole, 20_480);
    change("web1/disk", 7 * blockBytes + 20_480, across);
    const summary = await scan();
    expect(summary.blocks).toBe(4);
    expect(summary.bytesRead).toBeLessThan(mebibyte);
    expect(placesOf(data.subarray(blockBytes, 2 * blockBytes))).toEqual([
      `web1/disk:${2 ** 39 / blockBytes + 1}`,
    ]);
    expect(placesOf(blockWithHole)).toEqual(["web1/disk:7"]);
  });

  test("leaves out blocks of zeros that are written out", async () => {
    put("web1/disk", Buffer.concat([Buffer.alloc(4 * blockBytes), randomBytes(blockBytes)]));
    expect((await scan()).blocks).toBe(1);
    expect(placesOf(Buffer.alloc(blockBytes))).toEqual([]);
  });

  test("forgets what is gone, and follows a VM's folder to its new name without reading it", async () => {
    const [gone, moved] = [randomBytes(blockBytes), randomBytes(blockBytes)];
    put("gone/disk", gone);
    put("web1/disk", moved);
    await scan();
    rmSync(join(store, "gone"), { recursive: true });
    renameSync(join(store, "web1"), join(store, "web1.migrated"));
    expect(await scan()).toMatchObject({ files: 0, bytesRead: 0 });
    expect(placesOf(gone)).toEqual([]);
    expect(placesOf(moved)).toEqual(["web1.migrated/disk:0"]);
  });

  test("reads a file that has changed once it has been left alone for ten minutes, by the clock given", async () => {
    const [before, after] = [randomBytes(blockBytes), randomBytes(blockBytes)];
    put("web1/disk", before);
    await scan();
    change("web1/disk", 0, after);
    nowMs = Date.now() + 9 * minuteMs;
    expect((await scan()).files).toBe(0);
    expect(placesOf(before).length).toBe(1);
    nowMs = Date.now() + 11 * minuteMs;
    expect((await scan()).files).toBe(1);
    expect(placesOf(before)).toEqual([]);
    expect(placesOf(after)).toEqual(["web1/disk:0"]);
  });

  test("does not take a file for up to date that changes while it is read", async () => {
    const after = randomBytes(blockBytes);
    put("web1/disk", randomBytes(9 * mebibyte));
    let pieces = 0;
    onPiece = (path) => {
      // The first piece has been read and is not read again in this scan.
      if (++pieces === 1) change(path, 0, after);
    };
    expect((await scan()).files).toBe(1);
    expect(pieces).toBe(3);
    expect(placesOf(after)).toEqual([]);
    nowMs += 11 * minuteMs;
    expect((await scan()).files).toBe(1);
    expect(placesOf(after)).toEqual(["web1/disk:0"]);
    expect((await scan()).files).toBe(0);
  });

  test("goes on past a file that is cut short or deleted while it is read", async () => {
    put("a/disk", randomBytes(9 * mebibyte));
    put("b/disk", randomBytes(9 * mebibyte));
    const last = randomBytes(blockBytes);
    put("c/disk", last);
    onPiece = (path) => {
      if (path === "a/disk") truncateSync(join(store, path), mebibyte);
      if (path === "b/disk") rmSync(join(store, "b"), { recursive: true, force: true });
    };
    await scan();
    expect(placesOf(last)).toEqual(["c/disk:0"]);
  });

  test("that is asked for while one runs comes after it, once", async () => {
    put("web1/disk", randomBytes(blockBytes));
    const late = randomBytes(blockBytes);
    onPiece = () => {
      onPiece = () => {};
      put("web2/disk", late);
      for (let i = 0; i < 3; i++) void indexer.scan();
    };
    await indexer.scan();
    expect(messages.filter(({ kind }) => kind === "scanned").length).toBe(2);
    expect(placesOf(late)).toEqual(["web2/disk:0"]);
  });

  test("sweeps once most of the index is of files that are gone", async () => {
    put("web1/disk", randomBytes(blockBytes));
    await scan();
    await indexer.stop();
    const index = BlockIndex.open(database, store);
    const unfinished = index.begin();
    index.add(unfinished, 0, randomBytes(5 * 16_384 * 8));
    expect([...index.flush(unfinished)].length).toBe(5);
    expect(index.needsSweep).toBe(true);
    index.close();
    indexer = new Indexer({ database, store, key, quietMs: 0, nowMs: Date.now, post: () => {} });
    await indexer.scan();
    const swept = BlockIndex.openReadOnly(database);
    expect(swept.needsSweep).toBe(false);
    swept.close();
  });
});

describe("giving way", () => {
  test("a pause holds the indexer after the piece in hand, and resume lets it go on", async () => {
    const data = randomBytes(13 * mebibyte);
    put("web1/disk", data);
    let pieces = 0;
    const paused = Promise.withResolvers<void>();
    onPiece = () => {
      if (++pieces !== 2) return;
      indexer.pause();
      paused.resolve();
    };
    const done = indexer.scan();
    await paused.promise;
    // Every turn that it could go on with.
    for (let turn = 0; turn < 50; turn++) await new Promise<void>((resolve) => setImmediate(resolve));
    expect(pieces).toBe(2);
    indexer.resume();
    await done;
    expect(pieces).toBe(4);
    expect(placesOf(data.subarray(-blockBytes))).toEqual([`web1/disk:${data.length / blockBytes - 1}`]);
  });

  test("a stop ends a scan at the next piece, also while it is paused, and leaves nothing half done", async () => {
    const data = randomBytes(9 * mebibyte);
    put("web1/disk", data);
    onPiece = () => indexer.pause();
    const done = indexer.scan();
    for (let turn = 0; turn < 50; turn++) await new Promise<void>((resolve) => setImmediate(resolve));
    await indexer.stop();
    await done;
    expect(messages.some(({ kind }) => kind === "scanned")).toBe(false);
    expect(placesOf(data.subarray(0, blockBytes))).toEqual([]);
  });

  test("memory does not grow with the file", async () => {
    put("web1/disk", randomBytes(blockBytes));
    const fd = openSync(join(store, "web1/disk"), "r+");
    const piece = randomBytes(4 * mebibyte);
    for (let i = 0; i < 64; i++) {
      piece.writeUInt32BE(i, 0);
      writeSync(fd, piece, 0, piece.length, i * piece.length);
    }
    closeSync(fd);
    let most = 0;
    let first = 0;
    onPiece = () => {
      first ||= process.memoryUsage().rss;
      most = Math.max(most, process.memoryUsage().rss);
    };
    expect((await scan()).bytesRead).toBe(256 * mebibyte);
    expect(most - first).toBeLessThan(48 * mebibyte);
  });
});

describe("an index that cannot be used", () => {
  test("is made anew with the same key where it turns out to be damaged, and read whole again", async () => {
    const data = randomBytes(2 * mebibyte);
    put("web1/disk", data);
    await scan();
    await indexer.stop();
    // All that is read when it is opened stands; where the blocks are kept does not.
    const pages = new Database(database, { readonly: true });
    const { root } = pages
      .query("SELECT rootpage AS root FROM sqlite_schema WHERE name = 'blocks'")
      .get() as {
      root: number;
    };
    pages.close();
    const fd = openSync(database, "r+");
    writeSync(fd, randomBytes(4096), 0, 4096, (root - 1) * 4096);
    closeSync(fd);
    put("web2/disk", randomBytes(blockBytes));
    indexer = new Indexer({
      database,
      store,
      key,
      quietMs: 0,
      nowMs: () => nowMs,
      post: (message) => messages.push(message),
    });
    expect(await scan()).toMatchObject({ files: 2 });
    expect(placesOf(data.subarray(0, blockBytes))).toEqual(["web1/disk:0"]);
  });

  test("is told, and the next scan tries again", async () => {
    mkdirSync(database);
    put("web1/disk", randomBytes(blockBytes));
    await indexer.scan();
    expect(messages.map(({ kind }) => kind)).toEqual(["failed"]);
    rmSync(database, { recursive: true });
    expect(await scan()).toMatchObject({ files: 1 });
  });
});
