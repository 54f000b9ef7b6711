/**
 * What a VM's programs may do and see where an ordinary user runs `migrate serve`: in a user namespace of its own,
 * and where that user may have none; and what serve says of what cannot be had.
 */
import { beforeEach, expect, test } from "bun:test";
import { chmodSync, chownSync, copyFileSync, cpSync, mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { which } from "../../../src/platform/host.ts";
import { bridgeName, moveOntoBridge } from "../../support/moves/bridged-move.ts";
import type { RunningHosts } from "../../support/moves/running-hosts.ts";
import { eachTestHasRunningHosts } from "../../support/moves/running-hosts-of-tests.ts";
import { TwoHosts } from "../../support/moves/two-hosts.ts";
import { doneOf, expectMoved } from "../../support/moves/whole-move.ts";
import { builtBinary, type MigrateProcess } from "../../support/system/process.ts";
import {
  environmentOf,
  hasOwn,
  limitsOf,
  type ProcessRights,
  rightsOf,
} from "../../support/system/process-rights.ts";

/** Whom no account of the machine is needed for. */
const nobody = 65_534;
const asNobody = ["setpriv", "--reuid", String(nobody), "--regid", String(nobody), "--clear-groups", "--"];
const moveMs = 120_000;

let at: RunningHosts;
eachTestHasRunningHosts((made) => {
  at = made;
});
beforeEach(() => {
  chmodSync(at.folder, 0o711);
  for (const path of [at.hosts.destinationHome, at.hosts.store]) ownFolder(path);
});

function ownFolder(path: string): string {
  mkdirSync(path, { mode: 0o700 });
  chownSync(path, nobody, nobody);
  return path;
}

/** What serve said at its start of what cannot be had. */
async function lacksOf(serve: MigrateProcess): Promise<string> {
  await serve.waitFor("indexed");
  return serve.events.map((event) => (event.event === "warning" ? String(event.message) : "")).join("\n");
}

function expectOrdinary(pid: number): ProcessRights {
  const rights = rightsOf(pid);
  expect([rights.uids, rights.gids, rights.groups]).toEqual([
    Array(4).fill(nobody),
    Array(4).fill(nobody),
    [],
  ]);
  const [inheritable, permitted, effective, , ambient] = rights.capabilities;
  expect([inheritable, permitted, effective, ambient]).toEqual([0n, 0n, 0n, 0n]);
  expect(rights.noNewPrivs).toBe(true);
  expect(rights.seccomp).toBe(2);
  expect(limitsOf(pid, "Max core file size")).toEqual(["0", "0"]);
  expect(environmentOf(pid)).toHaveLength(2);
  return rights;
}

/** Whether the file is in the process's view at all: root looks, in its place. */
function canRead(pid: number, path: string): boolean {
  const enter = ["nsenter", "-t", String(pid), "-m", "--"];
  return Bun.spawnSync([...enter, "head", "-c", "1", path]).exitCode === 0;
}

test(
  "in a user namespace: no capability in any set, no network, no file but its own; and it moves on",
  async () => {
    const guest = await at.guest({ tpm: true, append: "tpm=extend" });
    await guest.waitForTick(2);
    const serve = await at.serve({ flags: ["--net", "none"], binary: [...asNobody, builtBinary] });
    expect(await lacksOf(serve)).toContain("VMs run as the user of migrate serve");
    await doneOf(at.send(guest));
    const there = await expectMoved(at, guest);
    const { qemu, swtpm } = there.noted()!;
    for (const { pid } of [qemu!, swtpm!]) {
      expect(expectOrdinary(pid).capabilities[3]).toBe(0n);
      for (const name of ["user", "mnt", "net", "ipc", "uts"] as const)
        expect(hasOwn(pid, name), name).toBe(true);
      expect(canRead(pid, join(at.hosts.destinationHome, "identity.pem"))).toBe(false);
      expect(canRead(pid, "/etc/passwd")).toBe(false);
    }
    const disk = join(at.hosts.store, "web1", "data.raw");
    expect([canRead(qemu!.pid, disk), canRead(swtpm!.pid, disk)]).toEqual([true, false]);

    // The same user sends it on.
    const onwards = await TwoHosts.make(join(at.folder, "third"));
    onwards.sourceHome = at.hosts.destinationHome;
    await onwards.serve({ flags: ["--qemu", "--net", "none"] });
    await doneOf(onwards.send(`qmp:${there.qmpPath}`, [], { binary: [...asNobody, builtBinary] }));
    await onwards.close();
  },
  moveMs,
);

test(
  "without user namespaces: Landlock keeps it from others' files, and serve says what it has not",
  async () => {
    const guest = await at.guest({ tpm: true, append: "tpm=extend" });
    await guest.waitForTick(2);
    const other = join(ownFolder(join(at.hosts.store, "web2")), "other.raw");
    writeFileSync(other, "another VM's");
    chownSync(other, nobody, nobody);
    // A host without unshare(1): no other program is found there.
    const programs = ownFolder(join(at.folder, "bin"));
    for (const name of ["qemu-system-x86_64", "qemu-img", "swtpm"])
      symlinkSync(which(name)!, join(programs, name));
    writeFileSync(join(programs, "unshare"), "#!/bin/sh\nexit 1\n", { mode: 0o755 });
    const serve = await at.serve({
      flags: ["--net", "none"],
      binary: [...asNobody, "env", `PATH=${programs}`, builtBinary],
    });
    const said = await lacksOf(serve);
    expect(said).toContain("VMs run as the user of migrate serve");
    expect(said).toContain("Landlock keeps them");
    await doneOf(at.send(guest));
    const there = await expectMoved(at, guest);
    const { qemu, swtpm } = there.noted()!;
    for (const { pid } of [qemu!, swtpm!]) {
      expectOrdinary(pid);
      expect(hasOwn(pid, "mnt")).toBe(false);
    }
    // Landlock is a property of the process: only it can be asked, by what its monitor opens for it.
    const qmp = await there.watch();
    const open = (path: string) =>
      qmp
        .execute("blockdev-add", {
          ...{ driver: "raw", "node-name": "tried", "read-only": true },
          file: { driver: "file", filename: path },
        })
        .then(
          () => "opened",
          (thrown: unknown) => String(thrown),
        );
    const unreachable = [join(at.hosts.destinationHome, "identity.pem"), other, "/etc/passwd"];
    for (const path of unreachable) expect(await open(path), path).toContain("Permission denied");
  },
  moveMs,
);

test(
  "a card that is to be on a bridge has its tap device from QEMU's helper, which this user may start",
  async () => {
    // On a host whose administrator has given the helper its bit, and allowed the bridge.
    const host = join(at.folder, "host");
    const helper = "/usr/lib/qemu/qemu-bridge-helper";
    mkdirSync(host);
    cpSync("/etc", join(host, "etc"), {
      recursive: true,
      filter: (path) => !/\/(?:shadow|gshadow)/.test(path),
    });
    mkdirSync(join(host, "etc/qemu"), { recursive: true });
    writeFileSync(join(host, "etc/qemu/bridge.conf"), `allow ${bridgeName}\n`, { mode: 0o644 });
    copyFileSync(helper, join(host, "helper"));
    chmodSync(join(host, "helper"), 0o4755);
    const mounts = `mount --bind ${host}/helper ${helper} && mount --bind ${host}/etc /etc && exec "$@"`;
    await moveOntoBridge(at, ["unshare", "-m", "sh", "-c", mounts, "sh", ...asNobody], ({ pid }) => {
      expectOrdinary(pid!);
      for (const name of ["user", "mnt", "net"] as const) expect(hasOwn(pid!, name), name).toBe(true);
    });
  },
  moveMs,
);
