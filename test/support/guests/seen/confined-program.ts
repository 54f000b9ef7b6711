/** What holds for a program of a VM that root confined: read from /proc and the files of cgroups. */
import { expect } from "bun:test";
import { existsSync, readFileSync, statSync } from "node:fs";
import { cgroupsOf, environmentOf, hasOwn, limitsOf, rightsOf } from "../../system/process-rights.ts";

const noCapabilities = [0n, 0n, 0n, 0n, 0n];

/** A program of a VM, confined as root can; `user` is its VM's. QEMU and swtpm filter their own calls as well. */
export function expectConfined(pid: number, user: number, { filters = true } = {}): void {
  const rights = rightsOf(pid);
  expect(rights.uids).toEqual([user, user, user, user]);
  expect(rights.gids).toEqual([user, user, user, user]);
  const kvm = statSync("/dev/kvm", { throwIfNoEntry: false });
  expect(rights.groups.filter((group) => group !== kvm?.gid && group !== user)).toEqual([]);
  expect(rights.capabilities).toEqual(noCapabilities);
  expect(rights.noNewPrivs).toBe(true);
  if (filters) expect(rights.seccomp).toBe(2);
  for (const name of ["mnt", "net", "ipc", "uts"] as const) expect(hasOwn(pid, name), name).toBe(true);
  expect(limitsOf(pid, "Max core file size")).toEqual(["0", "0"]);
  expect(limitsOf(pid, "Max open files")).toEqual(["4096", "4096"]);
  expect(
    environmentOf(pid)
      .map((variable) => variable.split("=")[0])
      .sort(),
  ).toEqual(["LANG", "PATH"]);
}

/** Its limits of memory, processors and threads, from the files of its group. */
export function expectLimited(pid: number): void {
  const groups = cgroupsOf(pid).filter((path) => path.includes("/migrate-vm-"));
  const limitIn = (controller: string, ...names: string[]) => {
    const paths = groups.flatMap((group) =>
      names.flatMap((name) => [
        `/sys/fs/cgroup/${controller}${group}/${name}`,
        `/sys/fs/cgroup${group}/${name}`,
      ]),
    );
    return Number.parseInt(readFileSync(paths.find(existsSync) ?? "no such group", "latin1"), 10);
  };
  // 128 MiB for the guest, and what its programs need.
  const memory = limitIn("memory", "memory.max", "memory.limit_in_bytes");
  expect([memory > 128 * 2 ** 20, memory < 2 * 2 ** 30]).toEqual([true, true]);
  expect(limitIn("cpu", "cpu.max", "cpu.cfs_quota_us")).toBe(200_000);
  expect(limitIn("pids", "pids.max")).toBe(257);
}
