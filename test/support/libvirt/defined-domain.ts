/** Ticking domains with disks that are made for them, where libvirt has its disks. */
import { existsSync, mkdirSync } from "node:fs";
import { dirname } from "node:path";
import { createDisk } from "../guests/tick-disk.ts";
import type { LibvirtHost } from "./libvirt-host.ts";
import { TickDomain } from "./tick-domain.ts";
import type { DomainDisk, TickDomainOptions } from "./tick-xml.ts";

/** Where libvirt keeps images by default; each host has its own. */
export const imagesFolder = "/var/lib/libvirt/images";

export interface TickWishes extends Partial<Omit<TickDomainOptions, "disks">> {
  /** Disks with the paths that they have on the host; one qcow2 of 16 MiB in `imagesFolder` where it is absent. */
  disks?: readonly (DomainDisk & { sizeMiB?: number })[];
}

/** A domain on a host, web1 unless told: its disks are made, empty, where they are not there, and it is defined. */
export async function definedDomain(host: LibvirtHost, wishes: TickWishes = {}): Promise<TickDomain> {
  const name = wishes.name ?? "web1";
  const disks = wishes.disks ?? [{ path: `${imagesFolder}/${name}.qcow2`, format: "qcow2" }];
  for (const disk of disks) await makeDisk(host, disk, disk.sizeMiB);
  return await TickDomain.define(host, { ...wishes, name, disks });
}

/** Makes an empty disk, at the path that it has on the host; does nothing where it is there. 16 MiB unless told. */
export async function makeDisk(host: LibvirtHost, disk: DomainDisk, sizeMiB = 16): Promise<void> {
  const path = host.outside(disk.path);
  mkdirSync(dirname(path), { recursive: true });
  if (!existsSync(path)) await createDisk({ path, format: disk.format }, sizeMiB);
}
