/** The network cards of domains that move: each is behind what the destination's `--net-map` says. */
import { expect, test } from "bun:test";
import { definedDomain } from "../../support/libvirt/defined-domain.ts";
import { asTheirUsers } from "../../support/libvirt/host-folders.ts";
import type { LibvirtHost } from "../../support/libvirt/libvirt-host.ts";
import { moveDomain } from "../../support/libvirt/moved-domain.ts";
import { movingHosts } from "../../support/libvirt/moving-hosts.ts";
import { definitionsOf, expectSameDomain, expectWholeTicks } from "../../support/libvirt/same-domain.ts";
import { runChild } from "../../support/system/child.ts";

const hosts = movingHosts({ qemuConf: asTheirUsers, hugepages: true }, "hosta", "hostb");
const limitMs = 120_000;

const red = "52:54:00:00:00:01";
const blue = "52:54:00:00:00:02";
const cut = "52:54:00:00:00:03";

/** What is behind each card by its MAC: the bridge that its tap device is in; null for none. */
async function bridgesOf(host: LibvirtHost, name: string): Promise<Record<string, string | null>> {
  const rows = (await host.virsh("domiflist", name)).trim().split("\n");
  const found: Record<string, string | null> = {};
  for (const row of rows) {
    const [device, , , , mac] = row.trim().split(/\s+/);
    const link = await runChild(host.command(["ip", "-o", "link", "show", device!]));
    found[mac!] = / master (\S+)/.exec(link)?.[1] ?? null;
  }
  return found;
}

/**
 * Whether the guest sees each card's link up, in the order of the cards: VIRTIO_NET_S_LINK_UP of the device's status,
 * which in the legacy interface is at 20 + 6 of its ports (virtio 1.2, 4.1.4.8 and 5.1.4).
 */
async function linksSeen(host: LibvirtHost, name: string): Promise<boolean[]> {
  const ask = async (command: string) => await host.virsh("qemu-monitor-command", name, "--hmp", command);
  const pci = await ask("info pci");
  const seen: boolean[] = [];
  for (const [, port] of pci.matchAll(
    /Ethernet controller: PCI device 1af4:1000[\s\S]*?BAR0: I\/O at (0x[0-9a-f]+)/g,
  )) {
    const said = await ask(`i /h 0x${(Number(port) + 20 + 6).toString(16)}`);
    seen.push((Number(/= (0x[0-9a-f]+)/.exec(said)?.[1]) & 1) === 1);
  }
  return seen;
}

test.each([["live"], ["stop"]])(
  "two are on two bridges that the map names, and one is cut off (--mode %s)",
  async (mode) => {
    const [a, b] = hosts.all();
    const name = `cards-${mode}`;
    const bridges = [await a.libvirt.addNetwork(`red-${mode}`), await a.libvirt.addNetwork(`blue-${mode}`)];
    const there = [await b.libvirt.addNetwork(`green-${mode}`), await b.libvirt.addNetwork(`grey-${mode}`)];
    const here = await definedDomain(a.libvirt, {
      name,
      nics: [
        { network: `red-${mode}`, mac: red },
        { network: `blue-${mode}`, mac: blue },
        { network: `red-${mode}`, mac: cut },
      ],
    });
    await here.start();
    await here.waitForTick(2);
    expect(await bridgesOf(a.libvirt, name)).toEqual({
      [red]: bridges[0]!,
      [blue]: bridges[1]!,
      [cut]: bridges[0]!,
    });
    expect(await linksSeen(a.libvirt, name)).toEqual([true, true, true]);
    const before = await definitionsOf(a.libvirt, name);
    await b.serve("--net-map", `${cut}=none,red-${mode}=${there[0]},blue-${mode}=network:grey-${mode}`);
    const said = (await moveDomain({ from: a, to: b, name }, "--mode", mode)).join("\n");
    expect(said).toContain(`its network card ${cut} (`);
    expect(said).toContain("has nothing behind it there");
    for (const mac of [red, blue]) expect(said).not.toContain(mac);
    await here.at(b.libvirt).waitForTicks(2);
    expect(await bridgesOf(b.libvirt, name)).toEqual({ [red]: there[0]!, [blue]: there[1]!, [cut]: null });
    expect(await linksSeen(b.libvirt, name)).toEqual([true, true, false]);
    await expectSameDomain(before, b.libvirt, name, [`+ devices/interface[${cut}]/link state=down`]);
    expectWholeTicks([a.libvirt, b.libvirt], name);
  },
  limitMs,
);
