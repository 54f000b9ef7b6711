/** Users for VMs: which numbers are taken, and what they are given of a VM's files. */
import { describe, expect, test } from "bun:test";
import { linkSync, lstatSync, mkdirSync, mkdtempSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { give, holds, leaseUser } from "../../../src/vm/confinement/vm-user.ts";
import { refusalOf } from "../../support/system/refusals.ts";
import { eachTestInFolder } from "../../support/system/test-folder.ts";

let made: string;
eachTestInFolder("confined-", (folder) => {
  made = folder;
});
/** A new, empty one. */
const folder = () => mkdtempSync(join(made, "f-"));
const own = process.getuid!();
const ownGroup = process.getgid!();

describe("a map of user_namespaces(7)", () => {
  const host = "         0          0 4294967295\n";
  const container = "0 100000 65536\n";

  test.each([
    [host, { first: 1_900_000_000, last: 1_900_065_535 }, true],
    [container, { first: 1_900_000_000, last: 1_900_065_535 }, false],
    [container, { first: 61_184, last: 65_519 }, true],
    [container, { first: 65_000, last: 65_536 }, false],
    ["0 0 1\n1 100000 65535\n", { first: 61_184, last: 65_519 }, true],
    ["0 1000 1\n", { first: 61_184, last: 65_519 }, false],
    ["", { first: 61_184, last: 65_519 }, false],
  ])("%p has %p: %p", (map, range, expected) => {
    expect(holds(map, range)).toBe(expected);
  });
});

describe("a user is leased", () => {
  test("out of the range, with a group of the same number", () => {
    const { uid, gid } = leaseUser({ first: 1_800_000_000, last: 1_800_000_009 }, [folder()]);
    expect(uid).toBe(gid);
    expect([uid >= 1_800_000_000, uid <= 1_800_000_009]).toEqual([true, true]);
  });

  test("but nobody who has files in the folders, or a process", () => {
    const store = folder();
    mkdirSync(join(store, ".migrate-1"));
    // This user has both.
    const refusal = refusalOf(() => leaseUser({ first: own, last: own }, [store]));
    expect(refusal).toMatchObject({ code: "policy", side: "destination" });
    expect(refusal.hint).toContain("--vm-users");
  });

  test("whatever folder is not there yet", () => {
    expect(leaseUser({ first: 1_800_000_000, last: 1_800_000_000 }, [join(folder(), "none")]).uid).toBe(
      1_800_000_000,
    );
  });
});

describe("what a user is given", () => {
  const user = { uid: own, gid: ownGroup };
  const modeOf = (path: string) => lstatSync(path).mode & 0o7777;

  test("of folders: a way in, a place for sockets, its own state", () => {
    const path = folder();
    give("way in", path, user);
    expect(modeOf(path)).toBe(0o710);
    give("sockets", path, user);
    expect(modeOf(path)).toBe(0o1770);
    give("state", path, user);
    expect(modeOf(path)).toBe(0o700);
  });

  test("of files: disks to write, what it boots from to read", () => {
    const path = join(folder(), "disk");
    writeFileSync(path, "", { mode: 0o600 });
    give("disk", path, user);
    expect(modeOf(path)).toBe(0o660);
    give("boot", path, user);
    expect(modeOf(path)).toBe(0o640);
  });

  test("of a TPM's state: plain files that have no other name", () => {
    const at = folder();
    const path = join(at, "tpm2-00.permall");
    writeFileSync(path, "", { mode: 0o644 });
    give("state file", path, user);
    expect(modeOf(path)).toBe(0o600);
    writeFileSync(join(at, "secret"), "", { mode: 0o644 });
    symlinkSync(join(at, "secret"), join(at, "linked"));
    linkSync(join(at, "secret"), join(at, "named-twice"));
    expect(() => give("state file", join(at, "linked"), user)).toThrow(
      expect.objectContaining({ code: "ELOOP" }),
    );
    for (const wrong of [join(at, "named-twice"), at]) {
      expect(refusalOf(() => give("state file", wrong, user)).code).toBe("vm-invalid");
    }
    expect(modeOf(join(at, "secret"))).toBe(0o644);
  });

  test("nothing that a link leads to, and no file in a folder's place", () => {
    const at = folder();
    writeFileSync(join(at, "secret"), "", { mode: 0o600 });
    symlinkSync(join(at, "secret"), join(at, "disk"));
    expect(() => give("disk", join(at, "disk"), user)).toThrow(expect.objectContaining({ code: "ELOOP" }));
    expect(() => give("way in", join(at, "secret"), user)).toThrow(
      expect.objectContaining({ code: "ENOTDIR" }),
    );
    expect(modeOf(join(at, "secret"))).toBe(0o600);
  });
});
