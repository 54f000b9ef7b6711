/** Running VMs that are not moved, and are told why: they go on as before, and nothing is left at the destination. */
import { describe, expect, test } from "bun:test";
import { existsSync, linkSync, readdirSync, readlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { RunningGuest } from "../../support/guests/running-guest.ts";
import { callMonitor, statusOf } from "../../support/guests/seen/monitor.ts";
import { createDisk } from "../../support/guests/tick-disk.ts";
import { sessionsIn } from "../../support/moves/ownership.ts";
import type { RunningHosts } from "../../support/moves/running-hosts.ts";
import { eachTestHasRunningHosts } from "../../support/moves/running-hosts-of-tests.ts";
import { doneOf, expectGapless, expectMoved, failureOf } from "../../support/moves/whole-move.ts";
import { type Child, startChild } from "../../support/system/child.ts";
import { withDeadline } from "../../support/system/deadline.ts";
import { until } from "../../support/system/until.ts";

let at: RunningHosts;

eachTestHasRunningHosts((made) => {
  at = made;
});

/** Throws (by `expect`) where the guest does not go on, or anything of it is at the destination or under way. */
async function expectUntouched(guest: RunningGuest): Promise<void> {
  await guest.waitForTick(guest.ticks().length + 2);
  expectGapless(guest);
  expect([at.inStore(), at.processesAtDestination()]).toEqual([[], []]);
  expect(existsSync(join(at.hosts.destinationHome, "run", guest.options.name))).toBe(false);
  const open = sessionsIn(at.hosts.sourceHome, "source").filter(({ settled }) => settled === 0);
  expect(open).toEqual([]);
}

function linkOf(pid: number, fd: string): string {
  try {
    return readlinkSync(`/proc/${pid}/fd/${fd}`);
  } catch {
    return "";
  }
}

describe("a VM that is not what its command line says", () => {
  /** Plugs another disk in, as `virsh attach-disk` does. */
  async function plugIn(guest: RunningGuest): Promise<string> {
    const path = join(guest.options.folder, "more.raw");
    await createDisk({ path, format: "raw" }, 4);
    const watch = await guest.watch();
    const file = { driver: "file", filename: path };
    await watch.execute("blockdev-add", { driver: "raw", "node-name": "more", file });
    await watch.execute("device_add", { driver: "virtio-blk-pci", id: "more-disk", drive: "more" });
    return path;
  }

  test("for a disk that was plugged in is refused, the disk named", async () => {
    const guest = await at.guest();
    await guest.waitForTick(1);
    const path = await plugIn(guest);
    await at.serve();
    expect(await failureOf(at.send(guest))).toMatchObject({
      code: "vm-invalid",
      side: "source",
      name: "web1",
      message: `The VM works on ${path}, which its command line does not name`,
      exitCode: 6,
    });
    await expectUntouched(guest);
  });

  test("for a snapshot that was taken is refused, the image named", async () => {
    const guest = await at.guest();
    await guest.waitForTick(1);
    const path = join(guest.options.folder, "snapshot.qcow2");
    await (await guest.watch()).execute("blockdev-snapshot-sync", {
      device: "virtio0",
      "snapshot-file": path,
      format: "qcow2",
    });
    await at.serve();
    expect(await failureOf(at.send(guest))).toMatchObject({
      code: "vm-invalid",
      message: `The VM works on ${path}, which its command line does not name`,
    });
    await expectUntouched(guest);
  });

  test("for another device is refused, the device named, before a destination hears of it", async () => {
    const guest = await at.guest();
    await guest.waitForTick(1);
    const watch = await guest.watch();
    await watch.execute("device_add", { driver: "virtio-rng-pci", id: "more-random" });
    await at.serve();
    expect(await failureOf(at.send(guest))).toMatchObject({
      code: "vm-invalid",
      side: "source",
      message: "The device more-random (virtio-rng-pci) was plugged in after the VM was started",
      hint: "Unplug it (device_del more-random), or restart the VM with it on its command line.",
    });
    await expectUntouched(guest);
    // No destination has heard of it.
    expect(sessionsIn(at.hosts.destinationHome, "destination")).toEqual([]);
  });
});

test("a VM whose disk another QEMU has as well is refused, the other one named, and both go on", async () => {
  const guest = await at.guest();
  await guest.waitForTick(1);
  const disk = guest.options.disks[1]!.path;
  const other = startChild([
    ...["qemu-system-x86_64", "-machine", "none", "-nodefaults", "-display", "none", "-name", "web2"],
    ...["-blockdev", `driver=file,node-name=f,filename=${disk},locking=off`],
  ]);
  const opened = () => readdirSync(`/proc/${other.pid}/fd`).some((fd) => linkOf(other.pid, fd) === disk);
  await until(opened, "the other VM");
  await at.serve();
  expect(await failureOf(at.send(guest, ["--after", "delete"]))).toMatchObject({
    code: "vm-running",
    side: "source",
    message: `data.raw is open for writing by the VM web2 (qemu-system-x86_64, process ${other.pid})`,
    exitCode: 6,
  });
  await expectUntouched(guest);
  expect(sessionsIn(at.hosts.sourceHome, "source")).toEqual([]);
  await other.kill();
});

describe("a QMP socket", () => {
  test("that another program holds is refused with what to do", async () => {
    const guest = await at.guest();
    await guest.waitForTick(1);
    const other = await callMonitor(guest.qmpPath, () => true);
    await at.serve();
    expect(await failureOf(at.send(guest))).toMatchObject({
      code: "vm-invalid",
      message: `The QEMU behind ${guest.qmpPath} does not answer: another program is likely to hold this socket`,
      hint: expect.stringContaining("QEMU serves one program at a time"),
      exitCode: 6,
    });
    await expectUntouched(guest);
    other.close();
    await doneOf(at.send(guest));
    await expectMoved(at, guest);
  });

  test("that is none, is not there, or that nobody listens on is refused", async () => {
    await at.serve();
    const [none, file, dead] = ["none", "file", "dead"].map((name) => join(at.folder, name)) as [
      string,
      string,
      string,
    ];
    writeFileSync(file, "");
    const listener = Bun.listen({ unix: dead, socket: { data() {} } });
    const kept = `${dead}.kept`;
    linkSync(dead, kept);
    listener.stop(true);
    for (const [path, words] of [
      [none, "There is no socket"],
      [file, "is no socket"],
      [kept, "Nobody listens on"],
    ] as const) {
      const error = await failureOf(at.send(path));
      expect(error).toMatchObject({ code: "vm-invalid", side: "source", exitCode: 6 });
      expect(error.message).toContain(path);
      expect(error.message).toContain(words);
    }
    expect(sessionsIn(at.hosts.sourceHome, "source")).toEqual([]);
  });
});

test("a destination that serves without --qemu refuses a running VM, which goes on", async () => {
  const guest = await at.guest();
  await guest.waitForTick(1);
  await at.hosts.serve();
  expect(await failureOf(at.send(guest))).toMatchObject({
    code: "policy",
    side: "destination",
    message: "the destination takes VMs in, and starts none: it serves without --qemu",
    exitCode: 6,
  });
  await expectUntouched(guest);
  expect(sessionsIn(at.hosts.destinationHome, "destination")).toEqual([]);
});

test("a VM without disks is moved", async () => {
  const guest = await at.guest({ disks: [] });
  await guest.waitForTick(3);
  await at.serve();
  await doneOf(at.send(guest));
  const arrived = await expectMoved(at, guest);
  await arrived.waitForTick(guest.ticks().length + 3);
  expectGapless(guest, arrived);
});

describe("a VM without a name", () => {
  /** A machine with an empty disk, on which its firmware finds no system. */
  async function startNameless(): Promise<Child> {
    const disk = join(at.folder, "empty.raw");
    await createDisk({ path: disk, format: "raw" }, 1);
    const [qmp, watch] = ["qmp", "watch"].map((name) => `unix:${join(at.folder, name)},server=on,wait=off`);
    const child = startChild([
      ...["qemu-system-x86_64", "-machine", "pc", "-accel", "tcg", "-m", "32M", "-nodefaults"],
      ...["-no-user-config", "-display", "none", "-qmp", qmp!, "-qmp", watch!],
      ...["-drive", `file=${disk},format=raw,if=virtio`],
    ]);
    (await callMonitor(join(at.folder, "watch"), () => true)).close();
    return child;
  }

  test("is sent under the one that it is given, and has it from then on", async () => {
    const child = await startNameless();
    await at.serve();
    const qmp = join(at.folder, "qmp");
    expect(await failureOf(at.send(qmp))).toMatchObject({
      code: "usage",
      message: "The VM's command line gives it no name",
      hint: expect.stringContaining("--name"),
      exitCode: 2,
    });
    expect(at.processesAtDestination()).toEqual([]);

    expect(await doneOf(at.send(qmp, ["--name", "other"]))).toMatchObject({ name: "other" });
    await withDeadline(child.exit, 20_000, "the end of the source's QEMU");
    const arrived = at.arrived("other");
    expect(at.inStore()).toEqual(["other"]);
    const monitor = await callMonitor(arrived.qmpPath, () => arrived.isRunning());
    expect(await statusOf(monitor)).toBe("running");
    monitor.close();
    const ls = at.hosts.destination(["ls"]);
    const where = `qmp:${arrived.qmpPath}`;
    expect(await ls.waitFor("vm", { where: (vm) => vm.where === where })).toMatchObject({ name: "other" });
  });
});
