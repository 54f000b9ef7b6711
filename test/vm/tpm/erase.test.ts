/** Secrets are destroyed where they lie, and nothing beside them. */
import { afterEach, beforeEach, expect, test } from "bun:test";
import {
  closeSync,
  existsSync,
  ftruncateSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileIdentity } from "../../../src/vm/folder/file-identity.ts";
import { eraseFile, eraseState, readState } from "../../../src/vm/tpm/erase.ts";

let root: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "migrate-erase-"));
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

test("a file is zeros before it goes, and its holes stay holes", async () => {
  const path = join(root, "tpm2-00.permall");
  const fd = openSync(path, "w+");
  try {
    writeSync(fd, Buffer.alloc(3_000_000, 7), 0);
    ftruncateSync(fd, 200 * 1024 ** 2);
    writeSync(fd, Buffer.from("the end"), 0, 7, 200 * 1024 ** 2 - 7);
    await eraseFile(path, fileIdentity(path));
    expect(existsSync(path)).toBe(false);
    // The open descriptor is all that is left of it.
    const left = readFileSync(`/proc/self/fd/${fd}`);
    expect([left.length, left.some((byte) => byte !== 0)]).toEqual([200 * 1024 ** 2, false]);
    expect(statSync(`/proc/self/fd/${fd}`).blocks * 512).toBeLessThan(16 * 1024 ** 2);
  } finally {
    closeSync(fd);
  }
  await eraseFile(path, null);
});

test("another file at that path, and the other names of a file, are spared", async () => {
  const [path, other] = [join(root, "state"), join(root, "backup")];
  writeFileSync(path, "sent");
  const identity = fileIdentity(path);
  renameSync(path, `${path}.kept`);
  writeFileSync(path, "another");
  await eraseFile(path, identity);
  expect(readFileSync(path, "utf8")).toBe("another");
  linkSync(path, other);
  expect(await eraseFile(path, fileIdentity(path))).toMatchObject({ path, readableNames: 1n });
  expect([existsSync(path), readFileSync(other, "utf8")]).toEqual([false, "another"]);
  expect(await eraseFile(other, null)).toMatchObject({ readableNames: 0n });
});

test("of a state folder what swtpm keeps goes, and the folder if nothing else lies in it", async () => {
  const folder = join(root, "tpm");
  mkdirSync(folder);
  for (const name of ["tpm2-00.permall", "tpm2-00.volatilestate", ".lock", "notes"])
    writeFileSync(join(folder, name), name);
  const identity = fileIdentity(folder);
  expect(readState(folder, identity).map(({ name }) => name)).toEqual([
    "tpm2-00.permall",
    "tpm2-00.volatilestate",
  ]);
  await eraseState(folder, identity);
  expect(readdirSync(folder)).toEqual(["notes"]);
  rmSync(join(folder, "notes"));
  await eraseState(folder, identity);
  expect(existsSync(folder)).toBe(false);
});

test("a folder in its place, and what a link leads to, are spared", async () => {
  const [folder, others] = [join(root, "tpm"), join(root, "others")];
  mkdirSync(folder);
  const identity = fileIdentity(folder);
  mkdirSync(others);
  writeFileSync(join(others, "tpm2-00.permall"), "another VM's");
  writeFileSync(join(root, "a-file"), "a file");
  symlinkSync(join(root, "a-file"), join(folder, "tpm2-00.permall"));
  await eraseState(folder, identity);
  expect(readFileSync(join(root, "a-file"), "utf8")).toBe("a file");
  rmSync(folder, { recursive: true });
  symlinkSync(others, folder);
  await eraseState(folder, null);
  await eraseState(others, identity);
  expect(readFileSync(join(others, "tpm2-00.permall"), "utf8")).toBe("another VM's");
});
