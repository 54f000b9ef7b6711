/**
 * The libvirt hosts of the live tests do what they say: each is a host of its own, its guests move to another one by
 * libvirt's own means, go on without libvirtd, are saved and restored; and nothing of it is left in the end.
 */
import { describe, expect, test } from "bun:test";
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { ticksIn } from "../../support/guests/serial-line.ts";
import { ticksOnDisk } from "../../support/guests/tick-disk.ts";
import { pcr16AfterExtend, tpmSecret } from "../../support/guests/tpm-guest.ts";
import { definedDomain, imagesFolder, makeDisk } from "../../support/libvirt/defined-domain.ts";
import { asTheirUsers } from "../../support/libvirt/host-folders.ts";
import type { LibvirtHost } from "../../support/libvirt/libvirt-host.ts";
import { libvirtHostsOfTests } from "../../support/libvirt/libvirt-hosts-of-tests.ts";
import { printedOn, type TickDomain } from "../../support/libvirt/tick-domain.ts";
import { diskXml, nicXml } from "../../support/libvirt/tick-xml.ts";
import { UnixRelay } from "../../support/libvirt/unix-relay.ts";
import { NetworkHosts } from "../../support/moves/links/network-hosts.ts";
import { runChild, startChild } from "../../support/system/child.ts";
import { until } from "../../support/system/until.ts";

const hosts = libvirtHostsOfTests();
const limitMs = 120_000;
const disk = { path: `${imagesFolder}/web1.qcow2`, format: "qcow2" } as const;

const countedTo = (last: number) => Array.from({ length: last }, (_, index) => index + 1);

/** No tick was lost or repeated, whichever of the hosts printed it. Gives how many there are. */
function expectWholeTicks(on: readonly LibvirtHost[], name = "web1"): number {
  const ticks = ticksIn(printedOn(on, name));
  expect(ticks).toEqual(countedTo(ticks.length));
  return ticks.length;
}

/** Ticks of a disk on a host where no QEMU holds it. */
const ticksOn = (host: LibvirtHost) => ticksOnDisk({ ...disk, path: host.outside(disk.path) });

/**
 * Moves a domain that runs as libvirt does by itself, everything over unix sockets, and leaves it paused there. The
 * images of its disks must be there.
 */
async function migrateByHand(domain: TickDomain, to: LibvirtHost): Promise<void> {
  const folder = hosts.folder();
  // QEMU listens there, and first removes what has the name: its user must be let in, and may write.
  const sockets = join(folder, "sockets");
  mkdirSync(sockets, { recursive: true });
  chmodSync(folder, 0o711);
  chmodSync(sockets, 0o777);
  const relay = await UnixRelay.listen(join(folder, "relay.sock"), to.socket);
  const xml = join(folder, "migrated.xml");
  await Bun.write(xml, await domain.xml("--migratable"));
  await domain.host.virsh(
    ...["migrate", "--live", "--p2p", "--suspend", "--persistent", "--xml", xml, "--persistent-xml", xml],
    ...["--copy-storage-all", "--disks-uri", `unix://${sockets}/nbd.sock`],
    ...["--migrateuri", `unix://${sockets}/ram.sock`],
    ...[domain.name, `qemu+unix:///system?socket=${relay.path}`],
  );
  expect(relay.connections).toBe(1);
  relay.close();
}

