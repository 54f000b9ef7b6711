import { afterEach, beforeEach, expect, test } from "bun:test";
import { closeSync, mkdtempSync, openSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setAttribute } from "../../../src/platform/files/xattr.ts";
import { markReleased, releaseMark, unmarkReleased } from "../../../src/vm/folder/release-mark.ts";

const mark = { session: "ab".repeat(16), to: `sha256:${"0".repeat(64)}` };
let folder: string;
let path: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "migrate-mark-"));
  path = join(folder, "disk.raw");
  writeFileSync(path, "content");
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

// [OWN-8]
test("a file says who released it and to whom, under any name, until that session takes it off", () => {
  expect(releaseMark(path)).toBeNull();
  expect(markReleased(path, mark)).toBe(true);
  expect(markReleased(path, mark)).toBe(true);
  const renamed = join(folder, "disk.raw.migrated");
  renameSync(path, renamed);
  expect(releaseMark(renamed)).toEqual(mark);
  unmarkReleased(renamed, "cd".repeat(16));
  expect(releaseMark(renamed)).toEqual(mark);
  unmarkReleased(renamed, mark.session);
  unmarkReleased(renamed, mark.session);
  expect(releaseMark(renamed)).toBeNull();
});

test("what somebody else wrote there is no mark", () => {
  for (const text of ["", "no JSON", "{}", JSON.stringify({ ...mark, to: "somebody" })]) {
    const fd = openSync(path, "r");
    setAttribute(fd, "user.migrate.released", text);
    closeSync(fd);
    expect(releaseMark(path)).toBeNull();
  }
});

test("neither a file that is gone nor a link has one, and marking them is an error", () => {
  const link = join(folder, "link");
  symlinkSync(path, link);
  markReleased(path, mark);
  expect(releaseMark(link)).toBeNull();
  expect(releaseMark(join(folder, "gone"))).toBeNull();
  expect(() => markReleased(link, mark)).toThrow("ELOOP");
  expect(() => markReleased(join(folder, "gone"), mark)).toThrow("ENOENT");
});
