/** The disk of a VM that a real QEMU, or a loop device, has as well. */
import { describe, expect, test } from "bun:test";
import { mkdirSync, readdirSync, statSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { requireUnheld } from "../../../src/vm/holders/file-holders.ts";
import { vmPart } from "../../support/files/vm-part.ts";
import { type Child, runChild, startChild } from "../../support/system/child.ts";
import { LoopDevices } from "../../support/system/loop-devices.ts";
import { refusalOf } from "../../support/system/refusals.ts";
import { eachTestInFolder } from "../../support/system/test-folder.ts";
import { until } from "../../support/system/until.ts";

let disk = "";
let loops: LoopDevices;

eachTestInFolder("migrate-holders-", (folder) => {
  disk = join(folder, "d.raw");
  writeFileSync(disk, "x".repeat(5000));
  truncateSync(disk, 2 ** 20);
  loops = new LoopDevices();
  return () => loops.close();
});

/** A QEMU that has the disk as a VM named web2 would. */
async function otherVm(options: string): Promise<Child> {
  const child = startChild([
    ...["qemu-system-x86_64", "-machine", "none", "-nodefaults", "-display", "none", "-S"],
    ...["-name", "guest=web2,debug-threads=on", "-blockdev"],
    `driver=file,node-name=f,filename=${disk},${options}`,
  ]);
  await until(() => child.stderr() !== "" || hasOpen(child.pid, disk), "the other VM");
  return child;
}

function hasOpen(pid: number, path: string): boolean {
  const names = readdirSync(`/proc/${pid}/fd`);
  return names.some(
    (name) => statSync(`/proc/${pid}/fd/${name}`, { throwIfNoEntry: false })?.ino === statSync(path).ino,
  );
}

const refusal = (parts = [vmPart(disk)], own: number[] = []) => refusalOf(() => requireUnheld(parts, own));

describe("a file of a VM", () => {
  test("that only its own QEMU has may leave", async () => {
    const { pid } = await otherVm("locking=off");
    expect(requireUnheld([vmPart(disk)], [pid])).toBeNull();
  });

  test("that another VM has may not, even if that one takes no locks, or only reads", async () => {
    for (const options of ["locking=off", "read-only=on"]) {
      const other = await otherVm(options);
      expect(refusal()).toMatchObject({
        code: "vm-running",
        exitCode: 6,
        message: expect.stringMatching(
          new RegExp(`by the VM web2 \\(qemu-system-x86_64, process ${other.pid}\\)$`),
        ),
      });
      await other.kill("SIGTERM");
    }
  });

  test("from which it was only started, such as a kernel, others may read as well", async () => {
    await otherVm("read-only=on");
    await loops.attach(disk, "--read-only");
    expect(requireUnheld([vmPart(disk, false)], [])).toBeNull();
  });

  test("that is behind a loop device may not: the device and where it is mounted are named", async () => {
    await runChild(["mkfs.ext4", "-q", disk]);
    const device = await loops.attach(disk);
    const folder = `${disk}-mounted`;
    mkdirSync(folder);
    await loops.mount(device, folder);
    expect(refusal()).toMatchObject({
      code: "vm-running",
      message: `d.raw is open for writing by the loop device ${device}, mounted on ${folder}`,
    });
  });

  test("that is behind a loop device for reading may not leave", async () => {
    const device = await loops.attach(disk, "--read-only");
    expect(refusal()).toMatchObject({ message: `d.raw is in use by the loop device ${device}` });
  });
});
