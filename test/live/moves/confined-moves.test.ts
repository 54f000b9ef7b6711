/**
 * What a VM's programs may do and see at the destination, as root starts them there: read from /proc, and tried
 * from within.
 */
import { afterEach, expect, test } from "bun:test";
import { existsSync, lstatSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { ArrivedGuest } from "../../support/guests/arrived-guest.ts";
import { expectConfined, expectLimited } from "../../support/guests/seen/confined-program.ts";
import { moveOntoBridge } from "../../support/moves/bridged-move.ts";
import type { RunningHosts } from "../../support/moves/running-hosts.ts";
import { eachTestHasRunningHosts } from "../../support/moves/running-hosts-of-tests.ts";
import { TwoHosts } from "../../support/moves/two-hosts.ts";
import { doneOf, expectMoved } from "../../support/moves/whole-move.ts";
import { cgroupsOf, descriptorsOf, rightsOf } from "../../support/system/process-rights.ts";

let at: RunningHosts;
const links: TwoHosts[] = [];

eachTestHasRunningHosts((made) => {
  at = made;
});
afterEach(async () => {
  for (const link of links.splice(0)) await link.close();
});

const firstUser = 1_900_000_000;
const moveMs = 120_000;

/** Runs a program as this process, in its place, and returns its exit code; 0 if it did what it was to do. */
async function within(pid: number, ...words: string[]): Promise<number> {
  const [uid] = rightsOf(pid).uids;
  const enter = ["nsenter", "-t", String(pid), "-m", "-n", "-S", String(uid), "-G", String(uid), "--"];
  const child = Bun.spawn([...enter, ...words], { stdin: "ignore", stdout: "ignore", stderr: "ignore" });
  return await child.exited;
}

test(
  "a VM's QEMU and TPM have a user of their own, no rights, no network, and see no files but their own; and it moves on, twice",
  async () => {
    const [guest, other] = await Promise.all([
      at.guest({ tpm: true, append: "tpm=extend" }),
      at.guest({ name: "web2", disks: [{ name: "other.raw", format: "raw" }] }),
    ]);
    await guest.waitForTick(2);
    await at.serve({ flags: ["--net", "none"] });
    await doneOf(at.send(guest));
    await doneOf(at.send(other));
    const there = await expectMoved(at, guest);
    const neighbour = await expectMoved(at, other);

    const { qemu, swtpm } = there.noted()!;
    const user = rightsOf(qemu!.pid).uids[0]!;
    const stranger = rightsOf(neighbour.pid!).uids[0]!;
    expect(user).toBeGreaterThanOrEqual(firstUser);
    expect(stranger).toBeGreaterThanOrEqual(firstUser);
    expect(stranger).not.toBe(user);
    for (const { pid } of [qemu!, swtpm!]) {
      expectConfined(pid, user);
      expectLimited(pid);
    }
    expectConfined(neighbour.pid!, stranger);
    for (const path of descriptorsOf(qemu!.pid)) expect(path).not.toContain("identity");

    // Its own files, and how they are kept: root's, with a way in for the VM's user alone.
    const folder = join(at.hosts.store, "web1");
    expect([lstatSync(folder).mode & 0o7777, lstatSync(folder).uid, lstatSync(folder).gid]).toEqual([
      0o710,
      0,
      user,
    ]);
    for (const { path } of guest.options.disks) {
      const stat = lstatSync(join(folder, path.slice(path.lastIndexOf("/") + 1)));
      expect([stat.mode & 0o7777, stat.uid, stat.gid]).toEqual([0o660, 0, user]);
    }
    expect(lstatSync(join(folder, "tpm")).uid).toBe(user);
    expect([lstatSync(there.folder).mode & 0o7777, lstatSync(there.folder).uid]).toEqual([0o1770, 0]);
    expect(lstatSync(join(there.folder, "processes.json")).mode & 0o777).toBe(0o600);

    // Tried as QEMU, in its place: what is there, and what is not.
    const pid = qemu!.pid;
    expect(await within(pid, "test", "-r", join(folder, "data.raw"))).toBe(0);
    expect(await within(pid, "test", "-w", join(folder, "data.raw"))).toBe(0);
    expect(await within(pid, "test", "-r", join(folder, "vm.json"))).not.toBe(0);
    expect(await within(pid, "cat", join(there.folder, "processes.json"))).not.toBe(0);
    expect(await within(pid, "rm", "-f", join(there.folder, "processes.json"))).not.toBe(0);
    // Root speaks to it over these: it cannot put others in their places.
    for (const name of ["qmp", "migrate-qmp", "migrate-incoming"]) {
      const path = join(there.folder, name);
      if (!existsSync(path)) continue;
      expect([lstatSync(path).isSocket(), lstatSync(path).uid], name).toEqual([true, 0]);
      expect(await within(pid, "rm", "-f", path), name).not.toBe(0);
    }
    const unseen = [
      join(at.hosts.destinationHome, "identity.pem"),
      join(at.hosts.destinationHome, "journal.sqlite"),
      join(at.hosts.store, "web2", "other.raw"),
      join(at.hosts.store, "web2"),
      join(neighbour.folder, "qmp"),
      "/etc/shadow",
      "/etc/passwd",
      "/root",
      "/dev/vda",
    ];
    for (const path of unseen) expect(await within(pid, "test", "-e", path), path).not.toBe(0);
    expect(await within(pid, "touch", "/made")).not.toBe(0);
    expect(await within(pid, "touch", join(folder, "made"))).not.toBe(0);
    expect(await within(pid, "kill", "-0", String(process.pid))).not.toBe(0);
    // From outside, too, as the neighbour's user: the other's monitor and disk are closed to it.
    const asStranger = [
      "setpriv",
      "--reuid",
      String(stranger),
      "--regid",
      String(stranger),
      "--clear-groups",
    ];
    for (const path of [
      there.qmpPath,
      join(folder, "data.raw"),
      join(at.hosts.destinationHome, "identity.pem"),
    ]) {
      const looked = Bun.spawnSync([...asStranger, "test", "-r", path]);
      expect(looked.exitCode, path).not.toBe(0);
    }

    // On to a third host, whose serve has another home and store, and on to a fourth.
    const groups = cgroupsOf(qemu!.pid).filter((path) => path.includes("/migrate-vm-"));
    const third = await hop(at.hosts.destinationHome, "third");
    await doneOf(third.send(`qmp:${there.qmpPath}`));
    // What limited it has gone with it.
    for (const group of groups) expect(cgroupFolders(group).filter(existsSync)).toEqual([]);
    const further = new ArrivedGuest(third.destinationHome, "web1");
    expect([there.isRunning(), existsSync(there.folder)]).toEqual([false, false]);
    expect(readdirSync(at.hosts.store).sort()).toEqual([".migrate-lock", "web1.migrated", "web2"]);
    await further.waitForTick(guest.ticks().length + 2);
    expectConfined(further.pid!, rightsOf(further.pid!).uids[0]!);
    const fourth = await hop(third.destinationHome, "fourth");
    await doneOf(fourth.send(`qmp:${further.qmpPath}`, ["--mode", "stop"]));
    const last = new ArrivedGuest(fourth.destinationHome, "web1");
    await last.waitForTick(guest.ticks().length + 3);
  },
  moveMs,
);

test(
  "a VM whose card is to be on a bridge is handed its tap device, and has no network of the host besides",
  () => moveOntoBridge(at, [], ({ pid }) => expectConfined(pid!, rightsOf(pid!).uids[0]!)),
  moveMs,
);

/** Where a group may be, by the hierarchies that hosts have. */
const cgroupFolders = (group: string) =>
  ["", "memory", "cpu", "pids"].map((controller) => join("/sys/fs/cgroup", controller, group));

/** A host more, that serves, to which the VMs of `home` are sent. */
async function hop(home: string, name: string): Promise<TwoHosts> {
  const link = await TwoHosts.make(join(at.folder, name));
  links.push(link);
  link.sourceHome = home;
  await link.serve({ flags: ["--qemu", "--net", "none"] });
  return link;
}
