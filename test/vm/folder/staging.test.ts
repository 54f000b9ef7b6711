import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { limits } from "../../../src/protocol/limits.ts";
import { makeFolder, type StagedFile, Staging } from "../../../src/vm/folder/staging.ts";
import { checkStore } from "../../../src/vm/folder/store.ts";
import { Folder } from "../../transfer/sparse-file.ts";

const { chunkBytes } = limits;
const session = "ab".repeat(16);
const files: StagedFile[] = [
  { kind: "disk", name: "disk.raw", bytes: 3 * chunkBytes + 17 },
  { kind: "disk", name: "empty", bytes: 0 },
  { kind: "tpm", name: "disk.raw", bytes: 100 },
];

let store: Folder;
let staging: Staging;
beforeEach(() => {
  store = new Folder();
  staging = new Staging(store.path, session, files);
});
afterEach(() => store.remove());

describe("staging", () => {
  test("makes every file in its full size without a block, for nobody else to read", () => {
    expect(staging.prepare()).toBe(false);
    expect(staging.paths.map((path) => statSync(path).size)).toEqual(files.map(({ bytes }) => bytes));
    expect(staging.allocatedBytes()).toBe(0);
    for (const path of [staging.folder, join(staging.folder, "tpm")])
      expect(statSync(path).mode & 0o777).toBe(0o700);
    for (const path of staging.paths) expect(statSync(path).mode & 0o777).toBe(0o600);
    // Two files of one name are two files where one is the TPM's.
    expect(new Set(staging.paths).size).toBe(3);
  });

  test("says that something was there before, and leaves it", () => {
    staging.prepare();
    writeFileSync(staging.paths[0]!, "kept", { flag: "r+" });
    truncateSync(staging.paths[2]!, 5);
    expect(staging.prepare()).toBe(true);
    expect(readFileSync(staging.paths[0]!).subarray(0, 4).toString()).toBe("kept");
    expect(statSync(staging.paths[2]!).size).toBe(100);
  });

  test("writes through no link that lies where a file should", () => {
    mkdirSync(staging.folder, { mode: 0o700 });
    const victim = store.file("victim", 3);
    symlinkSync(victim, staging.paths[0]!);
    expect(() => staging.prepare()).toThrow("ELOOP");
    expect(statSync(victim).size).toBe(3);
  });

  test("has another stamp after every write, and the same without one", () => {
    staging.prepare();
    const stamps = [staging.stamp()];
    expect(staging.stamp()).toBe(stamps[0]!);
    writeFileSync(staging.paths[0]!, "x", { flag: "r+" });
    stamps.push(staging.stamp());
    writeFileSync(staging.paths[2]!, "y", { flag: "r+" });
    stamps.push(staging.stamp());
    expect(new Set(stamps).size).toBe(3);
  });
});

describe("publishing", () => {
  const ours = () => true;
  const notOurs = () => false;

  test("gives the folder its final name, with its description in it, and may be done again", () => {
    staging.prepare();
    const final = staging.publish("web1", "the manifest", ours);
    expect(final).toBe(join(store.path, "web1"));
    expect(readFileSync(join(final, "vm.json"), "utf8")).toBe("the manifest");
    expect(existsSync(staging.folder)).toBe(false);
    expect(statSync(join(final, "disk.raw")).size).toBe(files[0]!.bytes);
    expect(staging.publish("web1", "the manifest", ours)).toBe(final);
  });

  test("never replaces what has the name, not even an empty folder", () => {
    staging.prepare();
    mkdirSync(join(store.path, "web1"));
    expect(() => staging.publish("web1", "m", ours)).toThrow(expect.objectContaining({ code: "name-taken" }));
    expect(existsSync(staging.folder)).toBe(true);
  });

  test("does not take another's folder for its own", () => {
    mkdirSync(join(store.path, "web1"));
    expect(() => staging.publish("web1", "m", notOurs)).toThrow(
      expect.objectContaining({ code: "store-failed" }),
    );
    expect(() => staging.publish("web2", "m", ours)).toThrow(
      expect.objectContaining({ code: "store-failed" }),
    );
  });

  test("writes the description through no link", () => {
    staging.prepare();
    const victim = store.file("victim", 3);
    symlinkSync(victim, join(staging.folder, "vm.json"));
    expect(() => staging.publish("web1", "m", ours)).toThrow("ELOOP");
    expect(statSync(victim).size).toBe(3);
  });

  test("removing takes what is staged, not what is published, and may be done again", () => {
    staging.prepare();
    const final = staging.publish("web1", "m", ours);
    staging.remove();
    expect(existsSync(final)).toBe(true);
    const other = new Staging(store.path, "cd".repeat(16), files);
    other.prepare();
    other.remove();
    other.remove();
    expect(existsSync(other.folder)).toBe(false);
  });
});

test("a folder that others can enter is closed when it is taken up again; a VM's own user keeps its way in", () => {
  const folder = join(store.path, "again");
  makeFolder(folder);
  const modeAfter = (mode: number) => {
    chmodSync(folder, mode);
    expect(makeFolder(folder)).toBe(false);
    return statSync(folder).mode & 0o777;
  };
  for (const open of [0o755, 0o770, 0o711, 0o750, 0o730]) expect(modeAfter(open)).toBe(0o700);
  expect([modeAfter(0o710), modeAfter(0o700)]).toEqual([0o710, 0o700]);
});

describe("a store", () => {
  test("is made where it is not there, and refused where it is no folder", () => {
    const path = join(store.path, "a/b");
    checkStore(path);
    expect(statSync(path).mode & 0o777).toBe(0o700);
    const file = store.file("file", 1);
    expect(() => checkStore(file)).toThrow(expect.objectContaining({ code: "store-unusable" }));
    expect(() => checkStore("/proc/none")).toThrow(expect.objectContaining({ code: "store-unusable" }));
  });
});
