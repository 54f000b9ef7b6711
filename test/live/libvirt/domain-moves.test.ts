/** Domains of libvirt that move as they run, by the compiled binary: there, back, on to a third host. */
import { describe, expect, test } from "bun:test";
import { definedDomain, imagesFolder } from "../../support/libvirt/defined-domain.ts";
import { asTheirUsers } from "../../support/libvirt/host-folders.ts";
import { landedPath, linksTo, moveDomain } from "../../support/libvirt/moved-domain.ts";
import { movingHosts } from "../../support/libvirt/moving-hosts.ts";
import {
  definitionsOf,
  expectSameDisk,
  expectSameDomain,
  expectTicksOnDisk,
  expectWholeTicks,
} from "../../support/libvirt/same-domain.ts";

const hosts = movingHosts({ qemuConf: asTheirUsers, hugepages: true }, "hosta", "hostb", "hostc");
const limitMs = 120_000;

describe("a domain with a disk and an agent's channel", () => {
  test(
    "moves there, back, and on to a third host as it runs",
    async () => {
      const [a, b, c] = hosts.all();
      const name = "web-three";
      const disk = { path: `${imagesFolder}/${name}.qcow2`, format: "qcow2" } as const;
      const here = await definedDomain(a.libvirt, { name });
      await here.start();
      await here.waitForTick(3);
      const before = await definitionsOf(a.libvirt, name);
      await Promise.all([a.serve(), b.serve(), c.serve()]);

      await moveDomain({ from: a, to: b, name, files: [disk.path] });
      await here.at(b.libvirt).waitForTicks(3);
      await expectSameDomain(before, b.libvirt, name);
      // QEMU knows its files by a link, until it is started anew.
      expect(linksTo(b, name).length).toBe(1);

      await moveDomain({ from: b, to: a, name });
      expect(b.inStore()).toEqual([`${name}.migrated`]);
      await here.waitForTicks(3);
      await expectSameDomain(before, a.libvirt, name);

      await moveDomain({ from: a, to: c, name });
      expect(a.inStore()).toEqual([`${name}.migrated`]);
      const there = here.at(c.libvirt);
      await there.waitForTicks(3);
      await expectSameDomain(before, c.libvirt, name);
      await c.libvirt.virsh("destroy", name);
      const path = landedPath(c, name, disk.path);
      await expectTicksOnDisk(
        { ...disk, path },
        hosts.all().map(({ libvirt }) => libvirt),
        name,
      );
    },
    limitMs,
  );

  test(
    "arrives with its autostart, and with a definition that is another than what runs of it",
    async () => {
      const [a, b] = hosts.all();
      const name = "web-auto";
      const here = await definedDomain(a.libvirt, { name });
      await here.start();
      await a.libvirt.virsh("autostart", name);
      await a.libvirt.virsh("setmaxmem", name, "160M", "--config");
      await a.libvirt.virsh("setvcpus", name, "2", "--config", "--maximum");
      await a.libvirt.virsh("desc", name, "--config", "--new-desc", "the web server, from its next start on");
      await here.waitForTick(3);
      const before = await definitionsOf(a.libvirt, name);
      await b.serve();
      await moveDomain({ from: a, to: b, name, after: "delete", files: [`${imagesFolder}/${name}.qcow2`] });
      const there = here.at(b.libvirt);
      await there.waitForTicks(3);
      await expectSameDomain(before, b.libvirt, name);
      const inactive = await there.xml("--inactive");
      for (const part of ["163840</memory>", ">2</vcpu>", "from its next start on"])
        expect(inactive).toContain(part);
      expect(await there.xml()).not.toContain("from its next start on");
      expect(await b.libvirt.virsh("dominfo", name)).toMatch(/^Autostart:\s+enable$/m);
      expectWholeTicks([a.libvirt, b.libvirt], name);
    },
    limitMs,
  );

  test(
    "arrives paused if it is paused, with the same bytes on its disk, and transient if it has no definition",
    async () => {
      const [a, b] = hosts.all();
      const name = "web-paused";
      const path = `${imagesFolder}/${name}.qcow2`;
      const here = await definedDomain(a.libvirt, { name });
      await here.start();
      await here.waitForTick(5);
      await a.libvirt.virsh("suspend", name);
      await a.libvirt.virsh("undefine", name);
      const before = await definitionsOf(a.libvirt, name);
      const printed = here.text();
      await b.serve();
      await moveDomain({ from: a, to: b, name, after: "keep", files: [path] });
      const there = here.at(b.libvirt);
      expect(await there.state()).toBe("paused");
      await expectSameDomain(before, b.libvirt, name);
      await expectSameDisk("qcow2", a.libvirt.outside(path), landedPath(b, name, path));
      expect([here.text(), there.text()]).toEqual([printed, ""]);
      await b.libvirt.virsh("resume", name);
      await there.waitForTicks(3);
      expectWholeTicks([a.libvirt, b.libvirt], name);
    },
    limitMs,
  );
});
