/** Images that a move takes along, flattens, or refuses: backing files, snapshots, checkpoints. */
import { describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { definedDomain, imagesFolder } from "../../support/libvirt/defined-domain.ts";
import { asTheirUsers } from "../../support/libvirt/host-folders.ts";
import { landedPath, linksTo, moveDomain } from "../../support/libvirt/moved-domain.ts";
import { movingHosts } from "../../support/libvirt/moving-hosts.ts";
import {
  definitionsOf,
  expectSameDisk,
  expectSameDomain,
  expectWholeTicks,
} from "../../support/libvirt/same-domain.ts";
import { failureOf } from "../../support/moves/whole-move.ts";
import { runChild } from "../../support/system/child.ts";

const hosts = movingHosts({ qemuConf: asTheirUsers, hugepages: true }, "hosta", "hostb");
const limitMs = 120_000;

/** A disk that is an overlay of another one. */
async function overlay(name: string): Promise<string> {
  const [a] = hosts.all();
  const [base, path] = [`${imagesFolder}/${name}-base.qcow2`, `${imagesFolder}/${name}.qcow2`];
  const create = ["qemu-img", "create", "-q", "-f", "qcow2"];
  await runChild(a.libvirt.command([...create, base, "16M"]));
  await runChild(a.libvirt.command(["qemu-io", "-c", "write -P 7 8M 64k", base]));
  await runChild(a.libvirt.command([...create, "-b", base, "-F", "qcow2", path]));
  return path;
}

describe("a disk with a backing file", () => {
  test(
    "is flattened as the domain runs, and refused by --mode stop, which leaves the domain running",
    async () => {
      const name = "backed";
      const [a, b] = hosts.all();
      const path = await overlay(name);
      const here = await definedDomain(a.libvirt, { name, disks: [{ path, format: "qcow2" }] });
      await here.start();
      await here.waitForTick(2);
      await a.libvirt.virsh("suspend", name);
      await b.serve();
      const qemu = here.qemuPid();
      expect(await failureOf(a.send(name, b, "--mode", "stop"))).toMatchObject({
        code: "vm-invalid",
        message: expect.stringContaining("backing file"),
        hint: expect.stringContaining("--mode live"),
      });
      expect([await here.state(), here.qemuPid()]).toEqual(["paused", qemu]);
      await moveDomain({ from: a, to: b, name, files: [path] });
      const landed = landedPath(b, name, path);
      // On the host, where its backing file is.
      const compare = ["qemu-img", "compare", "-U", "-f", "qcow2", "-F", "qcow2", `${path}.migrated`, landed];
      await runChild(a.libvirt.command(compare));
      expect(await runChild(["qemu-img", "info", "-U", landed])).not.toContain("backing file");
      expect(existsSync(a.libvirt.outside(`${imagesFolder}/${name}-base.qcow2`))).toBe(true);
      await b.libvirt.virsh("resume", name);
      await here.at(b.libvirt).waitForTicks(2);
      expectWholeTicks([a.libvirt, b.libvirt], name);
    },
    limitMs,
  );
});

test(
  "libvirt's own snapshots and checkpoints refuse a move, with a way out that is one",
  async () => {
    const name = "snapped";
    const [a, b] = hosts.all();
    const here = await definedDomain(a.libvirt, { name });
    await a.libvirt.virsh("snapshot-create-as", name, "before");
    await b.serve();
    const failure = await failureOf(a.send(name, b));
    expect(failure).toMatchObject({
      code: "vm-invalid",
      message: "The domain has snapshots that libvirt keeps (before)",
      hint: expect.stringContaining("virsh snapshot-delete --metadata"),
    });
    await a.libvirt.virsh("snapshot-delete", name, "before", "--metadata");
    const before = await definitionsOf(a.libvirt, name);
    await moveDomain({ from: a, to: b, name });
    await expectSameDomain(before, b.libvirt, name);
    const landed = landedPath(b, name, `${imagesFolder}/${name}.qcow2`);
    expect(await runChild(["qemu-img", "snapshot", "-l", landed])).toContain("before");
    expect(await here.state()).toBeUndefined();
  },
  limitMs,
);

test(
  "three disks that are called the same arrive as three, as the domain runs and switched off",
  async () => {
    const name = "namesakes";
    const [a, b] = hosts.all();
    const paths = ["one", "two", "three"].map((folder) => `${imagesFolder}/${name}-${folder}/disk.raw`);
    const disks = paths.map((path, n) => ({ path, format: "raw", readOnly: n === 2 }) as const);
    const here = await definedDomain(a.libvirt, { name, disks });
    await Bun.write(a.libvirt.outside(paths[2]!), "what it was installed from".padEnd(2 ** 20));
    await here.start();
    await here.waitForTick(2);
    await a.libvirt.virsh("suspend", name);
    await Promise.all([a.serve(), b.serve()]);
    const before = await definitionsOf(a.libvirt, name);
    await moveDomain({ from: a, to: b, name, after: "keep", files: paths });
    await expectSameDomain(before, b.libvirt, name);
    const landed = ["disk.raw", "vdb-disk.raw", "vdc-disk.raw"];
    for (const [n, path] of paths.entries())
      await expectSameDisk("raw", a.libvirt.outside(path), `${b.store}/${name}/${landed[n]}`);
    await b.libvirt.virsh("destroy", name);
    await moveDomain({ from: b, to: a, name });
    for (const [n, path] of paths.entries())
      await expectSameDisk("raw", a.libvirt.outside(path), `${a.store}/${name}/${landed[n]}`);
  },
  limitMs,
);

test(
  "domains that share what they boot from are not taken for each other",
  async () => {
    const [a, b] = hosts.all();
    await b.serve();
    for (const name of ["twin-one", "twin-two"]) {
      await definedDomain(a.libvirt, { name });
      await moveDomain({ from: a, to: b, name });
    }
  },
  limitMs,
);

test(
  "a domain without a definition that cannot be taken in goes on where it was",
  async () => {
    const name = "unwanted";
    const [a, b] = hosts.all();
    const here = await definedDomain(a.libvirt, { name });
    await here.start();
    await here.waitForTick(2);
    await a.libvirt.virsh("undefine", name);
    // It has that name there already.
    await definedDomain(b.libvirt, { name });
    await b.serve();
    expect(await failureOf(a.send(name, b, "--mode", "stop"))).toMatchObject({ code: "name-taken" });
    expect(await here.state()).toBe("running");
    expect(existsSync(a.libvirt.outside(`/var/lib/libvirt/qemu/save/${name}.save`))).toBe(false);
    await here.waitForTicks(2);
    expectWholeTicks([a.libvirt], name);
  },
  limitMs,
);

test("links of domains that are gone go as serve starts, and no others", async () => {
  const [, b] = hosts.all();
  await (await b.serve()).kill();
  const link = (id: string) => join(b.store, `.migrate-vm-${id}`);
  mkdirSync(join(b.store, "there"));
  symlinkSync(join(b.store, "gone"), link("0123456789abcdef"));
  symlinkSync(join(b.store, "there"), link("fedcba9876543210"));
  symlinkSync(join(b.store, "gone"), link("of-a-person"));
  await b.serve();
  const left = b.inStore().filter((file) => file.startsWith(".migrate-vm-"));
  expect(left).toEqual(expect.arrayContaining([".migrate-vm-fedcba9876543210", ".migrate-vm-of-a-person"]));
  expect(left).not.toContain(".migrate-vm-0123456789abcdef");
  expect(linksTo(b, "there")).toEqual([".migrate-vm-fedcba9876543210"]);
});
