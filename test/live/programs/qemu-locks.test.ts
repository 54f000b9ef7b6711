/** The locks of a real QEMU and a real swtpm, which platform/locks.ts and vm/folder/watched-files.ts stand on. */
import { describe, expect, test } from "bun:test";
import { closeSync, mkdirSync, openSync, watch } from "node:fs";
import { join } from "node:path";
import { holdAgainstQemu, qemuHolds } from "../../../src/platform/files/locks.ts";
import { checkImage, type ImageFormat } from "../../../src/vm/disks/disk-format.ts";
import { adHocVm } from "../../../src/vm/folder/vm-folder.ts";
import { WatchedFiles } from "../../../src/vm/folder/watched-files.ts";
import { Qmp } from "../../support/guests/qmp.ts";
import { createDisk } from "../../support/guests/tick-disk.ts";
import { type Child, runChild, startChild } from "../../support/system/child.ts";
import { withDeadline } from "../../support/system/deadline.ts";
import { refusalOf } from "../../support/system/refusals.ts";
import { eachTestInFolder } from "../../support/system/test-folder.ts";
import { type ExpectedCaller, expectCaller } from "../../support/system/unix-socket.ts";

const formats = ["raw", "qcow2"] as const;
type Format = (typeof formats)[number];

let folder: string;
let [fds, monitors]: [number[], ExpectedCaller[]] = [[], []];

eachTestInFolder("migrate-locks-", (made) => {
  folder = made;
  [fds, monitors] = [[], []];
  return () => {
    for (const monitor of monitors) monitor.close();
    for (const fd of fds) closeSync(fd);
  };
});

function open(path: string): number {
  const fd = openSync(path, "r");
  fds.push(fd);
  return fd;
}

function close(fd: number): void {
  closeSync(fd);
  fds = fds.filter((other) => other !== fd);
}

async function makeDisk(format: Format): Promise<string> {
  const path = join(folder, `disk.${format}`);
  await createDisk({ path, format }, 8);
  return path;
}

interface RunningQemu {
  child: Child;
  qmp: Qmp;
}

/** A QEMU without a guest, given devices. Throws with what it said where it ends instead. */
async function startQemu(...devices: string[]): Promise<RunningQemu> {
  const path = join(folder, `monitor-${monitors.length}`);
  const monitor = await expectCaller(path);
  monitors.push(monitor);
  const child = startChild([
    ...[
      "qemu-system-x86_64",
      "-accel",
      "tcg",
      "-S",
      "-display",
      "none",
      "-nodefaults",
      "-m",
      "32",
      ...devices,
    ],
    ...["-chardev", `socket,id=monitor,path=${path}`, "-mon", "chardev=monitor,mode=control"],
  ]);
  const ended = child.exit.then(() => {
    throw new Error(child.stderr());
  });
  ended.catch(() => {});
  try {
    const qmp = await Qmp.negotiate(await Promise.race([monitor.socket, ended]));
    // The monitor may answer before the devices are there; this is answered by the main loop.
    await qmp.execute("query-block");
    return { child, qmp };
  } catch {
    // A monitor that breaks off is the first sign of QEMU's end; why it ended comes a little later.
    return await withDeadline(ended, 30_000, "the end of QEMU");
  }
}

async function startQemuWith(disk: string, format: Format, more = ""): Promise<RunningQemu> {
  return await startQemu("-drive", `file=${disk},format=${format},if=virtio${more}`);
}

async function quit({ child, qmp }: RunningQemu): Promise<void> {
  await qmp.execute("quit");
  await withDeadline(child.exit, 30_000, "the end of QEMU");
}

for (const format of formats) {
  describe(`a ${format} disk`, () => {
    test("is recognised while a QEMU has it for writing, and free again when it has quit", async () => {
      const disk = await makeDisk(format);
      const fd = open(disk);
      expect(qemuHolds(fd)).toBe(false);
      const qemu = await startQemuWith(disk, format);
      expect(qemuHolds(fd)).toBe(true);
      expect(holdAgainstQemu(fd)).toBe(false);
      const error = refusalOf(() => WatchedFiles.open(adHocVm({ name: "web1", disks: [disk] })));
      expect(error.code).toBe("vm-running");
      expect(error.message).toContain(`disk.${format} is in use by a running QEMU`);
      await quit(qemu);
      expect(qemuHolds(fd)).toBe(false);
    });

    test("that a QEMU only reads is nobody's for writing", async () => {
      const disk = await makeDisk(format);
      const qemu = await startQemuWith(disk, format, ",readonly=on");
      const fd = open(disk);
      expect(qemuHolds(fd)).toBe(false);
      expect(holdAgainstQemu(fd)).toBe(true);
      await quit(qemu);
    });

    test("that is held against QEMU stops it from starting, but not a reader, until it is closed", async () => {
      const disk = await makeDisk(format);
      const fd = open(disk);
      expect(holdAgainstQemu(fd)).toBe(true);
      await expect(startQemuWith(disk, format)).rejects.toThrow(/Failed to get "write" lock/);
      await quit(await startQemuWith(disk, format, ",readonly=on"));
      await runChild(["qemu-img", "info", "-f", format, disk]);
      close(fd);
      await quit(await startQemuWith(disk, format));
    });

    test("whose files are open for a move cannot be started, and can once they are closed", async () => {
      const disk = await makeDisk(format);
      const watched = WatchedFiles.open(adHocVm({ name: "web1", disks: [disk] }));
      try {
        await expect(startQemuWith(disk, format)).rejects.toThrow(/Failed to get "write" lock/);
        watched.verify();
      } finally {
        watched.close();
      }
      await quit(await startQemuWith(disk, format));
    });
  });
}

