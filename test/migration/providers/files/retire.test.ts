/** Which of the source's files are renamed or deleted at the end: only those that were sent. */
import { afterEach, beforeEach, expect, test } from "bun:test";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { SessionRecord } from "../../../../src/migration/journal/journal.ts";
import {
  namesAside,
  ownFilesOf,
  requireRetirable,
  retireFiles,
} from "../../../../src/migration/providers/files/retire.ts";
import { fileIdentity } from "../../../../src/vm/folder/file-identity.ts";
import { markReleased } from "../../../../src/vm/folder/release-mark.ts";
import { refusalOf } from "../../../support/system/refusals.ts";

const session = "ab".repeat(16);
let root: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "migrate-retire-"));
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

function made(name: string, kind: "disk" | "ram" | "boot" = "disk") {
  const path = join(root, name);
  mkdirSync(join(path, ".."), { recursive: true });
  writeFileSync(path, `sent ${name}`);
  return { kind, name, bytes: 1, path, identity: fileIdentity(path)! };
}

const recordOf = (files: ReturnType<typeof made>[], after: "keep" | "rename" | "delete", folder?: string) =>
  ({ session, files, after, folder: folder ?? null }) as unknown as SessionRecord;

const retire = (record: SessionRecord) => retireFiles(record, ownFilesOf(record));

// [OWN-4]
test.each(["rename", "delete"] as const)(
  "--after %s spares a file that was put in the place of the sent one, and says so until it is moved away",
  (after) => {
    const sent = made("disk.raw");
    const kept = join(root, "elsewhere.raw");
    renameSync(sent.path, kept);
    writeFileSync(sent.path, "somebody else's");
    const error = refusalOf(() => retire(recordOf([sent], after)), "io");
    expect(error.message).toContain(`${sent.path} is not the file that was sent`);
    expect(readFileSync(sent.path, "utf8")).toBe("somebody else's");
    renameSync(sent.path, `${sent.path}.theirs`);
    retire(recordOf([sent], after));
    expect(readFileSync(kept, "utf8")).toBe("sent disk.raw");
  },
);

test.each(["rename", "delete"] as const)(
  "--after %s may be done again, and spares what a VM was started from",
  (after) => {
    const [disk, kernel] = [made("disk.raw"), made("vmlinuz", "boot")];
    const record = recordOf([disk, kernel], after);
    retire(record);
    retire(record);
    expect(existsSync(disk.path)).toBe(false);
    expect(existsSync(`${disk.path}.migrated`)).toBe(after === "rename");
    expect(existsSync(kernel.path)).toBe(true);
  },
);

test("a file that was renamed, in whose place a new one was put since, is renamed once", () => {
  const [disk, inside] = [made("disk.raw"), made("web1/disk.raw")];
  for (const record of [recordOf([disk], "rename"), recordOf([inside], "rename", join(root, "web1"))]) {
    retire(record);
    made(record.files[0]!.name);
    retire(record);
  }
  expect(readdirSync(root).sort()).toEqual(["disk.raw", "disk.raw.migrated", "web1", "web1.migrated"]);
});

test("a file whose identity is not known any more is renamed by the mark of its release, and not deleted", () => {
  const disk = made("disk.raw");
  markReleased(disk.path, { session, to: "insecure" });
  const forgotten = { ...disk, identity: "1:2:3" };
  expect(() => retire(recordOf([forgotten], "delete"))).toThrow("is not the file that was sent");
  retire(recordOf([forgotten], "rename"));
  expect(readdirSync(root)).toEqual(["disk.raw.migrated"]);
});

test("a name .migrated that is taken is left alone, and the session tells the two apart", () => {
  const disk = made("disk.raw");
  writeFileSync(`${disk.path}.migrated`, "an earlier one");
  retire(recordOf([disk], "rename"));
  expect(readFileSync(`${disk.path}.migrated`, "utf8")).toBe("an earlier one");
  expect(readFileSync(`${disk.path}.migrated-${session.slice(0, 8)}`, "utf8")).toBe("sent disk.raw");
});

test("a VM's folder is renamed as one, with what it was started from inside; what lies elsewhere goes by itself", () => {
  const inside = [made("web1/disk.raw"), made("web1/vmlinuz", "boot")];
  const outside = made("ram/web1.ram", "ram");
  retire(recordOf([...inside, outside], "rename", join(root, "web1")));
  expect(existsSync(join(root, "web1"))).toBe(false);
  expect(existsSync(join(root, "web1.migrated/vmlinuz"))).toBe(true);
  expect(existsSync(`${outside.path}.migrated`)).toBe(true);
});

test("a folder of its own, as a TPM's state has, is deleted with its files; one in its place is spared", () => {
  made("state/tpm2-00.permall");
  const state = { path: join(root, "state"), identity: fileIdentity(join(root, "state"))! };
  retireFiles(recordOf([], "delete"), [state]);
  expect(readdirSync(root)).toEqual([]);
  made("state/theirs");
  expect(() => retireFiles(recordOf([], "delete"), [state])).toThrow("is not the file that was sent");
  expect(readdirSync(state.path)).toEqual(["theirs"]);
});

test("a name that is too long with the ending is cut, and two that begin alike stay two", () => {
  const long = (end: string) => `${"ä".repeat(124)}${end}`;
  const [one, other, short] = [made(long(".raw1")), made(long(".raw2")), made(`${"b".repeat(240)}.raw`)];
  writeFileSync(`${short.path}.migrated`, "an earlier one");
  const record = recordOf([one, other, short], "rename");
  retire(record);
  retire(record);
  const names = readdirSync(root).filter((name) => !name.endsWith(".migrated"));
  expect(names.map((name) => readFileSync(join(root, name), "utf8")).sort()).toEqual(
    [one, other, short].map(({ name }) => `sent ${name}`).sort(),
  );
  for (const name of names) expect(name).toMatch(/-[0-9a-f]{8}\.migrated-abababab$/);
  expect(namesAside("a".repeat(246), session, 255)).toEqual([
    `${"a".repeat(246)}.migrated`,
    expect.stringMatching(/^a{228}-[0-9a-f]{8}\.migrated-abababab$/),
  ]);
});

test("files that could not be renamed or deleted in the end are refused before anything is sent", async () => {
  const disk = made("web1/disk.raw");
  const files = [disk];
  for (const after of ["rename", "delete", "keep"] as const) requireRetirable(recordOf(files, after), files);
  const gone = { ...disk, path: "/nowhere/disk.raw" };
  expect(
    refusalOf(() => requireRetirable(recordOf([gone], "delete"), [gone]), "vm-invalid").message,
  ).toContain("its folder cannot be written to");
  const mounted = { ...disk, path: "/proc" };
  expect(refusalOf(() => requireRetirable(recordOf([mounted], "rename"), [mounted])).message).toContain(
    "/proc could not be renamed once the VM has moved: something is mounted there",
  );
  requireRetirable(recordOf([mounted], "keep"), [mounted]);
});

test("a folder that is deleted keeps what somebody put there beside the VM", () => {
  const disk = made("web1/disk.raw");
  writeFileSync(join(root, "web1/vm.json"), "{}");
  writeFileSync(join(root, "web1/notes"), "mine");
  retire(recordOf([disk], "delete", join(root, "web1")));
  expect(existsSync(disk.path)).toBe(false);
  expect(existsSync(join(root, "web1/vm.json"))).toBe(false);
  expect(readFileSync(join(root, "web1/notes"), "utf8")).toBe("mine");
});
