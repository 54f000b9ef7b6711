/** What becomes of a virtual TPM's state, and of the saved RAM that holds it too, where a VM of files was moved away. */
import { expect, test } from "bun:test";
import {
  existsSync,
  linkSync,
  readdirSync,
  readFileSync,
  statSync,
  unlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import type { SessionRecord } from "../../../src/migration/journal/journal.ts";
import { filesProvider } from "../../../src/migration/providers/files/files-provider.ts";
import { fileIdentity } from "../../../src/vm/folder/file-identity.ts";
import { newStateSeal, openState } from "../../../src/vm/tpm/sealed-state.ts";
import { makeSmallVm, type SmallVm } from "../../support/files/small-vm.ts";
import { eachTestHasHosts } from "../../support/moves/hosts-of-tests.ts";
import { sessionsIn } from "../../support/moves/ownership.ts";
import type { TwoHosts } from "../../support/moves/two-hosts.ts";
import { runChild } from "../../support/system/child.ts";
import { mountsOfEachTest } from "../../support/system/mount-namespace.ts";
import { builtBinary } from "../../support/system/process.ts";

let root: string;
let hosts: TwoHosts;
const newMounts = mountsOfEachTest();
eachTestHasHosts("migrate-tpm-state-", (made) => {
  ({ root, hosts } = made);
});

const tpm = { "tpm2-00.permall": 6013, "tpm2-00.volatilestate": 900 };
const small = () => makeSmallVm(join(root, "web1"), { tpm });

/** True where any of these bytes are to be read in a file below the folder. */
function isReadable(secret: Buffer, folder: string): boolean {
  return readdirSync(folder, { recursive: true, withFileTypes: true }).some(
    (entry) => entry.isFile() && readFileSync(join(entry.parentPath, entry.name)).includes(secret),
  );
}
const secretOf = (vm: SmallVm) => readFileSync(join(vm.folder, "tpm/tpm2-00.permall")).subarray(0, 64);

test.each(["rename", "delete"] as const)(
  "--after %s destroys both, says so before, and leaves the rest",
  async (after) => {
    const vm = small();
    const secret = secretOf(vm);
    await hosts.serve();
    const send = hosts.send(vm.folder, ["--after", after]);
    expect(await send.exit, send.stderr()).toEqual({ code: 0, signal: null });
    expect(send.events).toContainEqual(
      expect.objectContaining({
        event: "notice",
        message:
          "the state of web1's virtual TPM is destroyed here once the destination owns the VM, and so is its saved RAM (web1.ram), which holds it too",
      }),
    );
    expect(existsSync(vm.folder)).toBe(false);
    if (after === "rename") {
      expect(readdirSync(`${vm.folder}.migrated`).sort()).toEqual(["tpm", "vm.json", "web1-0.raw"]);
      expect(readdirSync(join(`${vm.folder}.migrated`, "tpm"))).toEqual([]);
    }
    expect(isReadable(secret, join(hosts.store, "web1"))).toBe(true);
  },
);

test("--after keep is refused without a passphrase, and keeps it sealed with one", async () => {
  const vm = small();
  const secret = secretOf(vm);
  await hosts.serve();
  const refused = hosts.send(vm.folder, ["--after", "keep"]);
  expect(await refused.exit).toMatchObject({ code: 6 });
  expect(refused.events.at(-1)).toMatchObject({ event: "error", code: "policy" });
  expect([sessionsIn(hosts.sourceHome, "source"), isReadable(secret, vm.folder)]).toEqual([[], true]);

  const file = join(root, "passphrase");
  writeFileSync(file, "a passphrase\n", { mode: 0o600 });
  const send = hosts.send(vm.folder, ["--after", "keep", "--seal-tpm", file]);
  expect(await send.exit, send.stderr()).toEqual({ code: 0, signal: null });
  expect(isReadable(secret, vm.folder)).toBe(false);
  const sealed = readdirSync(vm.folder).find((name) => name.startsWith("tpm.sealed-"))!;
  expect(statSync(join(vm.folder, sealed)).mode & 0o777).toBe(0o600);

  const wrong = join(root, "wrong");
  writeFileSync(wrong, "another\n", { mode: 0o600 });
  const unseal = (passphrase: string, folder: string) =>
    hosts.source(["unseal-tpm", join(vm.folder, sealed), folder, "--tpm-passphrase-file", passphrase]);
  expect(await unseal(wrong, join(root, "opened")).exit).toMatchObject({ code: 3 });
  expect(existsSync(join(root, "opened"))).toBe(false);
  expect(await unseal(file, vm.folder).exit).toMatchObject({ code: 6 });
  expect(await unseal(file, join(root, "opened")).exit).toMatchObject({ code: 0 });
  expect(readdirSync(join(root, "opened")).sort()).toEqual(Object.keys(tpm).sort());
  expect(readFileSync(join(root, "opened", "tpm2-00.permall")).subarray(0, 64)).toEqual(secret);
  expect(statSync(join(root, "opened")).mode & 0o777).toBe(0o700);
});

test("a retire that was killed at any point is completed by the next, and what it sealed stays whole", async () => {
  const seal = await newStateSeal("a passphrase");
  for (const after of ["keep", "rename"] as const) {
    // Each step leaves less: an unfinished seal, the seal alone, a file overwritten, a file gone.
    for (const killedAt of [0, 1, 2, 3]) {
      const vm = makeSmallVm(join(root, `${after}-${killedAt}`), { name: "web1", tpm, ram: null });
      const files = vm.files.map((file) => ({
        ...file,
        name: file.base,
        identity: fileIdentity(file.path)!,
      }));
      const record = {
        ...{ session: "ab".repeat(16), name: "web1", side: "source", mode: "move", provider: "files" },
        ...{ after, files, folder: vm.folder, kept: { side: "source", tpmSeal: seal } },
      } as unknown as SessionRecord;
      const permall = join(vm.folder, "tpm/tpm2-00.permall");
      const secret = secretOf(vm);
      const sealed = join(vm.folder, "tpm.sealed-abababab");
      if (killedAt === 0) writeFileSync(`${sealed}.new`, "cut");
      if (killedAt > 0 && after === "keep") {
        // As a whole run makes it, of the same files under other names.
        for (const { path } of files) linkSync(path, `${path}.again`);
        await filesProvider.retire(record, root);
        for (const { path } of files) {
          if (!existsSync(path)) linkSync(`${path}.again`, path);
          unlinkSync(`${path}.again`);
        }
      }
      if (killedAt > 1) writeFileSync(permall, Buffer.alloc(6013), { flag: "r+" });
      if (killedAt > 2) unlinkSync(permall);
      await filesProvider.retire(record, root);
      await filesProvider.retire(record, root);
      const left = after === "keep" ? vm.folder : `${vm.folder}.migrated`;
      expect([isReadable(secret, left), readdirSync(join(left, "tpm"))]).toEqual([false, []]);
      if (after === "rename") continue;
      const opened = await openState(readFileSync(sealed, "latin1"), "a passphrase");
      expect(opened.files.map(({ bytes }) => bytes.subarray(0, 64))).toContainEqual(secret);
    }
  }
});

test("a copy has none of it, if that is asked for, and says what that means; the source keeps all", async () => {
  const vm = small();
  const secret = secretOf(vm);
  await hosts.serve();
  const refused = hosts.send(vm.folder, ["--copy"]);
  expect(await refused.exit).toMatchObject({ code: 6 });
  expect(refused.events.at(-1)).toMatchObject({ code: "policy", hint: expect.stringContaining("--new-tpm") });
  const send = hosts.send(vm.folder, ["--copy", "--new-tpm", "--without-ram"]);
  expect(await send.exit, send.stderr()).toEqual({ code: 0, signal: null });
  expect(send.events).toContainEqual(
    expect.objectContaining({
      message:
        "web1 goes without the state of its virtual TPM, which stays here: the copy begins with an empty TPM of its own, and opens nothing that was sealed to this one",
    }),
  );
  expect(readdirSync(join(hosts.store, "web1")).sort()).toEqual(["vm.json", "web1-0.raw"]);
  expect(isReadable(secret, join(hosts.store, "web1"))).toBe(false);
  for (const { path } of vm.files) expect(existsSync(path)).toBe(true);
});

test("state that cannot be destroyed is an error, said loudly, and the same command ends the move once it can be", async () => {
  const around = join(root, "around");
  const vm = makeSmallVm(join(around, "web1"), { tpm, ram: null });
  const secret = secretOf(vm);
  await hosts.serve();
  const namespace = await newMounts([`mount --bind '${around}' '${around}'`]);
  const binary = [...namespace.enter("/"), builtBinary];
  const send = hosts.send(vm.folder, ["--bandwidth", "2M", "--compress", "off"], { binary });
  await send.waitFor("progress", { where: ({ doneBytes }) => doneBytes > 0 });
  await runChild([...namespace.enter("/"), "mount", "-o", "remount,ro,bind", around]);
  expect(await send.exit).toMatchObject({ code: 5 });
  expect(send.events.at(-1)).toMatchObject({
    code: "io",
    message: expect.stringContaining("the state of its virtual TPM here could not be destroyed (EROFS)"),
  });
  expect([isReadable(secret, vm.folder), sessionsIn(hosts.sourceHome, "source")]).toMatchObject([
    true,
    [{ state: "confirmed", settled: 0 }],
  ]);
  expect(await hosts.send(vm.folder).exit).toMatchObject({ code: 0 });
  expect(isReadable(secret, `${vm.folder}.migrated`)).toBe(false);
});
