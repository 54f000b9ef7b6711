/** What the kernel itself does with files: loop devices, swap, and names that lead to them by a mount. */
import { closeSync, existsSync, openSync, readdirSync, readFileSync, statSync } from "node:fs";
import { mountsOfHost, unescaped } from "../../platform/files/filesystem.ts";
import { ioctlInto } from "../../platform/libc.ts";
import type { Holder, SoughtFile, SoughtFiles } from "./holder.ts";
import { deviceNumber } from "./process-holders.ts";

/** Never throws: what this user may not look at is left out. */
export function kernelHolders(sought: SoughtFiles): Holder[] {
  return [...loopDevices(sought), ...swaps(sought)];
}

/** LOOP_GET_STATUS64 of linux/loop.h: struct loop_info64, lo_device u64 at 0, lo_inode u64 at 8. */
const LOOP_GET_STATUS64 = 0x4c05;
const loopInfoBytes = 232;

function loopDevices(sought: SoughtFiles): Holder[] {
  return entriesOf("/sys/block").flatMap((name) => {
    const folder = `/sys/block/${name}`;
    if (!/^loop\d+$/.test(name) || !existsSync(`${folder}/loop/backing_file`)) return [];
    const backing = backingOf(`/dev/${name}`) ?? statOf(textOf(`${folder}/loop/backing_file`));
    if (backing === null) return [];
    const places = mountsOf(`/dev/${name}`);
    const who = `the loop device /dev/${name}${places.length === 0 ? "" : `, mounted on ${places.join(" and ")}`}`;
    const writes = textOf(`${folder}/ro`) !== "1";
    return sought.indexesOf(backing).map((file) => ({ file, who, writes, needsIt: true }));
  });
}

/** The file behind a loop device, by its numbers: its path may lead elsewhere by now, or be another namespace's. */
function backingOf(device: string): SoughtFile | null {
  let fd: number | undefined;
  try {
    fd = openSync(device, "r");
    const info = new Uint8Array(loopInfoBytes);
    if (ioctlInto(fd, LOOP_GET_STATUS64, info) < 0) return null;
    const view = new DataView(info.buffer);
    return { dev: decodeDevice(view.getBigUint64(0, true)), ino: view.getBigUint64(8, true) };
  } catch {
    return null;
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
}

/** The kernel's own form of a device's number (huge_encode_dev) is that of stat(2) below 2^32. */
function decodeDevice(encoded: bigint): bigint {
  const [major, minor] = [(encoded >> 8n) & 0xfffn, (encoded & 0xffn) | ((encoded >> 12n) & 0xfff00n)];
  return deviceNumber(major.toString(16), minor.toString(16));
}

function swaps(sought: SoughtFiles): Holder[] {
  // The first line has the titles.
  const rows = textOf("/proc/swaps").split("\n").slice(1);
  return rows.flatMap((row) => {
    const [path = "", type] = row.split(/\s+/);
    const there = type === "file" ? statOf(unescaped(path)) : null;
    if (there === null) return [];
    return sought.indexesOf(there).map((file) => ({
      file,
      who: "the kernel, which swaps to it",
      writes: true,
      needsIt: true,
    }));
  });
}

/** Where a device, or a partition of it, is mounted. */
function mountsOf(device: string): string[] {
  return mountsOfHost()
    .filter(({ source }) => source === device || source.startsWith(`${device}p`))
    .map(({ at }) => at);
}

function statOf(path: string): SoughtFile | null {
  try {
    return statSync(path, { bigint: true });
  } catch {
    return null;
  }
}

function entriesOf(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}

function textOf(path: string): string {
  try {
    return readFileSync(path, "utf8").trimEnd();
  } catch {
    return "";
  }
}
