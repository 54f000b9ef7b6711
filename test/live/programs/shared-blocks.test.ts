/** Blocks that two files share, on a file system that can: XFS, made with and without (mkfs.xfs(8)). */
import { expect, test } from "bun:test";
import { randomBytes } from "node:crypto";
import {
  closeSync,
  fsyncSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readFileSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { sharesBlocks } from "../../../src/platform/files/copy-range.ts";
import { freeBytes } from "../../../src/platform/files/filesystem.ts";
import { limits } from "../../../src/protocol/limits.ts";
import { BlockFinder } from "../../../src/transfer/reuse/store/block-finder.ts";
import { BlockHasher } from "../../../src/transfer/reuse/store/block-hash.ts";
import { findProgram } from "../../support/runner/needs.ts";
import { runChild } from "../../support/system/child.ts";
import { MountNamespace } from "../../support/system/mount-namespace.ts";
import { eachTestInFolder } from "../../support/system/test-folder.ts";

const mebibyte = 1024 ** 2;
const chunks = 32;
const key = randomBytes(16);
let folder: string;
let disk: string;
let mounts: MountNamespace | undefined;

eachTestInFolder("migrate-shared-", (made) => {
  folder = made;
  return async () => {
    await mounts?.close();
    mounts = undefined;
  };
});

/** A new XFS, mounted at `disk`. */
async function mountXfs(reflink: 0 | 1): Promise<void> {
  const image = join(folder, "image");
  writeFileSync(image, "");
  const fd = openSync(image, "r+");
  ftruncateSync(fd, 512 * mebibyte);
  closeSync(fd);
  await runChild([findProgram("mkfs.xfs") ?? "mkfs.xfs", "-q", "-m", `reflink=${reflink}`, image]);
  const mountPoint = join(folder, "disk");
  mkdirSync(mountPoint);
  mounts = await MountNamespace.make([`mount -o loop '${image}' '${mountPoint}'`]);
  disk = mounts.inside(mountPoint);
}

/** Puts the blocks of a base into a new file; gives what that cost in room on the disk. */
function shareWhole(data: Buffer): number {
  const base = join(disk, "base");
  writeFileSync(base, data, { flush: true });
  const fd = openSync(join(disk, "copy"), "w+");
  ftruncateSync(fd, data.length);
  fsyncSync(fd);
  const before = freeBytes(disk);
  const finder = new BlockFinder({ key, index: null, bases: [base] });
  const hasher = new BlockHasher(key);
  try {
    for (let chunk = 0; chunk < chunks; chunk++) {
      const at = chunk * limits.chunkBytes;
      const room = Buffer.alloc(limits.chunkBytes);
      const hashes = hasher.hashes(data.subarray(at, at + limits.chunkBytes));
      const found = finder.find(0, chunk, hashes, room);
      expect(finder.share(found, room, fd, at)).toBe(true);
    }
    fsyncSync(fd);
  } finally {
    finder.close();
    closeSync(fd);
  }
  return before - freeBytes(disk);
}

test("where files can share blocks, found ones take no room, and stay when their file is changed", async () => {
  await mountXfs(1);
  expect(sharesBlocks(disk)).toBe(true);
  const data = randomBytes(chunks * limits.chunkBytes);
  expect(shareWhole(data)).toBeLessThan(2 * mebibyte);
  writeFileSync(join(disk, "base"), Buffer.alloc(data.length, 1), { flag: "r+", flush: true });
  expect(readFileSync(join(disk, "copy")).equals(data)).toBe(true);
});

test("the same kind of file system made without is known by trying, and copies", async () => {
  await mountXfs(0);
  expect(sharesBlocks(disk)).toBe(false);
  const data = randomBytes(chunks * limits.chunkBytes);
  expect(shareWhole(data)).toBeGreaterThan((chunks - 2) * mebibyte);
  expect(readFileSync(join(disk, "copy")).equals(data)).toBe(true);
});