describe("a domain with a disk", () => {
  test(
    "moves live to another host and back, and no tick is lost or repeated",
    async () => {
      const [a, b] = await Promise.all([hosts.host("hosta"), hosts.host("hostb")]);
      expect([await a.virsh("hostname"), await b.virsh("hostname")].map((name) => name.trim())).toEqual([
        "hosta",
        "hostb",
      ]);
      const here = await definedDomain(a);
      const there = here.at(b);
      await here.start();
      await here.waitForTick(5);
      expect(await there.state()).toBeUndefined();
      expect(here.qemuPid()).toBeGreaterThan(0);

      await makeDisk(b, disk);
      await migrateByHand(here, b);
      expect([await here.reason(), await there.reason()]).toEqual(["shut off (migrated)", "paused (user)"]);
      expect(here.qemuPid()).toBeUndefined();
      const printedHere = here.ticks();
      await b.virsh("resume", "web1");
      await there.waitForTicks(5);

      await migrateByHand(there, a);
      await a.virsh("resume", "web1");
      await here.waitForTick(printedHere.length + 10);
      await here.kill();
      await here.waitForState("shut off");
      expect(await here.reason()).toBe("shut off (crashed)");
      const count = expectWholeTicks([a, b]);
      // A tick is printed after it is written, and the last one may not have been.
      const written = await ticksOn(a);
      expect(written).toEqual(countedTo(written.length));
      expect(written.length - count).toBeOneOf([0, 1]);
    },
    limitMs,
  );

  test(
    "goes on while libvirtd is dead, and the next one has it",
    async () => {
      const a = await hosts.host("hosta");
      const domain = await definedDomain(a);
      await domain.start();
      await domain.waitForTick(2);
      const qemu = domain.qemuPid();
      const libvirtd = a.libvirtdPid();
      await a.killLibvirtd();
      expect(a.libvirtdPid()).toBeUndefined();
      expect(await domain.state()).toBeUndefined();
      await domain.waitForTicks(3);
      await a.startLibvirtd();
      expect(a.libvirtdPid()).not.toBe(libvirtd);
      expect(await domain.state()).toBe("running");
      expect(domain.qemuPid()).toBe(qemu);
      await a.restart();
      await domain.waitForTicks(3);
      expectWholeTicks([a]);
    },
    limitMs,
  );

  test(
    "is saved and restored on another host, and by managed save on the same",
    async () => {
      const [a, b] = await Promise.all([hosts.host("hosta"), hosts.host("hostb")]);
      const here = await definedDomain(a);
      const there = here.at(b);
      await here.start();
      await here.waitForTick(3);
      await a.virsh("managedsave", "web1");
      expect(await here.reason()).toBe("shut off (saved)");
      const saved = a.outside("/var/lib/libvirt/qemu/save/web1.save");
      expect(readFileSync(saved).toString("latin1", 0, 16)).toBe("LibvirtQemudSave");
      await here.start();
      expect(existsSync(saved)).toBe(false);
      await here.waitForTicks(3);

      const image = join(hosts.folder(), "web1.saved");
      await a.virsh("save", "web1", image);
      await runChild(["cp", "--sparse=always", a.outside(disk.path), b.outside(disk.path)]);
      await b.virsh("restore", image, "--paused");
      expect(await there.state()).toBe("paused");
      await b.virsh("resume", "web1");
      await there.waitForTicks(3);
      await there.kill();
      expectWholeTicks([a, b]);
    },
    limitMs,
  );
});

test(
  "a domain with UEFI, a TPM, memfd, two cards on two networks and devices that are plugged in later moves",
  async () => {
    const [a, b] = await Promise.all([hosts.host("hosta"), hosts.host("hostb")]);
    const folder = hosts.folder();
    const bridges: string[][] = [];
    for (const host of [a, b]) bridges.push([await host.addNetwork("red"), await host.addNetwork("blue")]);
    const here = await definedDomain(a, {
      firmware: "uefi",
      tpm: true,
      memory: "memfd",
      append: "tpm=extend",
      nics: [{ network: "red" }, { network: "blue" }],
    });
    const there = here.at(b);
    await here.start();
    await here.waitForTick(2);
    const extra = { path: `${imagesFolder}/extra.raw`, format: "raw", target: "vdb" } as const;
    for (const host of [a, b]) await makeDisk(host, extra);
    for (const [name, xml] of Object.entries({ disk: diskXml(extra), nic: nicXml({ network: "blue" }) })) {
      const path = join(folder, `${name}.xml`);
      await Bun.write(path, xml);
      await a.virsh("attach-device", "web1", path, "--live");
    }
    await makeDisk(b, disk);
    await migrateByHand(here, b);
    await b.virsh("resume", "web1");
    // It may have left in the middle of a look.
    const isWhole = (text: string) =>
      text.lastIndexOf("unsealed ") > text.indexOf("pcr16 ") && text.includes("pcr16 ");
    await there.waitUntil(isWhole, "a look at the TPM");
    expect(there.text()).toContain(`pcr16 ${pcr16AfterExtend}`);
    expect(there.text()).toContain(`unsealed ${tpmSecret}`);
    const xml = await there.xml();
    for (const part of ["extra.raw", "tpm-tis", "memfd", "web1_VARS.fd", ...bridges[1]!])
      expect(xml).toContain(part);
    expect(xml.match(/<interface /g)?.length).toBe(3);
    for (const bridge of bridges[0]!) expect(xml).not.toContain(bridge);
    expectWholeTicks([a, b]);
    const links = async () => await runChild(["ip", "-o", "link"]);
    expect((await links()).match(new RegExp(` master (${bridges[1]!.join("|")}) `, "g"))?.length).toBe(3);
    await Promise.all([a.stop(), b.stop()]);
    const after = await links();
    expect(bridges.flat().filter((bridge) => after.includes(bridge))).toEqual([]);
  },
  limitMs,
);

