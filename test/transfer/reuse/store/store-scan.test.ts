import { describe, expect, test } from "bun:test";
import {
  chownSync,
  closeSync,
  fstatSync,
  mkdirSync,
  mkdtempSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { limits } from "../../../../src/protocol/limits.ts";
import { candidatesIn, openCandidate, planScan } from "../../../../src/transfer/reuse/store/store-scan.ts";
import { runChild } from "../../../support/system/child.ts";
import { eachTestInFolder } from "../../../support/system/test-folder.ts";

const minuteMs = 60_000;
const isRoot = process.getuid?.() === 0;
let store: string;

eachTestInFolder("migrate-scan-", (made) => {
  store = made;
});

function put(path: string, bytes: number = limits.blockBytes): void {
  mkdirSync(dirname(join(store, path)), { recursive: true });
  writeFileSync(join(store, path), Buffer.alloc(bytes, 1));
}

const paths = () => candidatesIn(store).map(({ path }) => path);

/** True where openCandidate opens it. */
function opens(path: string): boolean {
  const fd = openCandidate(store, path);
  if (fd === null) return false;
  expect(fstatSync(fd).isFile()).toBe(true);
  closeSync(fd);
  return true;
}

describe("candidates", () => {
  test("are the files of VMs, also of those that were sent away, and nothing else", async () => {
    put("web1/disk.qcow2");
    put("web1/ram");
    put("web2.migrated/disk.raw");
    const others = [
      "web1/vm.json",
      "web1/tpm/tpm2-00.permall",
      "web1/.hidden",
      ".migrate-0123456789abcdef/disk",
      ".migrate-lock/disk",
    ];
    for (const path of others) put(path);
    put("disk-without-folder");
    put("web1/small", limits.blockBytes - 1);
    await runChild(["mkfifo", join(store, "web1/fifo")]);
    expect(paths()).toEqual(["web1/disk.qcow2", "web1/ram", "web2.migrated/disk.raw"]);
    for (const path of paths()) expect([path, opens(path)]).toEqual([path, true]);
    for (const path of [...others, "disk-without-folder", "web1/small", "web1/fifo", "web1/none"]) {
      expect([path, opens(path)]).toEqual([path, false]);
    }
  });

  test("are not reached through a link, be it the folder or the file", () => {
    put("web1/disk");
    put("elsewhere/secret");
    const secret = mkdtempSync(join(tmpdir(), "migrate-secret-"));
    try {
      writeFileSync(join(secret, "disk"), Buffer.alloc(limits.blockBytes, 9));
      symlinkSync(secret, join(store, "linked"));
      symlinkSync(join(secret, "disk"), join(store, "web1/linked"));
      expect(paths()).toEqual(["elsewhere/secret", "web1/disk"]);
      expect([opens("linked/disk"), opens("web1/linked")]).toEqual([false, false]);
    } finally {
      rmSync(secret, { recursive: true, force: true });
    }
  });

  test("have a folder and a name: no other path is opened, whoever made it up", () => {
    put("web1/disk");
    put("web1/deep/disk");
    const odd = [
      "web1/deep/disk",
      "web1/disk/more",
      "web1/../web1/disk",
      "../disk",
      "./disk",
      "/etc/passwd",
      "web1",
      "web1/",
      "",
    ];
    for (const path of odd) expect([path, opens(path)]).toEqual([path, false]);
    expect(opens("web1/disk")).toBe(true);
  });

  test("of a store that is not there are none", () => {
    rmSync(store, { recursive: true });
    expect(paths()).toEqual([]);
    mkdirSync(store);
  });

  test("belong to this user: neither a folder nor a file of another is read", () => {
    // Without root nothing can be given away, and a file of root's is somebody else's.
    if (!isRoot) {
      expect(openCandidate("/", "etc/passwd")).toBeNull();
      return;
    }
    for (const path of ["theirs/disk", "web1/theirs", "web1/disk"]) put(path);
    chownSync(join(store, "theirs"), 1234, 1234);
    chownSync(join(store, "web1/theirs"), 1234, 1234);
    expect(paths()).toEqual(["web1/disk"]);
    expect([opens("theirs/disk"), opens("web1/theirs"), opens("web1/disk")]).toEqual([false, false, true]);
  });

  test("keep their stamp when their folder is renamed, and get another when they are written to", () => {
    put("web1/disk");
    const [before] = candidatesIn(store);
    renameSync(join(store, "web1"), join(store, "web1.migrated"));
    expect(candidatesIn(store)).toEqual([{ ...before!, path: "web1.migrated/disk" }]);
    writeFileSync(join(store, "web1.migrated/disk"), Buffer.alloc(limits.blockBytes, 2));
    expect(candidatesIn(store)[0]!.stamp).not.toBe(before!.stamp);
  });
});

describe("a scan's plan", () => {
  const quietMs = 10 * minuteMs;
  const nowMs = 1_700_000_000_000;
  const candidate = (path: string, stamp: string, agoMs = 0) => ({
    path,
    stamp,
    changedAtMs: nowMs - agoMs,
  });
  const indexed = (path: string, stamp: string) => ({ id: 1, path, stamp });
  const plan = (known: ReturnType<typeof indexed>[], there: ReturnType<typeof candidate>[]) =>
    planScan(known, there, nowMs, quietMs);

  test("reads what is new at once, and leaves what is as it was", () => {
    const fresh = candidate("a/disk", "1");
    expect(plan([indexed("b/disk", "2")], [fresh, candidate("b/disk", "2")])).toEqual({
      read: [fresh],
      moved: [],
      gone: [],
    });
  });

  test("reads what has changed once the last change is ten minutes old, and no sooner", () => {
    const known = [indexed("a/disk", "1")];
    expect(plan(known, [candidate("a/disk", "2", quietMs - 1)]).read).toEqual([]);
    expect(plan(known, [candidate("a/disk", "2", quietMs)]).read.length).toBe(1);
    // A clock that was wrong when the file was written does not keep it out for ever.
    expect(plan(known, [candidate("a/disk", "2", -quietMs)]).read.length).toBe(1);
  });

  test("knows a file under its new name, and forgets what is gone", () => {
    const known = [indexed("a/disk", "1"), indexed("b/disk", "2")];
    expect(plan(known, [candidate("a.migrated/disk", "1")])).toEqual({
      read: [],
      moved: [{ from: "a/disk", to: "a.migrated/disk" }],
      gone: ["b/disk"],
    });
  });

  test("does not take a second name of a file that is still there for its new name", () => {
    const there = [candidate("a/disk", "1"), candidate("b/link", "1")];
    expect(plan([indexed("a/disk", "1")], there)).toEqual({ read: [there[1]!], moved: [], gone: [] });
  });
});
