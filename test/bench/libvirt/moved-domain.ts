/** The domain that is moved: made once, saved, and brought back to the source for each run, so that all move the same. */
import { mkdirSync, readdirSync, rmSync } from "node:fs";
import { open } from "node:fs/promises";
import { join } from "node:path";
import { copyDisk } from "../../support/guests/tick-disk.ts";
import { imagesFolder } from "../../support/libvirt/defined-domain.ts";
import type { LibvirtHost } from "../../support/libvirt/libvirt-host.ts";
import { TickDomain } from "../../support/libvirt/tick-domain.ts";
import { runChild } from "../../support/system/child.ts";
import type { Ground } from "./ground.ts";

export const domainKinds = ["idle", "writing"] as const;
export type DomainKind = (typeof domainKinds)[number];

/** Its name on both hosts. */
export const domainName = "bench";
export const ramMiB = 256;
export const diskMiB = 1024;
const randomMiB = 200;
/** The ticks are in the first sectors, what a guest writes over and over from the disk's second half on. */
const randomAtMiB = 16;

const mib = 2 ** 20;
const bootDeadlineMs = 300_000;

/** Words for the guest's init; see guest-init.ts. Both have 64 MiB of programs in their memory, which are read no more. */
const words: Readonly<Record<DomainKind, string>> = {
  idle: "program_mib=64 tick_ms=200",
  writing: "program_mib=64 tick_ms=200 dirty_mib=16 scrub_mib=8",
};

const titles: Readonly<Record<DomainKind, string>> = {
  idle: "idle",
  writing: "writing 16 MiB of its memory and 8 MiB of its disk over and over, as fast as it can",
};

export const titleOf = (kind: DomainKind): string =>
  `a domain of ${ramMiB} MiB with a qcow2 disk of ${diskMiB} MiB, ${randomMiB} MiB of random bytes on it; ${titles[kind]}`;

const diskPath = `${imagesFolder}/${domainName}.qcow2`;

export class MovedDomain {
  private constructor(
    private readonly ground: Ground,
    private readonly kind: DomainKind,
    /** What it was when it was saved. */
    private readonly folder: string,
  ) {}

  /** Boots it at the source and saves it into a new folder. Throws what did not work. */
  static async make(ground: Ground, kind: DomainKind): Promise<MovedDomain> {
    const folder = join(ground.folder, kind);
    mkdirSync(folder);
    const domain = new MovedDomain(ground, kind, folder);
    const disk = ground.source.outside(diskPath);
    await makeDisk(join(folder, "empty.qcow2"));
    await copyDisk(join(folder, "empty.qcow2"), disk);
    const guest = await TickDomain.define(ground.source, {
      ...{ name: domainName, ramMiB, append: words[kind] },
      disks: [{ path: diskPath, format: "qcow2" }],
    });
    try {
      await Bun.write(domain.#definition, await guest.xml("--inactive", "--security-info"));
      await guest.start();
      await guest.waitForTick(2, bootDeadlineMs);
      if (kind === "writing")
        await guest.waitUntil((text) => text.includes("scrub pass"), "a pass on its disk");
      await ground.source.virsh("save", domainName, domain.#saved);
      await copyDisk(disk, join(folder, "disk.qcow2"));
      return domain;
    } finally {
      rmSync(join(folder, "empty.qcow2"), { force: true });
      await domain.clear();
    }
  }

  get source(): TickDomain {
    return new TickDomain(this.ground.source, domainName);
  }

  get destination(): TickDomain {
    return new TickDomain(this.ground.destination, domainName);
  }

  /** Has it run at the source, where it is defined as well. */
  async start(): Promise<void> {
    await copyDisk(join(this.folder, "disk.qcow2"), this.ground.source.outside(diskPath));
    await this.ground.source.virsh("define", this.#definition);
    await this.ground.source.virsh("restore", this.#saved);
    await this.source.waitForTicks(2);
  }

  /** Makes an empty disk for it at the destination, as `virsh migrate` wants one that is in no storage pool. */
  async makeRoom(): Promise<void> {
    const path = this.ground.destination.outside(diskPath);
    await runChild(["qemu-img", "create", "-q", "-f", "qcow2", path, `${diskMiB}M`]);
  }

  /** Throws unless it ticks on at the destination, and is neither running nor known at the source. */
  async confirm(): Promise<void> {
    await this.destination.waitForTicks(2);
    const [here, there] = [await this.source.reason(), await this.destination.reason()];
    if (here !== undefined) throw new Error(`${domainName} is at the source still: ${here}`);
    if (there === undefined || !there.startsWith("running"))
      throw new Error(`${domainName} is ${there ?? "not there"} at the destination`);
    const info = await this.ground.destination.virsh("dominfo", domainName);
    if (!/^Persistent:\s+yes$/m.test(info))
      throw new Error(`${domainName} is not defined at the destination`);
  }

  /** Ends and forgets it on both hosts, with its disks in libvirt's folder; harmless where it is not. */
  async clear(): Promise<void> {
    for (const host of [this.ground.source, this.ground.destination]) await clearHost(host);
  }

  /** Removes what was saved. */
  remove(): void {
    rmSync(this.folder, { recursive: true, force: true });
  }

  get #saved(): string {
    return join(this.folder, "saved");
  }

  get #definition(): string {
    return join(this.folder, `${this.kind}.xml`);
  }
}

async function clearHost(host: LibvirtHost): Promise<void> {
  await host.tryVirsh("domjobabort", domainName);
  await host.tryVirsh("destroy", domainName);
  await host.tryVirsh("undefine", domainName, "--managed-save");
  const images = host.outside(imagesFolder);
  for (const file of readdirSync(images)) rmSync(join(images, file), { recursive: true, force: true });
  for (const { path } of host.serialLogs(domainName)) rmSync(path, { force: true });
}

async function makeDisk(path: string): Promise<void> {
  const raw = `${path}.raw`;
  const file = await open(raw, "w");
  try {
    await file.truncate(diskMiB * mib);
    for (let n = 0; n < randomMiB; n++) {
      const piece = Buffer.alloc(mib);
      for (let at = 0; at < mib; at += 65_536) crypto.getRandomValues(piece.subarray(at, at + 65_536));
      await file.write(piece, 0, mib, (randomAtMiB + n) * mib);
    }
  } finally {
    await file.close();
  }
  await runChild(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, path]);
  rmSync(raw);
}
