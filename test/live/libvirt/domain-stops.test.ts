/** Domains of libvirt that move as they stand still: saved by the move itself, saved before, or switched off. */
import { describe, expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { definedDomain, imagesFolder } from "../../support/libvirt/defined-domain.ts";
import { asTheirUsers } from "../../support/libvirt/host-folders.ts";
import { landedPath, moveDomain } from "../../support/libvirt/moved-domain.ts";
import { type MovingHost, movingHosts } from "../../support/libvirt/moving-hosts.ts";
import {
  definitionsOf,
  expectSameDisk,
  expectSameDomain,
  expectTicksOnDisk,
  expectWholeTicks,
} from "../../support/libvirt/same-domain.ts";
import { killChildren } from "../../support/system/child.ts";

const hosts = movingHosts({ qemuConf: asTheirUsers, hugepages: true }, "hosta", "hostb");
const limitMs = 120_000;
const stop = ["--mode", "stop"];

const diskOf = (name: string) => ({ path: `${imagesFolder}/${name}.qcow2`, format: "qcow2" }) as const;
const isSaved = async ({ libvirt }: MovingHost, name: string) =>
  /^Managed save:\s+yes$/m.test(await libvirt.virsh("dominfo", name));

/** A domain on the first host that has counted for a moment. */
async function countingDomain(name: string) {
  const [a, b] = hosts.all();
  const here = await definedDomain(a.libvirt, { name });
  await here.start();
  await here.waitForTick(3);
  await b.serve();
  return { a, b, here, there: here.at(b.libvirt), disk: diskOf(name) };
}

describe("a domain that runs, with --mode stop,", () => {
  test(
    "moves there and back, with the definition that it has from its next start on",
    async () => {
      const name = "stop-back";
      const { a, b, here, there, disk } = await countingDomain(name);
      await a.libvirt.virsh("setmaxmem", name, "160M", "--config");
      await a.libvirt.virsh("desc", name, "--config", "--new-desc", "from its next start on");
      await a.libvirt.virsh("autostart", name);
      const before = await definitionsOf(a.libvirt, name);
      await a.serve();
      await moveDomain({ from: a, to: b, name, files: [disk.path] }, ...stop);
      await there.waitForTicks(3);
      await expectSameDomain(before, b.libvirt, name);
      await moveDomain({ from: b, to: a, name }, ...stop);
      expect(b.inStore()).toEqual([`${name}.migrated`]);
      await here.waitForTicks(3);
      await expectSameDomain(before, a.libvirt, name);
      expect(await a.libvirt.virsh("dominfo", name)).toMatch(/^Autostart:\s+enable$/m);
      await a.libvirt.virsh("destroy", name);
      const landed = { ...disk, path: landedPath(a, name, disk.path) };
      await expectTicksOnDisk(landed, [a.libvirt, b.libvirt], name);
    },
    limitMs,
  );

  test(
    "moves back stopped after it came as it ran, and as it runs after it came stopped",
    async () => {
      const name = "stop-mixed";
      const { a, b, here, there } = await countingDomain(name);
      const before = await definitionsOf(a.libvirt, name);
      await a.serve();
      await moveDomain({ from: a, to: b, name });
      await there.waitForTicks(2);
      await moveDomain({ from: b, to: a, name }, ...stop);
      await here.waitForTicks(2);
      await moveDomain({ from: a, to: b, name });
      await there.waitForTicks(2);
      await expectSameDomain(before, b.libvirt, name);
      expectWholeTicks([a.libvirt, b.libvirt], name);
    },
    limitMs,
  );

  test(
    "arrives paused if it is paused, with the same bytes on its disk, and transient if it has no definition",
    async () => {
      const name = "stop-paused";
      const { a, b, there, disk } = await countingDomain(name);
      await a.libvirt.virsh("suspend", name);
      await a.libvirt.virsh("undefine", name);
      const before = await definitionsOf(a.libvirt, name);
      await moveDomain({ from: a, to: b, name, files: [disk.path] }, ...stop);
      expect(await there.state()).toBe("paused");
      await expectSameDomain(before, b.libvirt, name);
      await expectSameDisk(
        "qcow2",
        `${a.libvirt.outside(disk.path)}.migrated`,
        landedPath(b, name, disk.path),
      );
      expect(there.text()).toBe("");
      await b.libvirt.virsh("resume", name);
      await there.waitForTicks(3);
      expectWholeTicks([a.libvirt, b.libvirt], name);
    },
    limitMs,
  );
});

test(
  "a domain whose memory an administrator has saved, where it had come as it ran, arrives saved, and goes on from there",
  async () => {
    const name = "saved";
    const { a, b, here, there, disk } = await countingDomain(name);
    const before = await definitionsOf(a.libvirt, name);
    await moveDomain({ from: a, to: b, name, after: "delete", files: [disk.path] });
    await there.waitForTicks(2);
    await b.libvirt.virsh("managedsave", name);
    // The saved memory knows its disks by a link in the store, which a new serve has to leave alone.
    await killChildren();
    await Promise.all([a.serve(), b.serve()]);
    const printed = here.text();
    await moveDomain({ from: b, to: a, name, after: "delete" });
    expect([await here.state(), await isSaved(a, name)]).toEqual(["shut off", true]);
    expect(here.text()).toBe(printed);
    await here.start();
    await here.waitForTicks(3);
    await expectSameDomain(before, a.libvirt, name);
    expect(await there.state()).toBeUndefined();
    expect(b.inStore()).not.toContain(name);
    expectWholeTicks([a.libvirt, b.libvirt], name);
  },
  limitMs,
);

test(
  "a domain that is switched off arrives so, with its autostart and the same bytes, and back",
  async () => {
    const name = "off";
    const [a, b] = hosts.all();
    const disk = diskOf(name);
    const here = await definedDomain(a.libvirt, { name });
    await here.start();
    await here.waitForTick(3);
    await a.libvirt.virsh("destroy", name);
    await a.libvirt.virsh("autostart", name);
    const before = await definitionsOf(a.libvirt, name);
    await Promise.all([a.serve(), b.serve()]);
    await moveDomain({ from: a, to: b, name, after: "keep", files: [disk.path] });
    const there = here.at(b.libvirt);
    expect([await there.state(), await isSaved(b, name)]).toEqual(["shut off", false]);
    await expectSameDomain(before, b.libvirt, name);
    expect(await b.libvirt.virsh("dominfo", name)).toMatch(/^Autostart:\s+enable$/m);
    const landed = landedPath(b, name, disk.path);
    await expectSameDisk("qcow2", a.libvirt.outside(disk.path), landed);
    expect(existsSync(`${landed}.migrated`)).toBe(false);
    await there.start();
    await there.waitForTick(2);
    await b.libvirt.virsh("destroy", name);
    await moveDomain({ from: b, to: a, name });
    await expectSameDomain(before, a.libvirt, name);
    const [gone, back] = [`${b.store}/${name}.migrated/${name}.qcow2`, landedPath(a, name, disk.path)];
    await expectSameDisk("qcow2", gone, back);
  },
  limitMs,
);
