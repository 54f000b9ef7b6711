/** Disks on which the test guest leaves its ticks, and reading them back. */
import { readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { runChild } from "../system/child.ts";
import type { GuestDisk } from "./guest.ts";

const sectorBytes = 512;

/** Copies an image with its holes: one without any would be a disk that is to have all its room. */
export async function copyDisk(from: string, to: string): Promise<void> {
  await runChild(["cp", "--sparse=always", from, to]);
}

/** Makes an empty disk, of holes alone. Takes its size in MiB. */
export async function createDisk(disk: GuestDisk, sizeMiB: number): Promise<void> {
  if (disk.format === "raw") {
    writeFileSync(disk.path, "");
    truncateSync(disk.path, sizeMiB * 2 ** 20);
  } else {
    const kind = disk.clusterBytes === undefined ? [] : ["-o", `cluster_size=${disk.clusterBytes}`];
    await runChild(["qemu-img", "create", "-q", "-f", "qcow2", ...kind, disk.path, `${sizeMiB}M`]);
  }
}

/**
 * The ticks on a disk that no QEMU holds, in the order of their sectors from sector 1 to the first
 * one that is empty. A sector that holds anything else than a tick gives NaN.
 */
export async function ticksOnDisk(disk: GuestDisk): Promise<number[]> {
  let path = disk.path;
  if (disk.format !== "raw") {
    path = `${disk.path}.as-raw`;
    await runChild(["qemu-img", "convert", "-f", disk.format, "-O", "raw", disk.path, path]);
  }
  const bytes = readFileSync(path);
  if (path !== disk.path) rmSync(path);
  const ticks: number[] = [];
  for (let offset = sectorBytes; offset + sectorBytes <= bytes.length; offset += sectorBytes) {
    const text = bytes.toString("latin1", offset, offset + sectorBytes).replace(/\0+$/, "");
    if (text === "") break;
    ticks.push(Number(/^tick (\d+)\n$/.exec(text)?.[1] ?? Number.NaN));
  }
  return ticks;
}
