/** What is deleted of a VM's folder is what was looked at, whatever lies under its name by then. */
import { expect, test } from "bun:test";
import { existsSync, mkdirSync, readFileSync, renameSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { deleteOwn, ownEntries } from "../../../src/vm/folder/own-files.ts";
import { eachTestInFolder } from "../../support/system/test-folder.ts";

let folder: string;
eachTestInFolder("own-files", (made) => {
  folder = made;
});

const manifest = { files: [{ kind: "disk" as const, file: "shadow" }] };

/** A VM's folder and another one, with files of the same names. */
function two(): { vm: string; other: string } {
  const [vm, other] = [join(folder, "vm"), join(folder, "other")];
  for (const path of [vm, other]) {
    mkdirSync(path);
    writeFileSync(join(path, "shadow"), path);
    writeFileSync(join(path, "vm.json"), "{}");
  }
  return { vm, other };
}

test("a folder that leads elsewhere since it was looked at loses nothing there", () => {
  const { vm, other } = two();
  const { own } = ownEntries(vm, manifest as never);
  renameSync(vm, join(folder, "aside"));
  symlinkSync(other, vm);
  deleteOwn(vm, own);
  expect(readFileSync(join(other, "shadow"), "utf8")).toBe(other);
  expect(existsSync(join(other, "vm.json"))).toBe(true);
});

test("a file that was put in another one's place stays", () => {
  const { vm } = two();
  const { own } = ownEntries(vm, manifest as never);
  renameSync(join(vm, "shadow"), join(folder, "first"));
  writeFileSync(join(vm, "shadow"), "another");
  deleteOwn(vm, own);
  expect(readFileSync(join(vm, "shadow"), "utf8")).toBe("another");
});

test("what was looked at goes, and its folder with it", () => {
  const { vm } = two();
  deleteOwn(vm, ownEntries(vm, manifest as never).own);
  expect(existsSync(vm)).toBe(false);
});