test("what qemu-img makes is read as what it is", async () => {
  const [base, overlay, dataFile, old] = ["base", "overlay", "data", "old"].map((name) => join(folder, name));
  const create = (...args: string[]) => runChild(["qemu-img", "create", "-q", "-f", "qcow2", ...args]);
  await create(base!, "3G");
  await create("-b", base!, "-F", "qcow2", overlay!);
  await create("-o", `data_file=${join(folder, "data.raw")}`, dataFile!, "3G");
  await create("-o", "compat=0.10", old!, "3G");
  const ask = (path: string, declared?: ImageFormat) => checkImage(path, { shownAs: path, declared });
  expect(ask(base!)).toBe("qcow2");
  expect(ask(old!)).toBe("qcow2");
  expect(refusalOf(() => ask(overlay!)).message).toContain("has a backing file");
  expect(refusalOf(() => ask(dataFile!, "qcow2")).message).toContain("keeps its data in another file");
});

test.each([
  ["VMDK", ["vmdk"]],
  ["VMDK", ["vmdk", "-o", "subformat=monolithicFlat"]],
  ["VMDK", ["vmdk", "-o", "subformat=streamOptimized"]],
  ["VDI", ["vdi"]],
  ["VHD", ["vpc"]],
  ["VHD", ["vpc", "-o", "subformat=fixed"]],
  ["VHDX", ["vhdx"]],
  ["QED", ["qed"]],
  ["Parallels", ["parallels"]],
  ["qcow", ["qcow"]],
])(
  "an image that qemu-img makes as %s (%p) is no disk of a VM until somebody says that it is raw",
  async (shown, words) => {
    const image = join(folder, "image");
    await runChild(["qemu-img", "create", "-q", "-f", ...words, image, "3M"]);
    const said = refusalOf(() => adHocVm({ name: "web1", disks: [image] }), "vm-invalid");
    expect(said.message).toBe(`${image} looks like a disk image of the format ${shown}`);
    expect(said.hint).toContain(`--raw-disk ${image}`);
    const declared = adHocVm({ name: "web1", disks: [], rawDisks: [image] });
    expect(declared.files.map(({ format }) => format)).toEqual(["raw"]);
  },
);

test("the state of a virtual TPM is refused while a QEMU uses it, and taken once that has quit", async () => {
  const state = join(folder, "state");
  mkdirSync(state);
  await runChild(["swtpm_setup", "--tpm2", "--tpmstate", state, "--overwrite"]);
  const suspended = () => adHocVm({ name: "web1", disks: [], tpmStateDir: state });
  expect(suspended().files.map(({ base }) => base)).toEqual(["tpm/tpm2-00.permall"]);

  const control = join(folder, "control");
  // It writes its pid once it listens.
  const listening = appearance("pid");
  const swtpm = startChild([
    ...["swtpm", "socket", "--tpm2", "--terminate", "--tpmstate", `dir=${state}`],
    ...["--ctrl", `type=unixio,path=${control}`, "--pid", `file=${join(folder, "pid")}`],
  ]);
  await withDeadline(listening, 10_000, () => `swtpm: ${swtpm.stderr()}`);
  const qemu = await startQemu(
    ...["-chardev", `socket,id=tpm,path=${control}`, "-tpmdev", "emulator,id=tpm,chardev=tpm"],
    ...["-device", "tpm-crb,tpmdev=tpm"],
  );
  const error = refusalOf(() => WatchedFiles.open(suspended()));
  expect(error.code).toBe("vm-running");
  expect(error.message).toContain("running swtpm");
  await quit(qemu);
  await withDeadline(swtpm.exit, 10_000, "the end of swtpm");
  WatchedFiles.open(suspended()).close();
});

/** Settles once a file of that name appears in the test's folder. */
function appearance(name: string): Promise<void> {
  const appeared = Promise.withResolvers<void>();
  const watcher = watch(folder, (_, changed) => {
    if (changed === name) appeared.resolve();
  });
  return appeared.promise.finally(() => watcher.close());
}
