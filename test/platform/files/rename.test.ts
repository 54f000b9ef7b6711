import { describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { checkAndRename, renameNoReplace, syncFolder } from "../../../src/platform/files/rename.ts";
import { eachTestInFolder } from "../../support/system/test-folder.ts";

let folder: string;
eachTestInFolder("migrate-rename-", (made) => {
  folder = made;
});

for (const [way, rename] of [
  ["the kernel's own way", renameNoReplace],
  ["the fallback", checkAndRename],
] as const) {
  describe(`renaming without overwriting, ${way}`, () => {
    test("moves a file, with a name outside ASCII", () => {
      writeFileSync(join(folder, "a"), "one");
      rename(join(folder, "a"), join(folder, "žlutý"));
      expect(readFileSync(join(folder, "žlutý"), "utf8")).toBe("one");
      expect(existsSync(join(folder, "a"))).toBe(false);
    });

    test("moves a folder", () => {
      mkdirSync(join(folder, "a"));
      writeFileSync(join(folder, "a", "inside"), "one");
      rename(join(folder, "a"), join(folder, "b"));
      expect(readFileSync(join(folder, "b", "inside"), "utf8")).toBe("one");
    });

    test("refuses a name that is taken, by a file, an empty folder or a dangling link, and keeps both", () => {
      writeFileSync(join(folder, "a"), "one");
      writeFileSync(join(folder, "file"), "two");
      mkdirSync(join(folder, "folder"));
      symlinkSync("nowhere", join(folder, "link"));
      for (const taken of ["file", "folder", "link"]) {
        expect(() => rename(join(folder, "a"), join(folder, taken))).toThrow(
          expect.objectContaining({ code: "EEXIST" }),
        );
      }
      expect(readFileSync(join(folder, "a"), "utf8")).toBe("one");
      expect(readFileSync(join(folder, "file"), "utf8")).toBe("two");
    });

    test("an empty folder does not give way to a folder", () => {
      mkdirSync(join(folder, "a"));
      mkdirSync(join(folder, "b"));
      expect(() => rename(join(folder, "a"), join(folder, "b"))).toThrow(
        expect.objectContaining({ code: "EEXIST" }),
      );
    });

    test("says ENOENT where there is nothing to rename", () => {
      expect(() => rename(join(folder, "a"), join(folder, "b"))).toThrow(
        expect.objectContaining({ code: "ENOENT" }),
      );
    });
  });
}

describe("syncing a folder", () => {
  test("works on a folder and refuses a file", () => {
    syncFolder(folder);
    writeFileSync(join(folder, "a"), "one");
    expect(() => syncFolder(join(folder, "a"))).toThrow(expect.objectContaining({ code: "ENOTDIR" }));
    expect(() => syncFolder(join(folder, "b"))).toThrow(expect.objectContaining({ code: "ENOENT" }));
  });
});
