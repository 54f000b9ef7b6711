/** A move into a store whose file system shares blocks (XFS, mkfs.xfs(8)): what a base has takes no room twice. */
import { expect, test } from "bun:test";
import { copyFileSync, mkdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { freeBytes } from "../../../src/platform/files/filesystem.ts";
import { hashOf, makeSmallVm, overwrite, randomStream, type SmallVm } from "../../support/files/small-vm.ts";
import { createDisk } from "../../support/guests/tick-disk.ts";
import { expectMoved } from "../../support/moves/ownership.ts";
import { TwoHosts } from "../../support/moves/two-hosts.ts";
import { findProgram } from "../../support/runner/needs.ts";
import { runChild } from "../../support/system/child.ts";
import { MountNamespace } from "../../support/system/mount-namespace.ts";
import { builtBinary } from "../../support/system/process.ts";
import { eachTestInFolder } from "../../support/system/test-folder.ts";

const mebibyte = 1024 ** 2;
const vmBytes = 96 * mebibyte;
/** Where the VM differs from its base: from the middle of a block to the middle of another one. */
const ownAt = 41 * mebibyte + 12_345;
const ownBytes = 3 * mebibyte;

let [root, mountPoint] = ["", ""];
let mounts: MountNamespace;
let hosts: TwoHosts;
/** The store, as this process reaches it. */
let store: string;
let vm: SmallVm;
let base: string;

eachTestInFolder("migrate-shared-move-", async (made) => {
  root = made;
  mountPoint = join(root, "disk");
  mkdirSync(mountPoint);
  const image = join(root, "image");
  await createDisk({ path: image, format: "raw" }, 512);
  await runChild([findProgram("mkfs.xfs") ?? "mkfs.xfs", "-q", "-m", "reflink=1", image]);
  mounts = await MountNamespace.make([`mount -o loop '${image}' '${mountPoint}'`]);
  hosts = await TwoHosts.make(join(root, "hosts"));
  hosts.store = join(mountPoint, "store");
  store = mounts.inside(hosts.store);
  const disk = { bytes: vmBytes, extents: [{ at: 0, bytes: vmBytes }] };
  vm = makeSmallVm(join(root, "web1"), { ram: null, disks: [disk] });
  const golden = join(store, "golden");
  mkdirSync(golden, { recursive: true, mode: 0o700 });
  base = join(golden, "disk.raw");
  copyFileSync(vm.files[0]!.path, base);
  vm.files[0] = overwrite(vm.files[0]!, ownAt, randomStream(2)(ownBytes));
  // What is still on its way to the disk would count for what the move takes.
  await runChild(["sync", "-f", base]);
  return async () => {
    await hosts.close();
    await mounts.close();
  };
});

/** Runs a command of the destination, or its `serve`, where the store is mounted. */
const inside = () => ({ binary: [...mounts.enter("/"), builtBinary] });

test.each([
  ["a base", "off", ["--base", "golden"]],
  ["the index", "on", []],
])(
  "a VM that %s has most of takes little room, and stays whole when the base is written to and deleted",
  async (_what, index, flags) => {
    const serve = await hosts.serve({ flags: ["--index", index], ...inside() });
    if (index === "on") await serve.waitFor("indexed");
    const before = freeBytes(store);
    const send = hosts.send(vm.folder, flags);
    const { foundBytes, wireBytes } = await send.waitFor("done");
    expect(await send.exit).toEqual({ code: 0, signal: null });
    const { sourceHome, destinationHome } = hosts;
    expectMoved(vm, { sourceHome, destinationHome, store }, "it was sent");
    expect(foundBytes).toBeGreaterThan(vmBytes - ownBytes - mebibyte);
    expect(wireBytes).toBeLessThan(ownBytes + mebibyte);
    expect(before - freeBytes(store)).toBeLessThan(ownBytes + 5 * mebibyte);

    const arrived = join(store, vm.name, vm.files[0]!.base);
    const whole = vm.files[0]!.hash;
    writeFileSync(base, Buffer.alloc(vmBytes, "another system, installed over the base\n"), {
      flag: "r+",
      flush: true,
    });
    expect(hashOf(arrived)).toBe(whole);
    rmSync(join(store, "golden"), { recursive: true });
    writeFileSync(join(store, "filler"), randomStream(3)(vmBytes), { flush: true });
    expect(hashOf(arrived)).toBe(whole);
    expect(statSync(arrived).size).toBe(vmBytes);
    const verify = hosts.destination(["verify", join(hosts.store, vm.name)], {
      binary: [...mounts.enter("/"), builtBinary],
    });
    expect(await verify.waitFor("verified")).toMatchObject({ ok: true });
    expect((await verify.exit).code).toBe(0);
  },
);
