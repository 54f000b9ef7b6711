import { describe, expect, test } from "bun:test";
import { randomBytes } from "node:crypto";
import {
  closeSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { limits } from "../../../../src/protocol/limits.ts";
import { BlockFinder, type FoundBlock } from "../../../../src/transfer/reuse/store/block-finder.ts";
import { BlockHasher } from "../../../../src/transfer/reuse/store/block-hash.ts";
import { Indexer } from "../../../../src/transfer/reuse/store/indexer.ts";
import { eachTestInFolder } from "../../../support/system/test-folder.ts";

const { blockBytes, chunkBytes } = limits;
const key = randomBytes(16);
const hasher = new BlockHasher(key);

let folder: string;
let store: string;
let database: string;
let finders: BlockFinder[];

eachTestInFolder("migrate-finder-", (made) => {
  folder = made;
  store = join(folder, "store");
  database = join(folder, "index.sqlite");
  finders = [];
  mkdirSync(store);
  return () => {
    for (const finder of finders) finder.close();
  };
});

function put(path: string, data: Buffer): string {
  const whole = join(store, path);
  mkdirSync(dirname(whole), { recursive: true });
  writeFileSync(whole, data);
  return whole;
}

function change(path: string, at: number, data: Buffer): void {
  const fd = openSync(join(store, path), "r+");
  writeSync(fd, data, 0, data.length, at);
  closeSync(fd);
}

async function index(): Promise<void> {
  const indexer = new Indexer({ database, store, key, quietMs: 0, nowMs: Date.now, post: () => {} });
  await indexer.scan();
  await indexer.stop();
}

function finder(bases: (string | null)[] = [], withIndex = true): BlockFinder {
  const made = new BlockFinder({ key, index: withIndex ? { database, store } : null, bases });
  finders.push(made);
  return made;
}

/** What a finder finds of a chunk, and the room with it. */
function find(by: BlockFinder, data: Buffer, place = { file: 0, chunk: 0 }) {
  const room = Buffer.alloc(data.length);
  const found = by.find(place.file, place.chunk, hasher.hashes(data), room);
  return { found, room };
}

const block = (data: Buffer, i: number) => data.subarray(i * blockBytes, (i + 1) * blockBytes);
const whereOf = (found: readonly (FoundBlock | null)[]) =>
  found.map((each) =>
    each === null ? null : `${each.path.slice(store.length + 1)}:${each.offset / blockBytes}`,
  );

/** Open files below a folder, also those that are deleted by now. */
function openBelow(path: string): string[] {
  return readdirSync("/proc/self/fd").flatMap((fd) => {
    try {
      const target = readlinkSync(`/proc/self/fd/${fd}`);
      return target.startsWith(`${path}/`) ? [target] : [];
    } catch {
      return [];
    }
  });
}

describe("by the index", () => {
  test("a chunk whose blocks lie scattered in several files is found whole", async () => {
    const [one, two] = [randomBytes(chunkBytes), randomBytes(3 * chunkBytes)];
    put("a/disk", one);
    put("b/disk", two);
    await index();
    const nothing = Buffer.alloc(blockBytes);
    const parts = [block(two, 40), block(two, 41), block(two, 7), block(one, 3), nothing, block(two, 0)];
    const data = Buffer.concat(parts);
    const { found, room } = find(finder(), data);
    expect(whereOf(found)).toEqual(["b/disk:40", "b/disk:41", "b/disk:7", "a/disk:3", null, "b/disk:0"]);
    expect(room.equals(data)).toBe(true);
  });

  test("a last part is found where a file ends with it, and nowhere else", async () => {
    const part = randomBytes(5000);
    put("a/disk", Buffer.concat([randomBytes(blockBytes), part]));
    await index();
    const { found, room } = find(finder(), part);
    expect(found).toEqual([{ path: join(store, "a/disk"), offset: blockBytes, bytes: 5000 }]);
    expect(room.equals(part)).toBe(true);
    expect(find(finder(), Buffer.concat([part, Buffer.alloc(1000)])).found).toEqual([null]);
  });

  test("a block that was damaged after it was indexed is not found, its neighbours are", async () => {
    const data = randomBytes(4 * blockBytes);
    put("a/disk", data);
    await index();
    change("a/disk", 2 * blockBytes + 777, Buffer.of(data[2 * blockBytes + 777]! ^ 1));
    expect(whereOf(find(finder(), data).found)).toEqual(["a/disk:0", "a/disk:1", null, "a/disk:3"]);
  });

  test("a block is taken from another file where the first one has it no more", async () => {
    const data = randomBytes(2 * blockBytes);
    for (const name of ["a", "b", "c"]) put(`${name}/disk`, data);
    await index();
    change("a/disk", 0, randomBytes(blockBytes));
    rmSync(join(store, "b"), { recursive: true });
    const { found, room } = find(finder(), data);
    expect(whereOf(found)[0]).toBe("c/disk:0");
    expect(room.equals(data)).toBe(true);
  });

  test("a file that was cut short, replaced or deleted is no error: what is gone is not found", async () => {
    const data = randomBytes(4 * blockBytes);
    put("cut/disk", data);
    await index();
    truncateSync(join(store, "cut/disk"), 2 * blockBytes + 10);
    expect(whereOf(find(finder(), data).found)).toEqual(["cut/disk:0", "cut/disk:1", null, null]);
    renameSync(join(store, "cut"), join(store, "aside"));
    put("cut/disk", randomBytes(4 * blockBytes));
    expect(find(finder(), data).found).toEqual([null, null, null, null]);
    rmSync(join(store, "cut"), { recursive: true });
    expect(find(finder(), data).found).toEqual([null, null, null, null]);
  });

  test("a file that is deleted while it is in use goes on being read, until the finder is closed", async () => {
    const data = randomBytes(2 * blockBytes);
    put("a/disk", data);
    await index();
    const one = finder();
    find(one, data);
    rmSync(join(store, "a"), { recursive: true });
    expect(find(one, data).room.equals(data)).toBe(true);
    expect(openBelow(store).length).toBe(1);
    one.close();
    expect(openBelow(store)).toEqual([]);
  });

  test("no link that was put in a file's place is followed", async () => {
    const data = randomBytes(2 * blockBytes);
    put("a/disk", data);
    await index();
    renameSync(join(store, "a/disk"), join(folder, "elsewhere"));
    symlinkSync(join(folder, "elsewhere"), join(store, "a/disk"));
    expect(find(finder(), data).found).toEqual([null, null]);
  });

  test("no more than 32 files are open at once, and all of them are found", async () => {
    const blocks = Array.from({ length: 40 }, () => randomBytes(blockBytes));
    for (const [i, data] of blocks.entries()) put(`vm${i}/disk`, data);
    await index();
    const one = finder();
    for (const data of blocks) expect(find(one, data).room.equals(data)).toBe(true);
    expect(openBelow(store).length).toBe(32);
    expect(find(one, blocks[0]!).room.equals(blocks[0]!)).toBe(true);
  });

  test("an index that is missing, no index, or damaged while it is open finds nothing and breaks nothing", async () => {
    const data = randomBytes(2 * blockBytes);
    expect(find(finder(), data).found).toEqual([null, null]);
    writeFileSync(database, "no index");
    expect(find(finder(), data).found).toEqual([null, null]);
    rmSync(database);
    put("a/disk", data);
    await index();
    const one = finder();
    const fd = openSync(database, "r+");
    writeSync(fd, randomBytes(4096 * 4), 0, 4096 * 4, 4096);
    closeSync(fd);
    expect(find(one, data).found).toEqual([null, null]);
    expect(find(one, data).found).toEqual([null, null]);
  });
});

describe("by a base", () => {
  test("blocks are found in the same place, with or without an index, and only what differs is not", () => {
    const data = randomBytes(3 * chunkBytes - 1000);
    const base = put("base/disk", data);
    const chunk = Buffer.from(data.subarray(2 * chunkBytes));
    randomBytes(10).copy(chunk, 5 * blockBytes);
    const { found, room } = find(finder([null, base], false), chunk, { file: 1, chunk: 2 });
    expect(found.map((each) => each !== null)).toEqual(Array.from({ length: 16 }, (_, i) => i !== 5));
    expect(found[15]).toEqual({ path: base, offset: 47 * blockBytes, bytes: blockBytes - 1000 });
    expect(block(room, 4).equals(block(chunk, 4))).toBe(true);
    expect(
      find(finder([base], false), chunk, { file: 0, chunk: 0 }).found.every((each) => each === null),
    ).toBe(true);
  });

  test("the rest is looked up in the index", async () => {
    const [one, two] = [randomBytes(4 * blockBytes), randomBytes(4 * blockBytes)];
    const base = put("base/disk", one);
    put("other/disk", two);
    await index();
    const data = Buffer.concat([block(one, 0), block(two, 3), block(one, 2), randomBytes(blockBytes)]);
    const { found } = find(finder([base]), data);
    expect(whereOf(found)).toEqual(["base/disk:0", "other/disk:3", "base/disk:2", null]);
  });

  test("a base that is shorter has what it has", () => {
    const data = randomBytes(4 * blockBytes);
    const base = put("base/disk", data.subarray(0, 2 * blockBytes + 5));
    expect(find(finder([base], false), data).found.map((each) => each !== null)).toEqual([
      true,
      true,
      false,
      false,
    ]);
    expect(find(finder([base], false), data, { file: 0, chunk: 7 }).found).toEqual([null, null, null, null]);
  });

  test("a base that is a link, a folder, or not there finds nothing, and neither does a file without one", () => {
    const data = randomBytes(blockBytes);
    const base = put("base/disk", data);
    symlinkSync(base, join(store, "link"));
    for (const path of [join(store, "link"), store, join(store, "none"), null]) {
      expect(find(finder([path], false), data).found).toEqual([null]);
    }
    expect(find(finder([base], false), data, { file: 5, chunk: 0 }).found).toEqual([null]);
  });
});

describe("reading again", () => {
  test("puts the same bytes into their places, and leaves the others alone", async () => {
    const data = randomBytes(4 * blockBytes);
    put("a/disk", data);
    await index();
    const one = finder();
    const { found } = find(one, data);
    const some = found.map((each, i) => (i === 1 || i === 2 ? each : null));
    const room = Buffer.alloc(data.length, 7);
    expect(one.read(some, hasher.hashes(data), room)).toBe(true);
    expect(room.subarray(blockBytes, 3 * blockBytes).equals(data.subarray(blockBytes, 3 * blockBytes))).toBe(
      true,
    );
    expect(block(room, 0).equals(Buffer.alloc(blockBytes, 7))).toBe(true);
    expect(block(room, 3).equals(Buffer.alloc(blockBytes, 7))).toBe(true);
  });

  test("is false where a block has changed since, or the file has become shorter", async () => {
    const data = randomBytes(4 * blockBytes);
    put("a/disk", data);
    await index();
    const one = finder();
    const { found, room } = find(one, data);
    const hashes = hasher.hashes(data);
    change("a/disk", 3 * blockBytes, Buffer.of(data[3 * blockBytes]! ^ 128));
    expect(one.read(found, hashes, room)).toBe(false);
    expect(one.read(found.slice(0, 3), hashes, room.subarray(0, 3 * blockBytes))).toBe(true);
    truncateSync(join(store, "a/disk"), blockBytes);
    expect(one.read(found.slice(0, 2), hashes, room.subarray(0, 2 * blockBytes))).toBe(false);
  });

  test("opens no path that is neither in the store's index nor a base", () => {
    const data = randomBytes(blockBytes);
    const path = join(folder, "secret");
    writeFileSync(path, data);
    mkdirSync(join(store, ".migrate-0123456789abcdef"));
    const unfinished = put(".migrate-0123456789abcdef/disk", data);
    for (const each of [path, unfinished]) {
      const found = [{ path: each, offset: 0, bytes: blockBytes }];
      expect(finder().read(found, hasher.hashes(data), Buffer.alloc(blockBytes))).toBe(false);
    }
  });
});

describe("sharing", () => {
  /** A file of the size of a chunk, full of something else. */
  function target(): { path: string; fd: number } {
    const path = join(folder, "target");
    writeFileSync(path, Buffer.alloc(2 * chunkBytes, 9));
    return { path, fd: openSync(path, "r+") };
  }

  test("puts the blocks where they belong, and nothing beside them", () => {
    const data = randomBytes(chunkBytes);
    const base = put("base/disk", data);
    const one = finder([base], false);
    const { found, room } = find(one, data);
    found[3] = null;
    const { path, fd } = target();
    try {
      expect(one.share(found, room, fd, chunkBytes)).toBe(true);
    } finally {
      closeSync(fd);
    }
    const expected = Buffer.alloc(2 * chunkBytes, 9);
    data.copy(expected, chunkBytes);
    expected.fill(9, chunkBytes + 3 * blockBytes, chunkBytes + 4 * blockBytes);
    expect(readFileSync(path).equals(expected)).toBe(true);
  });

  const changes = {
    changed: (base: string) => change(base, 2 * blockBytes, randomBytes(100)),
    "cut short": (base: string) => truncateSync(join(store, base), 3 * blockBytes + 1),
  };
  for (const [how, spoil] of Object.entries(changes)) {
    test(`puts the right bytes there where the found ones were ${how} since they were read`, () => {
      const data = randomBytes(4 * blockBytes);
      data.fill(0, 2 * blockBytes, 2 * blockBytes + 4096);
      const one = finder([put("base/disk", data)], false);
      const { found, room } = find(one, data);
      spoil("base/disk");
      const { path, fd } = target();
      try {
        expect(one.share(found, room, fd, 0)).toBe(true);
      } finally {
        closeSync(fd);
      }
      expect(readFileSync(path).subarray(0, data.length).equals(data)).toBe(true);
    });
  }

  test("throws where the file cannot be written", () => {
    const base = put("base/disk", randomBytes(blockBytes));
    const one = finder([base], false);
    const { found, room } = find(one, readFileSync(base));
    const fd = openSync(base, "r");
    try {
      expect(() => one.share(found, room, fd, 0)).toThrow(expect.objectContaining({ code: "EBADF" }));
    } finally {
      closeSync(fd);
    }
  });
});
