import { expect, test } from "bun:test";
import { randomBytes } from "node:crypto";
import { mkdirSync, readdirSync, realpathSync, rmSync, statSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { limits } from "../../../../src/protocol/limits.ts";
import { BlockFinder } from "../../../../src/transfer/reuse/store/block-finder.ts";
import { BlockHasher } from "../../../../src/transfer/reuse/store/block-hash.ts";
import { BlockIndex } from "../../../../src/transfer/reuse/store/block-index.ts";
import { indexPath } from "../../../../src/transfer/reuse/store/index-file.ts";
import { IndexKeeper } from "../../../../src/transfer/reuse/store/index-keeper.ts";
import type { ScanSummary } from "../../../../src/transfer/reuse/store/indexer-messages.ts";
import { eachTestInFolder } from "../../../support/system/test-folder.ts";
import { until } from "../../../support/system/until.ts";

let [folder, home, store] = ["", "", ""];
let keepers: IndexKeeper[];
let scans: ScanSummary[];
let failures: Error[];

eachTestInFolder("migrate-keeper-", (made) => {
  folder = made;
  home = join(folder, "home");
  store = join(folder, "store");
  mkdirSync(home);
  mkdirSync(store);
  [keepers, scans, failures] = [[], [], []];
  return async () => {
    for (const keeper of keepers) await keeper.stop();
  };
});

function start(more: { everyMs?: number } = {}): IndexKeeper {
  const keeper = IndexKeeper.start({
    home,
    store,
    indexed: (summary) => scans.push(summary),
    failed: (error) => failures.push(error),
    ...more,
  });
  keepers.push(keeper);
  return keeper;
}

function put(path: string, data: Buffer): void {
  mkdirSync(dirname(join(store, path)), { recursive: true });
  writeFileSync(join(store, path), data);
}

/** Waits for the end of scan number `count` of the test. */
const scanned = (count: number) => until(() => scans.length >= count, `scan ${count}`);

test("what is in the store can be found soon after the start, by what the grant says", async () => {
  const data = randomBytes(limits.chunkBytes);
  put("web1/disk", data);
  const keeper = start();
  expect(keeper.grant).toBeNull();
  await scanned(1);
  expect(scans[0]).toMatchObject({ files: 1, blocks: 16, bytesRead: data.length });
  const grant = keeper.grant!;
  expect(grant).toEqual({ database: indexPath(home, store), store: realpathSync(store), key: keeper.key });
  expect(statSync(join(home, "index")).mode & 0o777).toBe(0o700);
  const finder = new BlockFinder({ key: grant.key, index: grant, bases: [] });
  const room = Buffer.alloc(data.length);
  finder.find(0, 0, new BlockHasher(grant.key).hashes(data), room);
  finder.close();
  expect(room.equals(data)).toBe(true);
});

test("an index from before is of use at once, under the same key", async () => {
  put("web1/disk", randomBytes(limits.blockBytes));
  const first = start();
  await scanned(1);
  await first.stop();
  const second = start();
  expect(second.grant?.key).toEqual(first.key);
  await scanned(2);
  expect(scans[1]).toMatchObject({ files: 0, bytesRead: 0 });
});

test("the grant is null again once nothing is left in the store", async () => {
  put("web1/disk", randomBytes(limits.blockBytes));
  const keeper = start();
  await scanned(1);
  rmSync(join(store, "web1"), { recursive: true });
  keeper.scan();
  await scanned(2);
  expect(keeper.grant).toBeNull();
  expect(keeper.key.length).toBe(16);
});

test("pauses are counted: reading goes on after as many resumes, and no sooner", async () => {
  const keeper = start();
  await scanned(1);
  keeper.pause();
  keeper.pause();
  put("web1/disk", randomBytes(limits.blockBytes));
  keeper.scan();
  keeper.resume();
  // In the time that this one takes to start and to read, the other would have read the file as well.
  home = join(folder, "another home");
  mkdirSync(home);
  const other = start();
  await until(() => other.grant !== null, "the other one's scan");
  expect(keeper.grant).toBeNull();
  keeper.resume();
  await until(() => keeper.grant !== null, "the file");
});

test("the store is looked at again by itself", async () => {
  const keeper = start({ everyMs: 5 });
  await scanned(1);
  put("web1/disk", randomBytes(limits.blockBytes));
  await until(() => keeper.grant !== null, "the file");
});

test("lanes read while the indexer writes, and are never refused", async () => {
  const first = randomBytes(limits.blockBytes);
  put("a/disk", first);
  const keeper = start();
  await scanned(1);
  const hash = new BlockHasher(keeper.key).hash(first);
  const reader = BlockIndex.openReadOnly(keeper.grant!.database);
  for (let i = 0; i < 4; i++) put(`vm${i}/disk`, randomBytes(8 * limits.chunkBytes));
  keeper.scan();
  await until(() => {
    for (let i = 0; i < 20; i++) expect(reader.atOnce(() => reader.lookup(hash)).length).toBe(1);
    return scans.length >= 2;
  }, "the scan");
  reader.close();
  expect(scans[1]!.files).toBe(4);
});

test("a home in which no index can be kept is told once, and there is a key for bases", async () => {
  writeFileSync(join(home, "index"), "not a folder");
  const keeper = start();
  expect(failures.length).toBe(1);
  expect(keeper.grant).toBeNull();
  expect(keeper.key.length).toBe(16);
  keeper.scan();
  keeper.pause();
  await keeper.stop();
  expect(readdirSync(home)).toEqual(["index"]);
});

test("stopping twice is stopping once", async () => {
  const keeper = start();
  await Promise.all([keeper.stop(), keeper.stop()]);
  await keeper.stop();
  expect(failures).toEqual([]);
});
