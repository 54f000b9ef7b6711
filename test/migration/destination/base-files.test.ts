/** Which files of a store an arriving VM is compared with. */
import { expect, test } from "bun:test";
import { mkdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { baseFiles, type Comparable, StoredIds } from "../../../src/migration/destination/base-files.ts";
import { runChild } from "../../support/system/child.ts";
import { eachTestInFolder } from "../../support/system/test-folder.ts";

const id = "11111111-2222-4333-8444-555555555555";
let store: string;
eachTestInFolder("migrate-bases-", (made) => {
  store = made;
});

type Kind = Comparable["files"][number]["kind"];
const file = (kind: Kind, name: string) => ({ kind, name, bytes: 1, allocatedBytes: 1 });
const offer = (files: Comparable["files"], base?: string): Comparable => ({
  name: "web1",
  vm: id,
  files,
  ...(base === undefined ? {} : { base }),
});

/** A VM's folder in the store; without `manifest` it has no vm.json. */
function vm(name: string, files: [Kind, string][], { manifest = true, vmId = "" } = {}): string {
  const folder = join(store, name);
  mkdirSync(folder);
  for (const [, each] of files) writeFileSync(join(folder, each), "x");
  const listed = files.map(([kind, each]) => ({ kind, file: each }));
  const text = { format: "migrate-vm/1", name: "any", files: listed, ...(vmId ? { id: vmId } : {}) };
  if (manifest) writeFileSync(join(folder, "vm.json"), JSON.stringify(text));
  return folder;
}

test("a named base is paired by the files' names, and else by their place among their kind", () => {
  const folder = vm("golden", [
    ["disk", "root.raw"],
    ["disk", "data.raw"],
    ["ram", "golden.ram"],
  ]);
  const files = [
    file("ram", "web1.ram"),
    file("disk", "web1-0.raw"),
    file("disk", "data.raw"),
    file("tpm", "state"),
  ];
  expect(baseFiles(store, offer(files, "golden"))).toEqual({
    paths: [join(folder, "golden.ram"), join(folder, "root.raw"), join(folder, "data.raw"), null],
    found: true,
  });
});

test("an image that somebody put into a folder serves without a vm.json", () => {
  const folder = vm("debian", [["disk", "debian.raw"]], { manifest: false });
  const { paths } = baseFiles(store, offer([file("disk", "web1.raw")], "debian"));
  expect(paths).toEqual([join(folder, "debian.raw")]);
});

test("a base that is not there, or is a link, is not found", () => {
  vm("golden", [["disk", "root.raw"]]);
  symlinkSync(join(store, "golden"), join(store, "link"));
  for (const base of ["nothing", "link"]) {
    expect(baseFiles(store, offer([file("disk", "root.raw")], base))).toEqual({
      paths: [null],
      found: false,
    });
  }
});

test("without a name, what the VM left behind serves, or a VM with its id", () => {
  const same = vm("other", [["disk", "root.raw"]], { vmId: id });
  const files = [file("disk", "root.raw")];
  expect(baseFiles(store, offer(files)).paths).toEqual([join(same, "root.raw")]);
  const left = vm("web1.migrated", [["disk", "root.raw"]]);
  expect(baseFiles(store, offer(files)).paths).toEqual([join(left, "root.raw")]);
});

test("nothing serves that is under way, nor anything where there is nothing", () => {
  vm(".migrate-0123", [["disk", "root.raw"]], { vmId: id });
  expect(baseFiles(store, offer([file("disk", "root.raw")])).paths).toEqual([null]);
  expect(baseFiles(join(store, "nowhere"), offer([file("disk", "root.raw")])).paths).toEqual([null]);
});

test("a vm.json that is a pipe is not waited for, and one that is a link not followed", async () => {
  const pipe = vm("pipe", [], { manifest: false });
  await runChild(["mkfifo", join(pipe, "vm.json")]);
  const link = vm("link", [], { manifest: false });
  const real = vm("real", [["disk", "root.raw"]], { vmId: id });
  symlinkSync(join(real, "vm.json"), join(link, "vm.json"));
  expect(baseFiles(store, offer([file("disk", "root.raw")])).paths).toEqual([join(real, "root.raw")]);
});

test("an offer reads some of what lies in the store, and the next ones the rest", () => {
  for (let i = 0; i < 600; i++) vm(`vm${String(i).padStart(4, "0")}`, [["disk", "root.raw"]]);
  const last = vm("vm9999", [["disk", "root.raw"]], { vmId: id });
  const stored = new StoredIds(store);
  const finds = () => baseFiles(store, offer([file("disk", "root.raw")]), stored).paths[0];
  const disk = join(last, "root.raw");
  expect([finds(), finds(), finds(), finds()]).toEqual([null, null, disk, disk]);
  // One that is gone is not taken for there.
  rmSync(last, { recursive: true });
  expect(baseFiles(store, offer([file("disk", "root.raw")]), stored).paths).toEqual([null]);
});
