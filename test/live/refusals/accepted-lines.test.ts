/** Command lines of which `explain` says that they can be moved, and that used to fail: they move. */
import { expect, test } from "bun:test";
import { join } from "node:path";
import { callMonitor, statusOf } from "../../support/guests/seen/monitor.ts";
import { createDisk } from "../../support/guests/tick-disk.ts";
import type { RunningHosts } from "../../support/moves/running-hosts.ts";
import { eachTestHasRunningHosts } from "../../support/moves/running-hosts-of-tests.ts";
import { doneOf } from "../../support/moves/whole-move.ts";
import { startChild } from "../../support/system/child.ts";
import { until } from "../../support/system/until.ts";

let at: RunningHosts;

eachTestHasRunningHosts((made) => {
  at = made;
});

/** Starts a machine with its firmware alone in the folder of the hosts, explains it and moves it. */
async function expectMoves(words: readonly string[]): Promise<readonly string[]> {
  const [qmp, watch] = ["qmp", "watch"].map((name) => `unix:${join(at.folder, name)},server=on,wait=off`);
  const child = startChild(
    [
      ...["qemu-system-x86_64", "-name", "web1", "-machine", "pc", "-accel", "tcg", "-m", "32M"],
      ...["-nodefaults", "-no-user-config", "-display", "none", "-qmp", qmp!, "-qmp", watch!, ...words],
    ],
    { cwd: at.folder },
  );
  const monitor = await callMonitor(join(at.folder, "watch"), () => true);
  const socket = join(at.folder, "qmp");
  const explained = at.hosts.source(["explain", `qmp:${socket}`]);
  const { refused, command } = await explained.waitFor("explanation");
  expect(refused).toEqual([]);
  await at.serve();
  await doneOf(at.send(socket));
  const hasEnded = () =>
    monitor.execute("query-status").then(
      () => false,
      () => true,
    );
  await until(hasEnded, "the end of the source's QEMU");
  await child.exit;
  const arrived = at.arrived("web1");
  const there = await callMonitor(arrived.qmpPath, () => arrived.isRunning());
  expect(await statusOf(there)).toBe("running");
  there.close();
  return command as string[];
}

test("a disk without format=, of a relative path, moves with the format that QEMU found", async () => {
  await createDisk({ path: join(at.folder, "disk.img"), format: "qcow2" }, 4);
  const command = await expectMoves(["-drive", "file=disk.img,if=virtio"]);
  expect(command.find((word) => word.startsWith("file="))).toContain("disk.img,format=qcow2,");
});

test("a medium of a relative path is found where QEMU left its folder (-daemonize)", async () => {
  for (const name of ["disk.img", "cd.img"])
    await createDisk({ path: join(at.folder, name), format: "raw" }, 4);
  const disk = ["-drive", `file=${join(at.folder, "disk.img")},format=raw,if=virtio`];
  await expectMoves([...disk, "-daemonize", "-drive", "file=cd.img,format=raw,media=cdrom,readonly=on"]);
});

test("sound cards without an audiodev move, and are silent", async () => {
  await createDisk({ path: join(at.folder, "disk.raw"), format: "raw" }, 4);
  const disk = ["-drive", `file=${join(at.folder, "disk.raw")},format=raw,if=virtio`];
  const command = await expectMoves([
    ...disk,
    "-device",
    "intel-hda",
    "-device",
    "hda-duplex",
    "-device",
    "AC97",
  ]);
  expect(command).toContain("none,id=migrate-silence");
});
