/** Which files a process behind a QMP socket may name: what it has open itself, or what its user may read. */
import { describe, expect, test } from "bun:test";
import {
  chmodSync,
  chownSync,
  closeSync,
  mkdirSync,
  openSync,
  readdirSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { type ProcessId, processId } from "../../../src/platform/process-id.ts";
import { userOf, withRightsOf } from "../../../src/platform/user-rights.ts";
import { QemuFiles } from "../../../src/vm/qemu/qemu-files.ts";
import { startChild } from "../../support/system/child.ts";
import { refusalOf } from "../../support/system/refusals.ts";
import { eachTestInFolder } from "../../support/system/test-folder.ts";
import { until } from "../../support/system/until.ts";

/** Of the user and the group nobody. */
const nobody = 65_534;

let folder = "";
let [secret, own, open] = ["", "", ""];

eachTestInFolder("migrate-peer-", (made) => {
  folder = made;
  chmodSync(folder, 0o755);
  [secret, own, open] = ["secret", "own", "open"].map((name) => join(folder, name)) as [
    string,
    string,
    string,
  ];
  for (const path of [secret, own, open]) writeFileSync(path, "bytes", { mode: 0o600 });
  chmodSync(open, 0o644);
  chownSync(own, nobody, nobody);
});

/** A process of nobody's; the shell's redirections are done by root before, as a QEMU that drops root has its disks. */
async function peer(redirections = "", shell = "sleep 60"): Promise<ProcessId> {
  const drop = `setpriv --reuid ${nobody} --regid ${nobody} --clear-groups`;
  const child = startChild(["bash", "-c", `exec ${drop} bash -c '${shell}' ${redirections}`]);
  await until(() => userOf(child.pid)?.uids[1] === nobody, "another user");
  return processId(child.pid)!;
}

describe("a QEMU of another user", () => {
  test("names as a disk only what it has open for writing itself", async () => {
    const files = QemuFiles.of(await peer(`8<>'${secret}' 9<'${open}'`), nobody);
    expect(files.disk(secret)).toMatchObject({ path: secret, identity: expect.stringContaining("v2:") });
    for (const path of [open, own]) {
      expect(refusalOf(() => files.disk(path), "vm-invalid").message).toBe(
        `${path} is named by a QEMU of user ${nobody}, which does not have it open for writing`,
      );
    }
  });

  test("names as what it was started from only what its user may read, or it has open", async () => {
    const files = QemuFiles.of(await peer(), nobody);
    for (const path of [open, own]) expect(files.boot(path)).toMatchObject({ path });
    symlinkSync(secret, join(folder, "link"));
    for (const path of [secret, join(folder, "link")]) {
      expect(refusalOf(() => files.boot(path), "vm-invalid").message).toContain("may not read it");
    }
    expect(QemuFiles.of(await peer(`9<'${secret}'`), nobody).boot(secret)).toMatchObject({ path: secret });
  });

  test("names as its TPM's state only what is its user's, and a socket that its user may write to", async () => {
    const files = QemuFiles.of(await peer(), nobody);
    const [theirs, roots] = ["theirs", "roots"].map((name) => join(folder, name)) as [string, string];
    for (const path of [theirs, roots]) mkdirSync(path);
    chownSync(theirs, nobody, nobody);
    expect(files.folder(theirs, [])).toMatchObject({ path: theirs });
    expect(refusalOf(() => files.folder(roots, []), "vm-invalid").message).toContain("does not own it");
    expect([secret, open, own].map((path) => files.mayConnect(path))).toEqual([false, false, true]);
  });

  test("whose socket was made by a third user is refused", async () => {
    const id = await peer();
    expect(refusalOf(() => QemuFiles.of(id, 1), "vm-invalid").message).toContain("It is not clear whose");
    // One that gave root up after it listened is the one that it became.
    expect(QemuFiles.of(id, 0).user?.uid).toBe(nobody);
  });
});

test("another user's rights hold for a while, and leave nothing behind", () => {
  const before = userOf(process.pid);
  const rights = { uid: nobody, gid: nobody, groups: [] };
  expect(() => withRightsOf(rights, () => openSync(secret, "r"))).toThrow(
    expect.objectContaining({ code: "EACCES" }),
  );
  expect(() => withRightsOf(rights, () => readdirSync("/root"))).toThrow();
  closeSync(withRightsOf(rights, () => openSync(open, "r")));
  closeSync(openSync(secret, "r"));
  expect(userOf(process.pid)).toEqual(before);
});
