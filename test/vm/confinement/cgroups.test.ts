/** Where groups for VMs are made, and what is written into them: in folders that look like cgroup file systems. */
import { describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { Cgroups, removeGroup } from "../../../src/vm/confinement/cgroups.ts";
import { eachTestInFolder } from "../../support/system/test-folder.ts";

let made: string;
eachTestInFolder("confined-", (folder) => {
  made = folder;
});
/** A new, empty one. */
const folder = () => mkdtempSync(join(made, "f-"));
const limits = { memoryBytes: 3 * 2 ** 30, processors: 2.5, tasks: 300 };

function write(path: string, text: string): void {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, text);
}

/** A host whose process is in these groups. */
function host(mounts: [at: string, type: string, options: string][], groups: string): string {
  const at = folder();
  const line = ([path, type, options]: [string, string, string], n: number) =>
    `${n} 1 0:${n} / ${join(at, path)} rw - ${type} ${type} ${options}`;
  for (const [path] of mounts) mkdirSync(join(at, path), { recursive: true });
  write(join(at, "proc/mountinfo"), `${mounts.map(line).join("\n")}\n`);
  write(join(at, "proc/cgroup"), groups);
  return at;
}

describe("version 2", () => {
  const unified = () => {
    const at = host([["cgroup", "cgroup2", "rw"]], "0::/system.slice/migrate.service\n");
    for (const group of ["cgroup", "cgroup/system.slice", "cgroup/system.slice/migrate.service"]) {
      write(join(at, group, "cgroup.controllers"), "cpuset cpu io memory pids\n");
      write(join(at, group, "cgroup.subtree_control"), "cpu memory pids\n");
    }
    return at;
  };

  test("a group stands beside the own one, with all three limits", () => {
    const at = unified();
    const cgroups = Cgroups.find(join(at, "proc"));
    expect(cgroups.unlimited).toEqual([]);
    const group = join(at, "cgroup/system.slice/migrate-vm-0123");
    expect(cgroups.make("0123", limits)).toEqual([join(group, "cgroup.procs")]);
    const read = (name: string) => readFileSync(join(group, name), "utf8");
    expect([read("memory.max"), read("cpu.max"), read("pids.max")]).toEqual([
      "3221225472",
      "250000 100000",
      "300",
    ]);
  });

  test("what is not given to groups yet is asked for, and what cannot be had is said", () => {
    const at = unified();
    write(join(at, "cgroup/system.slice/cgroup.controllers"), "memory pids\n");
    write(join(at, "cgroup/system.slice/cgroup.subtree_control"), "memory pids\n");
    for (const name of ["controllers", "subtree_control"]) {
      write(join(at, `cgroup/cgroup.${name}`), "memory pids\n");
    }
    const cgroups = Cgroups.find(join(at, "proc"));
    expect(cgroups.unlimited).toEqual(["processor time"]);
    expect(readdirSync(dirname(cgroups.make("0123", limits)[0]!)).sort()).toEqual(["memory.max", "pids.max"]);
  });
});

test("one group of version 2 is all that a process can be in: that with most of the limits", () => {
  const at = host([["cgroup", "cgroup2", "rw"]], "0::/user.slice/serve\n");
  write(join(at, "cgroup/cgroup.controllers"), "cpu memory pids\n");
  write(join(at, "cgroup/cgroup.subtree_control"), "cpu memory pids\n");
  write(join(at, "cgroup/user.slice/cgroup.controllers"), "memory pids\n");
  write(join(at, "cgroup/user.slice/cgroup.subtree_control"), "memory pids\n");
  const cgroups = Cgroups.find(join(at, "proc"));
  expect(cgroups.make("0123", limits)).toEqual([join(at, "cgroup/migrate-vm-0123/cgroup.procs")]);
  expect(cgroups.unlimited).toEqual([]);
});

describe("version 1", () => {
  test("a group of each hierarchy stands below the own one", () => {
    const at = host(
      [
        ["memory", "cgroup", "rw,memory"],
        ["cpu", "cgroup", "rw,cpu,cpuacct"],
        ["pids", "cgroup", "rw,pids"],
        ["systemd", "cgroup", "rw,name=systemd"],
      ],
      "9:pids:/\n8:memory:/service\n3:cpu,cpuacct:/\n1:name=systemd:/x\n0::/\n",
    );
    mkdirSync(join(at, "memory/service"));
    const cgroups = Cgroups.find(join(at, "proc"));
    expect(cgroups.unlimited).toEqual([]);
    expect(cgroups.make("0123", limits)).toEqual(
      ["memory/service", "cpu", "pids"].map((place) => join(at, place, "migrate-vm-0123/cgroup.procs")),
    );
    const read = (path: string) => readFileSync(join(at, path), "utf8");
    expect(read("memory/service/migrate-vm-0123/memory.limit_in_bytes")).toBe("3221225472");
    expect(read("cpu/migrate-vm-0123/cpu.cfs_quota_us")).toBe("250000");
    expect(read("pids/migrate-vm-0123/pids.max")).toBe("300");
  });
});

test("a host without cgroups limits nothing, and says all of it", () => {
  const cgroups = Cgroups.find(join(host([], "0::/\n"), "proc"));
  expect(cgroups.unlimited).toEqual(["memory", "processor time", "number of threads"]);
  expect(cgroups.make("0123", limits)).toEqual([]);
});

test("the group of a VM that has ended is removed, and no other", () => {
  const at = host([["pids", "cgroup", "rw,pids"]], "1:pids:/\n");
  for (const id of ["0123", "4567"]) mkdirSync(join(at, "pids", `migrate-vm-${id}`));
  removeGroup("0123", join(at, "proc"));
  removeGroup("89ab", join(at, "proc"));
  expect(readdirSync(join(at, "pids"))).toEqual(["migrate-vm-4567"]);
});

test("an empty group that was left behind goes when another is made, and no other folder", () => {
  const at = host([["pids", "cgroup", "rw,pids"]], "1:pids:/\n");
  const paths = ["migrate-vm-old", "other"].map((name) => join(at, "pids", name));
  for (const path of paths) mkdirSync(path);
  // Somebody may just have made it, and not be in it yet.
  Cgroups.find(join(at, "proc")).make("0123", limits);
  expect(paths.map((path) => existsSync(path))).toEqual([true, true]);
  Cgroups.find(join(at, "proc"), () => Date.now() + 120_000).make("4567", limits);
  expect(paths.map((path) => existsSync(path))).toEqual([false, true]);
});
