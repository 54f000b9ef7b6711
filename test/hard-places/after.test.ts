/** What becomes of the source's files, of copies, and of a VM that comes back. */
import { expect, test } from "bun:test";
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { hashOf, overwrite, type SmallVm } from "../support/files/small-vm.ts";
import { eachTestHasHosts } from "../support/moves/hosts-of-tests.ts";
import { expectMoved, sessionsIn, wholeAtSource } from "../support/moves/ownership.ts";
import { TwoHosts } from "../support/moves/two-hosts.ts";
import { runChild } from "../support/system/child.ts";
import { mountsOfEachTest } from "../support/system/mount-namespace.ts";
import { builtBinary, type MigrateProcess } from "../support/system/process.ts";

let root: string;
let vm: SmallVm;
let hosts: TwoHosts;
const newMounts = mountsOfEachTest();
eachTestHasHosts("migrate-after-", (made) => {
  ({ root, vm, hosts } = made);
});

async function expectEnd(process: MigrateProcess, code: number, error?: string): Promise<void> {
  expect(await process.exit, process.stdout() + process.stderr()).toEqual({ code, signal: null });
  if (error !== undefined) expect(process.events.at(-1)).toMatchObject({ event: "error", code: error });
}

for (const after of ["keep", "rename", "delete"] as const) {
  test(`--after ${after}: the source's files, and a second send is refused`, async () => {
    await hosts.serve();
    const send = hosts.send(vm.folder, ["--after", after]);
    const done = await send.waitFor("done");
    await expectEnd(send, 0);
    expect(done).toMatchObject({ after, owner: "destination", mode: "move" });
    expectMoved(vm, hosts, after, after);
    expect(existsSync(vm.folder)).toBe(after === "keep");
    // The same command again, here and to another host: the journal knows whose it is.
    await expectEnd(hosts.send(vm.folder, ["--after", after]), 7, "not-owner");
    await expectEnd(hosts.source(["send", vm.folder, "127.0.0.1:9", "--insecure"]), 7, "not-owner");
    expectMoved(vm, hosts, `${after}, sent again`, after);
  });

  test(`--after ${after} of a VM given by its files leaves everything else in their folder alone`, async () => {
    const precious = join(vm.folder, "precious");
    writeFileSync(precious, "precious");
    await hosts.serve();
    const files = ["--name", "web1", "--ram", vm.files[0]!.path, "--disk", vm.files[1]!.path];
    await expectEnd(hosts.sendFiles([...files, "--after", after]), 0);
    expect(readFileSync(precious, "utf8")).toBe("precious");
    const suffix = after === "rename" ? ".migrated" : "";
    for (const { path, hash } of vm.files) {
      if (after === "delete") expect(existsSync(path)).toBe(false);
      else expect(hashOf(path + suffix)).toBe(hash);
    }
    await expectEnd(hosts.sendFiles(files), 7, "not-owner");
  });
}

test("--after delete does not take what was put into the VM's folder beside it", async () => {
  const precious = join(vm.folder, "precious");
  writeFileSync(precious, "precious");
  await hosts.serve();
  await expectEnd(hosts.send(vm.folder, ["--after", "delete"]), 0);
  expect(readFileSync(precious, "utf8")).toBe("precious");
  expect(existsSync(vm.files[0]!.path)).toBe(false);
});

test("files kept and moved to another name are still known to be the destination's", async () => {
  await hosts.serve();
  await expectEnd(hosts.send(vm.folder, ["--after", "keep"]), 0);
  renameSync(vm.folder, `${vm.folder}-back`);
  await expectEnd(hosts.send(`${vm.folder}-back`), 7, "not-owner");
  mkdirSync(join(root, "elsewhere"));
  const file = join(root, "elsewhere", "some.raw");
  renameSync(join(`${vm.folder}-back`, vm.files[1]!.base), file);
  await expectEnd(hosts.sendFiles(["--name", "other", "--disk", file]), 7, "not-owner");
});

test("a name .migrated that is taken is not overwritten", async () => {
  mkdirSync(`${vm.folder}.migrated`);
  writeFileSync(join(`${vm.folder}.migrated`, "precious"), "precious");
  await hosts.serve();
  const send = hosts.send(vm.folder);
  const { session } = await send.waitFor("done");
  await expectEnd(send, 0);
  expect(readFileSync(join(`${vm.folder}.migrated`, "precious"), "utf8")).toBe("precious");
  expect(existsSync(vm.folder)).toBe(false);
  expect(hashOf(join(`${vm.folder}.migrated-${session.slice(0, 8)}`, vm.files[0]!.base))).toBe(
    vm.files[0]!.hash,
  );
});