test(
  "a domain whose QEMU and swtpm run as users of their own, with huge pages, moves",
  async () => {
    const options = { qemuConf: asTheirUsers, hugepages: true };
    const [a, b] = await Promise.all([hosts.host("hosta", options), hosts.host("hostb", options)]);
    const here = await definedDomain(a, { tpm: true, memory: "hugepages" });
    const there = here.at(b);
    await here.start();
    await here.waitForTick(2);
    await makeDisk(b, disk);
    await migrateByHand(here, b);
    await b.virsh("resume", "web1");
    await there.waitForTicks(2);
    const users = (await runChild(["ps", "-o", "user:20=,comm=", "-p", b.processes().join()])).split("\n");
    const userOf = (program: string) => users.find((line) => line.includes(program))?.split(" ")[0];
    expect(["qemu-system", "swtpm", "libvirtd"].map(userOf)).toEqual(["libvirt-qemu", "tss", "root"]);
    const owner = statSync(b.outside(disk.path)).uid;
    expect(owner).not.toBe(0);
    expect(readFileSync(`/proc/${there.qemuPid()}/maps`, "latin1")).toContain("/hugepages/");
    await b.virsh("destroy", "web1");
    expect(statSync(b.outside(disk.path)).uid).toBe(0);
    expectWholeTicks([a, b]);
  },
  limitMs,
);

test(
  "hosts in network namespaces of their own reach each other over the link between them, and nothing else",
  async () => {
    const network = await NetworkHosts.make();
    try {
      const [a, b] = await Promise.all([
        hosts.host("hosta", { network: network.namespace("source") }),
        hosts.host("hostb", { network: network.namespace("destination") }),
      ]);
      const addresses = async (host: LibvirtHost) => await runChild(host.command(["ip", "-o", "address"]));
      expect(await addresses(a)).toContain(network.address("source"));
      expect(await addresses(b)).toContain(network.address("destination"));
      const devices = await runChild(a.command(["ls", "/sys/class/net"]));
      expect(devices.trim().split("\n").sort()).toEqual(["link0", "lo"]);
      const domain = await definedDomain(a);
      await domain.start();
      await domain.waitForTick(1);
    } finally {
      await network.close();
    }
  },
  limitMs,
);

describe("nothing is left of a host", () => {
  /** Where the names of groups of processes, mounts and devices could show it. */
  const traces = (host: LibvirtHost): string[] => [
    ...host.processes().map(String),
    ...(existsSync(host.folder) ? [host.folder] : []),
    ...readFileSync("/proc/self/mountinfo", "latin1")
      .split("\n")
      .filter((line) => line.includes(`${host.folder}/`)),
    ...[...new Bun.Glob("**/*web-left*").scanSync({ cwd: "/sys/fs/cgroup", onlyFiles: false })],
    ...readdirSync("/run").filter((name) => name.includes("virt") && name !== "libvirt"),
  ];

  test(
    "that is stopped, with a guest that runs and a TPM, and nothing else is touched",
    async () => {
      const [a, b] = await Promise.all([hosts.host("hosta"), hosts.host("hostb")]);
      const domain = await definedDomain(a, { name: "web-left", tpm: true });
      await domain.start();
      const before = readdirSync("/run").filter((name) => name.includes("virt") && name !== "libvirt");
      // QEMU, swtpm, libvirtd, virtlogd.
      expect(a.processes().length).toBeGreaterThanOrEqual(4);
      await a.stop();
      expect(traces(a)).toEqual(before);
      await a.stop();
      expect((await b.virsh("list")).trim()).toBe("");
    },
    limitMs,
  );

  test(
    "whose holder was killed, once it is stopped",
    async () => {
      const a = await hosts.host("hosta");
      const domain = await definedDomain(a, { name: "web-left" });
      await domain.start();
      process.kill(a.pid, "SIGKILL");
      await a.stop();
      expect(traces(a)).toEqual([]);
    },
    limitMs,
  );

  test(
    "whose test process was killed, but its folder",
    async () => {
      const from = (path: string) => JSON.stringify(join(import.meta.dir, "../../support/libvirt", path));
      const script = `
        const { LibvirtHost } = await import(${from("libvirt-host.ts")});
        const { definedDomain } = await import(${from("defined-domain.ts")});
        const host = await LibvirtHost.start(${JSON.stringify(hosts.folder())}, "hosta");
        await (await definedDomain(host)).start();
        console.log(JSON.stringify([host.pid, ...host.processes()]));
        setInterval(() => {}, 1000);
      `;
      const child = startChild([process.execPath, "-e", script]);
      const said = () => child.stdout().includes("\n") || child.stderr() !== "";
      await until(said, "a host", 60_000);
      expect(child.stderr()).toBe("");
      const pids = JSON.parse(child.stdout()) as number[];
      expect(pids.length).toBeGreaterThanOrEqual(4);
      await child.kill();
      const left = () => pids.filter(isAlive);
      await until(() => left().length === 0, "the end of its processes", 30_000);
    },
    limitMs,
  );
});

/** A zombie of somebody who does not wait for it is none. */
function isAlive(pid: number): boolean {
  try {
    return !/^State:\s+[ZX]/m.test(readFileSync(`/proc/${pid}/status`, "latin1"));
  } catch {
    return false;
  }
}
