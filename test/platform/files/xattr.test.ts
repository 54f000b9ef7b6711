import { afterEach, beforeEach, expect, test } from "bun:test";
import { closeSync, mkdtempSync, openSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { getAttribute, removeAttribute, setAttribute } from "../../../src/platform/files/xattr.ts";

const name = "user.migrate.test";
let folder: string;
let path: string;
let fds: number[];
const opened = (at = path): number => {
  fds.push(openSync(at, "r"));
  return fds.at(-1)!;
};
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "migrate-xattr-"));
  path = join(folder, "file");
  writeFileSync(path, "content");
  fds = [];
});
afterEach(() => {
  for (const fd of fds) closeSync(fd);
  rmSync(folder, { recursive: true, force: true });
});

test("an attribute is read back from the same file under another name", () => {
  expect(setAttribute(opened(), name, "välue")).toBe(true);
  renameSync(path, join(folder, "renamed"));
  expect(getAttribute(opened(join(folder, "renamed")), name)).toBe("välue");
});

test("one that is not there is null, and taking it away changes nothing", () => {
  expect(getAttribute(opened(), name)).toBeNull();
  removeAttribute(opened(), name);
  setAttribute(opened(), name, "x");
  removeAttribute(opened(), name);
  expect(getAttribute(opened(), name)).toBeNull();
});

test("a longer one than this program writes is somebody else's", () => {
  expect(setAttribute(opened(), name, "x".repeat(2000))).toBe(true);
  expect(getAttribute(opened(), name)).toBeNull();
});

test("a folder can have one, and a file system without any says so", () => {
  expect(setAttribute(opened(folder), name, "folder")).toBe(true);
  expect(setAttribute(opened("/proc/self/status"), name, "x")).toBe(false);
  expect(getAttribute(opened("/proc/self/status"), name)).toBeNull();
});

test("a descriptor that is none is an error with its code", () => {
  expect(() => setAttribute(-1, name, "x")).toThrow(expect.objectContaining({ code: "EBADF" }));
});
