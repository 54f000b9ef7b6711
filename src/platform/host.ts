/** Facts about this host that decide what can be done on it. */
import { constants, openSync, readFileSync } from "node:fs";
import { release } from "node:os";
import { adjtimex, close, ioctl } from "./libc.ts";

/** Folders that hold servers and are often missing from an ordinary user's PATH. */
const serverFolders = "/usr/local/sbin:/usr/sbin:/sbin";

/** Full path of a program by the PATH and the folders for servers; null if it is not installed. */
export function which(binary: string): string | null {
  return Bun.which(binary, { PATH: `${process.env.PATH ?? "/usr/bin:/bin"}:${serverFolders}` });
}

/** Bytes of memory that programs may still take without swapping (proc(5), MemAvailable). */
export function availableMemoryBytes(): number {
  const [, kib] = /^MemAvailable:\s+(\d+) kB$/m.exec(readFileSync("/proc/meminfo", "utf8")) ?? [];
  return Number(kib ?? 0) * 1024;
}

export interface KvmFact {
  usable: boolean;
  /** Why not, as a sentence, with what helps; absent if it is usable. */
  reason?: string;
}

/** KVM_CREATE_VM of linux/kvm.h: _IO(0xAE, 1). */
const KVM_CREATE_VM = 0xae01;

/**
 * Whether this user can run a VM with KVM: opens the device and makes an empty VM, since the device
 * exists on hosts whose processor or hypervisor does not let it work.
 */
export function kvmUsable(device = "/dev/kvm"): KvmFact {
  let fd: number;
  try {
    fd = openSync(device, constants.O_RDWR);
  } catch (thrown) {
    const code = (thrown as { code?: unknown }).code;
    if (code === "ENOENT")
      return { usable: false, reason: `There is no ${device}: the kvm module is not loaded.` };
    if (code === "EACCES" || code === "EPERM") {
      return { usable: false, reason: `${device} is not open to this user: add it to the group kvm.` };
    }
    return {
      usable: false,
      reason: `${device} does not open (${String(code)}): the processor offers no virtualisation.`,
    };
  }
  try {
    const vm = ioctl(fd, KVM_CREATE_VM, 0);
    if (vm < 0)
      return {
        usable: false,
        reason: `${device} opens, but makes no VM: the processor offers no virtualisation.`,
      };
    close(vm);
    return { usable: true };
  } finally {
    close(fd);
  }
}

export interface ClockFact {
  /** The year is plausible; tickets and histories need no more than that. */
  ok: boolean;
  /** The kernel takes the clock for synchronised (NTP, PTP); null if it does not say. */
  synchronised: boolean | null;
  year: number;
}

/** struct timex (adjtimex(2)) on 64-bit Linux: 208 bytes, `status` i32 at 40. */
const timexBytes = 208;
const timexStatusAt = 40;
const STA_UNSYNC = 0x0040;
/** A clock that shows less has lost its battery. */
const oldestYear = 2024;

/** Whether the clock can be right: by its year, and by the kernel's answer to adjtimex(2). Changes nothing. */
export function clockOk(nowMs = Date.now()): ClockFact {
  const year = new Date(nowMs).getUTCFullYear();
  const structure = new Uint8Array(timexBytes);
  const answer = adjtimex(structure);
  const status = new DataView(structure.buffer).getInt32(timexStatusAt, true);
  return { ok: year >= oldestYear, synchronised: answer < 0 ? null : (status & STA_UNSYNC) === 0, year };
}

/** The running kernel's version, as uname(2) gives it: "6.1.0-18-amd64". */
export function kernelVersion(): string {
  return release();
}

/** Whether the processor has AES instructions, which decide the speed of TLS: proc(5), cpuinfo. */
export function cpuHasAes(cpuinfo = readCpuinfo()): boolean {
  // "flags" on x86_64, "Features" on aarch64.
  const line = /^(?:flags|Features)\s*:(.*)$/m.exec(cpuinfo)?.[1] ?? "";
  return line.trim().split(/\s+/).includes("aes");
}

function readCpuinfo(): string {
  try {
    return readFileSync("/proc/cpuinfo", "utf8");
  } catch {
    return "";
  }
}
