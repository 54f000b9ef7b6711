/** Command lines of which `explain` says that they can be moved, and that used to fail: they move. */
import { expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { callMonitor, statusOf } from "../../support/guests/seen/monitor.ts";
import { createDisk } from "../../support/guests/tick-disk.ts";
import { sessionsIn } from "../../support/moves/ownership.ts";
import type { RunningHosts } from "../../support/moves/running-hosts.ts";
import { eachTestHasRunningHosts } from "../../support/moves/running-hosts-of-tests.ts";
import { doneOf, failureOf } from "../../support/moves/whole-move.ts";
import { startChild } from "../../support/system/child.ts";
import { until } from "../../support/system/until.ts";

let at: RunningHosts;

eachTestHasRunningHosts((made) => {
  at = made;
});

/** Starts a machine with its firmware alone in the folder of the hosts. */
async function startMachine(words: readonly string[]) {
  const [qmp, watch] = ["qmp", "watch"].map((name) => `unix:${join(at.folder, name)},server=on,wait=off`);
  const child = startChild(
    [
      ...["qemu-system-x86_64", "-name", "web1", "-machine", "pc", "-accel", "tcg", "-m", "32M"],
      ...["-nodefaults", "-no-user-config", "-display", "none", "-qmp", qmp!, "-qmp", watch!, ...words],
    ],
    { cwd: at.folder },
  );
  const monitor = await callMonitor(join(at.folder, "watch"), () => true);
  return { child, monitor, socket: join(at.folder, "qmp") };
}

/** Explains and moves such a machine. Returns the command line that `explain` shows. */
async function expectMoves(words: readonly string[]): Promise<readonly string[]> {
  const { child, monitor, socket } = await startMachine(words);
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

test("what a destination's own policy refuses is said alike by explain, and by send before anything is sent", async () => {
  await createDisk({ path: join(at.folder, "disk.raw"), format: "raw" }, 4);
  const disk = ["-drive", `file=${join(at.folder, "disk.raw")},format=raw,if=virtio`];
  const { child, socket } = await startMachine([
    ...disk,
    "-netdev",
    "user,id=n0",
    "-device",
    "e1000,netdev=n0",
  ]);
  const net = ["--net", "none,0=bridge:br0"];
  const explained = at.hosts.source(["explain", `qmp:${socket}`, ...net]);
  const { refused } = await explained.waitFor("explanation");
  const { code } = await explained.exit;
  await at.serve({ flags: net });
  const error = await failureOf(at.send(socket));
  expect(error).toMatchObject({ code: "policy", side: "destination", exitCode: code });
  // The way out is for whoever serves, and no peer is told of it.
  expect((refused as string[])[0]).toStartWith(`${error.message}. Serve with`);
  expect(sessionsIn(at.hosts.destinationHome, "destination")).toEqual([]);
  expect(at.inStore()).toEqual([]);
  await child.kill();
});

test("explain asks a destination that is named, which keeps nothing of it, and the VM runs on", async () => {
  await createDisk({ path: join(at.folder, "disk.raw"), format: "raw" }, 4);
  const disk = ["-drive", `file=${join(at.folder, "disk.raw")},format=raw,if=virtio`];
  const { child, monitor, socket } = await startMachine(disk);
  const explained = async () => {
    const asked = at.hosts.explain(`qmp:${socket}`);
    const { notes, refused } = await asked.waitFor("explanation");
    return { notes, refused, code: (await asked.exit).code };
  };
  await at.serve();
  const taken = await explained();
  expect(taken).toMatchObject({ refused: [], code: 0 });
  expect(String(taken.notes)).toContain("takes the VM as it is now");
  expect([at.inStore(), at.processesAtDestination()]).toEqual([[], []]);
  // What the destination says against it is said as a refusal.
  writeFileSync(join(at.hosts.store, "web1"), "somebody else's");
  const refused = await explained();
  expect(refused.refused).toEqual([expect.stringContaining("there is a VM named web1")]);
  expect(refused.code).toBe(6);
  expect(await statusOf(monitor)).toBe("running");
  await child.kill();
});
