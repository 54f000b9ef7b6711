import { afterEach, beforeEach, expect, test } from "bun:test";
import {
  existsSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { FilePlace } from "../../../src/vm/disks/file-place.ts";
import { Folder } from "../../transfer/sparse-file.ts";

let folder: Folder;
let path: string;
beforeEach(() => {
  folder = new Folder();
  path = join(folder.path, "disk.raw");
});
afterEach(() => folder.remove());

test("is made in its full size without a block, for nobody else to read", () => {
  const place = new FilePlace(path);
  expect(place.size()).toBeNull();
  expect(place.prepare(1024 ** 2)).toBe(false);
  expect(place.size()).toBe(1024 ** 2);
  expect(place.allocatedBytes()).toBe(0);
  expect(statSync(path).mode & 0o777).toBe(0o600);
});

test("keeps what lies there, says so, and brings it to its size", () => {
  writeFileSync(path, "kept");
  const place = new FilePlace(path);
  expect(place.prepare(100)).toBe(true);
  expect(readFileSync(path).subarray(0, 4).toString()).toBe("kept");
  truncateSync(path, 200);
  expect(place.prepare(100)).toBe(true);
  expect(place.size()).toBe(100);
});

test("is not written through a link that somebody put there, and none counts as it", () => {
  const victim = join(folder.path, "victim");
  writeFileSync(victim, "");
  symlinkSync(victim, path);
  const place = new FilePlace(path);
  expect(() => place.prepare(100)).toThrow("ELOOP");
  expect(place.size()).toBeNull();
});

test("has another stamp once it was written, replaced or taken away", async () => {
  const place = new FilePlace(path);
  place.prepare(100);
  const stamps = [place.stamp()];
  writeFileSync(path, "x", { flag: "r+" });
  stamps.push(place.stamp());
  rmSync(path);
  stamps.push(place.stamp());
  place.prepare(100);
  stamps.push(place.stamp());
  expect(new Set(stamps).size).toBe(4);
  await place.sync();
});

test("is removed, and that may be done again", () => {
  const place = new FilePlace(path);
  place.prepare(100);
  place.publish();
  place.remove();
  place.remove();
  expect(existsSync(path)).toBe(false);
  expect(place.allocatedBytes()).toBe(0);
});