test("files that cannot be renamed are an error, said loudly: the VM is the destination's; then the same command ends it", async () => {
  await hosts.serve();
  const around = join(root, "around");
  mkdirSync(around);
  renameSync(vm.folder, join(around, "web1"));
  const namespace = await newMounts([`mount --bind '${around}' '${around}'`]);
  const binary = [...namespace.enter("/"), builtBinary];
  const remount = (how: string) =>
    runChild([...namespace.enter("/"), "mount", "-o", `remount,${how},bind`, around]);
  const folder = join(around, "web1");
  // For this process alone the folder around the VM is read-only: it is refused, as long as that can be seen before.
  await remount("ro");
  const refused = hosts.send(folder, [], { binary });
  await expectEnd(refused, 6, "vm-invalid");
  expect(refused.events.at(-1)).toMatchObject({
    message: expect.stringContaining(
      "could not be renamed once the VM has moved: its folder cannot be written to",
    ),
  });
  expect(sessionsIn(hosts.sourceHome, "source")).toEqual([]);
  // It becomes so later, and the rename fails.
  await remount("rw");
  const send = hosts.send(folder, ["--bandwidth", "3M", "--compress", "off"], { binary });
  await send.waitFor("progress", { where: ({ doneBytes }) => doneBytes > 0 });
  await remount("ro");
  await expectEnd(send, 5, "io");
  expect(send.events.at(-1)).toMatchObject({ message: expect.stringContaining("is the destination's now") });
  expect(sessionsIn(hosts.sourceHome, "source")).toMatchObject([{ state: "confirmed", settled: 0 }]);
  await expectEnd(hosts.send(folder), 0);
  expect(existsSync(`${folder}.migrated`)).toBe(true);
  expect(existsSync(folder)).toBe(false);
});

test("--copy makes a copy that says so; the source goes on owning the VM, and the copy cannot be moved as if it were it", async () => {
  await hosts.serve();
  const send = hosts.send(vm.folder, ["--copy"]);
  expect(await send.waitFor("done")).toMatchObject({ mode: "copy", owner: "source", after: "copy" });
  await expectEnd(send, 0);
  expect(wholeAtSource(vm)).toBe(vm.folder);
  const copy = join(hosts.store, vm.name);
  const manifest = JSON.parse(readFileSync(join(copy, "vm.json"), "utf8"));
  expect(manifest.ownership).toMatchObject({ state: "copy" });
  for (const { base, hash } of vm.files) expect(hashOf(join(copy, base))).toBe(hash);

  await expectEnd(hosts.destination(["send", copy, "127.0.0.1:9", "--insecure"]), 7, "not-owner");
  // Its name is taken there; a copy of the copy may go elsewhere, and the VM itself is still to be moved.
  await expectEnd(hosts.send(vm.folder, ["--copy"]), 6, "name-taken");
  renameSync(copy, `${copy}-first`);
  await expectEnd(hosts.send(vm.folder), 0);
  expectMoved({ ...vm }, hosts, "moved after the copy");
});

test("there and back: the VM returns with what it did there, and either host knows who owns it at each time", async () => {
  const back = await TwoHosts.make(join(root, "back"));
  back.sourceHome = hosts.destinationHome;
  back.destinationHome = hosts.sourceHome;
  back.store = root;
  await hosts.serve();
  await back.serve();
  await expectEnd(hosts.send(vm.folder), 0);
  expectMoved(vm, hosts, "there");

  // It runs there, and changes.
  const there: SmallVm = {
    ...vm,
    folder: join(hosts.store, vm.name),
    files: vm.files.map((file) => ({ ...file, path: join(hosts.store, vm.name, file.base) })),
  };
  there.files[0] = overwrite(there.files[0]!, 12_345, Buffer.from("it ran"));
  await expectEnd(back.send(there.folder), 0);
  expectMoved(there, back, "and back");

  // Under its old name on the old host it may be sent once more: it is the owner again.
  const again: SmallVm = {
    ...there,
    folder: vm.folder,
    files: there.files.map((file, i) => ({ ...file, path: vm.files[i]!.path })),
  };
  const sent = hosts.send(vm.folder);
  await expectEnd(sent, 0);
  for (const { base, hash } of again.files) expect(hashOf(join(hosts.store, vm.name, base))).toBe(hash);
  const ids = [`${vm.folder}.migrated`, `${there.folder}.migrated`, there.folder].map(
    (folder) => JSON.parse(readFileSync(join(folder, "vm.json"), "utf8")).id,
  );
  // It is the same VM all the way; only its first vm.json did not say so yet.
  expect(ids[1]).toBe(ids[2]);
  await back.close();
});

test("verify finds a flipped bit, a file that is gone and one that has grown, and says nothing of a VM that is whole", async () => {
  await hosts.serve();
  await expectEnd(hosts.send(vm.folder), 0);
  const folder = join(hosts.store, vm.name);
  const verify = () => hosts.destination(["verify", folder]);
  await expectEnd(verify(), 0);
  const disk = join(folder, vm.files[1]!.base);
  const flip = () => {
    const bytes = readFileSync(disk);
    const at = statSync(disk).size - 1;
    const fd = openSync(disk, "r+");
    writeSync(fd, Buffer.from([bytes[at]! ^ 1]), 0, 1, at);
    closeSync(fd);
  };
  flip();
  const flipped = verify();
  await expectEnd(flipped, 5, "integrity");
  expect(flipped.events.filter(({ event }) => event === "file")).toMatchObject([{ ok: true }, { ok: false }]);
  flip();
  await expectEnd(verify(), 0);
  writeFileSync(disk, Buffer.concat([readFileSync(disk), Buffer.alloc(1)]));
  await expectEnd(verify(), 5, "integrity");
  rmSync(disk);
  await expectEnd(verify(), 5, "integrity");
});
