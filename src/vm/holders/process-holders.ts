/**
 * The processes that have files open or mapped: proc(5), fd, fdinfo, maps. A process may end while it is looked
 * at; that is a result, not an error.
 */
import { readdirSync, readFileSync, readlinkSync, statSync } from "node:fs";
import { basename, resolve } from "node:path";
import { argumentsOf, openFor } from "../../platform/process-id.ts";
import { diskPathsIn } from "../qemu/host-vms.ts";
import type { Holder, SoughtFile, SoughtFiles } from "./holder.ts";
import { vmNameOf } from "./vm-name.ts";

export interface ProcessHolders {
  holders: Holder[];
  /** Processes of other users, of which this user may not see what they have open. */
  unseen: number;
}

export interface ProcessLook {
  /** The VM's own programs, by pid: what they hold does not count. */
  own: readonly number[];
  /** Look at VMs alone: it is known that nobody writes. */
  onlyVms: boolean;
}

/** Programs that run a VM, or give its disk to one. */
const vmProgram =
  /^(?:qemu-system-[\w-]+|qemu-kvm|qemu|kvm|qemu-nbd|qemu-storage-daemon|cloud-hypervisor|firecracker|VBoxHeadless)$/;

type Use = "reads" | "writes" | "maps";

/** Looks at every process of this host that shows, but those that are the VM's own. Never throws. */
export function processHolders(sought: SoughtFiles, { own, onlyVms }: ProcessLook): ProcessHolders {
  const holders: Holder[] = [];
  let unseen = 0;
  for (const name of readdirSync("/proc")) {
    const pid = Number(name);
    if (!Number.isSafeInteger(pid) || own.includes(pid)) continue;
    if (onlyVms && !isVm(pid)) continue;
    const uses = usesOf(pid, sought, onlyVms);
    if (uses === null) {
      unseen++;
      // Its command line is open to everybody.
      for (const file of namedBy(pid, sought)) holders.push(holderOf(pid, file, "writes"));
    }
    for (const [file, use] of uses ?? []) holders.push(holderOf(pid, file, use));
  }
  return { holders, unseen };
}

function holderOf(pid: number, file: number, use: Use): Holder {
  const vm = isVm(pid);
  const program = programOf(pid);
  const name = vm ? vmNameOf(pid) : null;
  const who = name === null ? `${program} (process ${pid})` : `${name} (${program}, process ${pid})`;
  return {
    file,
    pid,
    who: use === "maps" ? `${who}, which has it mapped` : who,
    writes: use !== "reads",
    needsIt: vm,
  };
}

/** What a process does with each file, by its index; null if this user may not see it. */
function usesOf(pid: number, sought: SoughtFiles, onlyVms: boolean): Map<number, Use> | null {
  const uses = new Map<number, Use>();
  let names: string[];
  try {
    names = readdirSync(`/proc/${pid}/fd`);
  } catch (thrown) {
    const { code } = thrown as { code?: unknown };
    // The kernel's own processes have no program, and nothing open.
    return (code === "EACCES" || code === "EPERM") && argvOf(pid).length > 0 ? null : uses;
  }
  for (const name of names) {
    for (const file of indexesAt(`/proc/${pid}/fd/${name}`, sought)) {
      const use = openFor(pid, name);
      if (use !== null && (use === "writes" || !uses.has(file))) uses.set(file, use);
    }
  }
  // A mapping stays when its descriptor is closed.
  if (!onlyVms)
    for (const file of mappedBy(pid, sought)) if (uses.get(file) !== "writes") uses.set(file, "maps");
  return uses;
}

/** The files that a VM's command line gives it as disks. */
function namedBy(pid: number, sought: SoughtFiles): number[] {
  if (!isVm(pid)) return [];
  const paths = diskPathsIn(argvOf(pid).slice(1)).map((path) => resolve("/", path));
  return [...new Set(paths.flatMap((path) => indexesAt(path, sought)))];
}

function indexesAt(path: string, sought: SoughtFiles): number[] {
  try {
    return sought.mayBe(statSync(path).ino) ? sought.indexesOf(statSync(path, { bigint: true })) : [];
  } catch {
    return [];
  }
}

/** A line of maps: address, rights (w writable, s shared), offset, device, inode, path. */
const sharedWritable = /^([0-9a-f]+-[0-9a-f]+) .w.s [0-9a-f]+ ([0-9a-f]+):([0-9a-f]+) ([1-9]\d*) +(.*)$/gm;

/** The files that a process can change through its memory. */
function mappedBy(pid: number, sought: SoughtFiles): number[] {
  let maps: string;
  try {
    maps = readFileSync(`/proc/${pid}/maps`, "latin1");
  } catch {
    return [];
  }
  const found: number[] = [];
  for (const [, range = "", major = "", minor = "", ino = "", path = ""] of maps.matchAll(sharedWritable)) {
    if (!sought.mayBe(Number(ino))) continue;
    const device = { dev: deviceNumber(major, minor), ino: BigInt(ino) };
    // Some file systems (btrfs, overlayfs) show another device there than stat(2) does.
    const there = statOf(`/proc/${pid}/map_files/${range}`) ?? statOf(path) ?? device;
    found.push(...new Set([...sought.indexesOf(there), ...sought.indexesOf(device)]));
  }
  return found;
}

function statOf(path: string): SoughtFile | null {
  try {
    return statSync(path, { bigint: true });
  } catch {
    return null;
  }
}

/** makedev(3) of the numbers that proc(5) shows in hexadecimal. */
export function deviceNumber(majorHex: string, minorHex: string): bigint {
  const [major, minor] = [BigInt(`0x${majorHex}`), BigInt(`0x${minorHex}`)];
  const low = ((major & 0xfffn) << 8n) | (minor & 0xffn);
  return low | ((minor & ~0xffn) << 12n) | ((major & ~0xfffn) << 32n);
}

function isVm(pid: number): boolean {
  const program = argvOf(pid)[0];
  return program !== undefined && vmProgram.test(basename(program));
}

function argvOf(pid: number): string[] {
  try {
    return argumentsOf(pid) ?? [];
  } catch {
    return [];
  }
}

function programOf(pid: number): string {
  try {
    return basename(readlinkSync(`/proc/${pid}/exe`));
  } catch {
    return basename(argvOf(pid)[0] ?? "a program");
  }
}
