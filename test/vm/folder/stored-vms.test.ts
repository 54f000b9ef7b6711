/** The VMs of a store: what is one, what is none, and what is broken. */
import { afterEach, beforeEach, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { storedVms } from "../../../src/vm/folder/stored-vms.ts";

let store: string;
beforeEach(() => {
  store = realpathSync(mkdtempSync(join(tmpdir(), "migrate-store-")));
});
afterEach(() => rmSync(store, { recursive: true, force: true }));

function write(path: string, content: string): void {
  mkdirSync(dirname(join(store, path)), { recursive: true });
  writeFileSync(join(store, path), content);
}

function manifest(name: string, files: [kind: string, file: string][]): string {
  const list = files.map(([kind, file]) => ({ kind, file }));
  return JSON.stringify({ format: "migrate-vm/1", name, files: list });
}

test("each VM is told with its RAM as it lies there, its disks and its TPM", () => {
  write(
    "web1/vm.json",
    manifest("web1", [
      ["ram", "ram.bin"],
      ["disk", "a.img"],
      ["disk", "b.img"],
      ["tpm", "tpm/tpm2-00.permall"],
    ]),
  );
  write("web1/ram.bin", "x".repeat(1234));
  write("db/vm.json", manifest("db", [["disk", "db.img"]]));
  expect(storedVms(store)).toEqual([
    {
      folder: join(store, "db"),
      name: "db",
      ramBytes: null,
      disks: [join(store, "db/db.img")],
      hasTpm: false,
    },
    {
      folder: join(store, "web1"),
      name: "web1",
      ramBytes: 1234,
      disks: [join(store, "web1/a.img"), join(store, "web1/b.img")],
      hasTpm: true,
    },
  ]);
});

test("what is under way, what was sent away, and what has no vm.json is none", () => {
  const vm = manifest("web1", [["disk", "a.img"]]);
  for (const folder of [".incoming", "web1.migrated", "web2.migrated-0123abcd"])
    write(`${folder}/vm.json`, vm);
  write("notes/readme.txt", "");
  write("loose.img", "");
  write("web3.migrated-not/vm.json", manifest("web3", [["disk", "a.img"]]));
  expect(storedVms(store).map(({ name }) => name)).toEqual(["web3"]);
});

test("one that is broken is in the list, with the reason", () => {
  write("bad/vm.json", "{");
  write("good/vm.json", manifest("good", [["disk", "a.img"]]));
  symlinkSync("nowhere", join(store, "dangling"));
  const [bad, good, ...more] = storedVms(store);
  expect(bad).toMatchObject({
    name: "bad",
    disks: [],
    broken: expect.stringContaining("bad/vm.json is not JSON"),
  });
  expect(good).not.toHaveProperty("broken");
  expect(more).toEqual([]);
});

test("a store that is not there is refused with a sentence", () => {
  expect(() => storedVms(join(store, "none"))).toThrow(
    expect.objectContaining({
      code: "store-unusable",
      message: `the store ${join(store, "none")} cannot be read: there is no such folder`,
    }),
  );
});
