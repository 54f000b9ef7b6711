/**
 * What is refused of a VM that really runs: each sentence, and the QEMU that it is said of. "DIR/" stands for the
 * folder of the test, in words and sentences.
 */
import { execFileSync } from "node:child_process";
import {
  closeSync,
  constants,
  copyFileSync,
  existsSync,
  linkSync,
  mkdirSync,
  openSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import type { Qmp } from "../guests/qmp.ts";
import { type Child, startChild } from "../system/child.ts";
import { until } from "../system/until.ts";

export interface QemuRefusal {
  /** The sentence as `explain` prints it, with its way out. */
  says: string;
  /** Of QEMU, beside its monitors. */
  words: readonly string[];
  /** Flags of both commands. */
  flags?: readonly string[];
  /** Makes what the words name, beside DIR/a.raw of 1 MiB. */
  before?: (folder: string) => unknown;
  /** What happens to the VM once it runs; a function that it returns undoes that, before QEMU ends. */
  after?: (qmp: Qmp, folder: string) => unknown;
  /** It is left as QEMU starts it. */
  unstarted?: true;
}

/** Those that rows have started, by their folders. */
const swtpms = new Map<string, Child>();

const disk = ["-drive", "file=DIR/a.raw,format=raw,if=virtio,id=d0"];
const plugged = (what: string, unplug = `Unplug it (device_del ${what.split(" ")[0]})`) =>
  `The device ${what} was plugged in after the VM was started. ${unplug}, or restart the VM with it on its command line.`;
const gone = (what: string) =>
  `The ${what}, which the VM was started with, was taken away. Restart the VM with what it has now on its command line.`;
const image = (...words: string[]) => execFileSync("qemu-img", words, { stdio: "ignore" });
const calls =
  (...commands: [string, Record<string, unknown>?][]) =>
  async (qmp: Qmp): Promise<void> => {
    for (const [command, args] of commands) await qmp.execute(command, args);
  };
const foreignDisk =
  "A disk was plugged in or a snapshot taken since it was started: its command line is not the VM any more. Restart it with what it has now.";

export const qemuRefusals: readonly QemuRefusal[] = [
  {
    says: "The VM's command line gives it no name. Give it one with --name.",
    words: ["@noname", ...disk],
  },
  {
    says: 'The VM cannot be moved under its name: a VM\'s name must not contain "/". Give it another one with --name.',
    words: disk,
    flags: ["--name", "a/b"],
  },
  {
    says: "The VM has no file at all: neither disk nor kernel nor image. There is nothing of it that a store could keep.",
    words: [],
  },
  {
    says: 'The VM has not been started yet. Say "cont" to its QEMU, or quit it and send its files.',
    words: disk,
    unstarted: true,
  },
  {
    says: "DIR/a.vmdk is vmdk for QEMU, and only raw and qcow2 can be moved. Convert it: qemu-img convert -O qcow2.",
    words: ["-drive", "file=DIR/a.vmdk,if=virtio"],
    before: (folder) => image("create", "-f", "vmdk", join(folder, "a.vmdk"), "1M"),
  },
  {
    says: "DIR/cd.img is qcow2 for QEMU, and raw by its command line. Say its true format in the VM's command line.",
    words: [
      "-drive",
      "file=DIR/cd.img,format=raw,media=cdrom,if=none,id=cd",
      "-device",
      "ide-cd,drive=cd,id=cd0",
    ],
    before: (folder) => image("create", "-f", "qcow2", join(folder, "cd.img"), "1M"),
    after: (qmp, folder) =>
      calls(["blockdev-change-medium", { id: "cd0", filename: join(folder, "cd.img"), format: "qcow2" }])(
        qmp,
      ),
  },
  {
    says: `The VM works on DIR/more.raw, which its command line does not name. ${foreignDisk}`,
    words: disk,
    after: async (qmp, folder) => {
      const filename = join(folder, "more.raw");
      writeFileSync(filename, Buffer.alloc(1 << 20));
      const file = { driver: "file", filename };
      await calls(
        ["blockdev-add", { driver: "raw", "node-name": "more", file }],
        ["device_add", { driver: "virtio-blk-pci", id: "more-disk", drive: "more" }],
      )(qmp);
    },
  },
  {
    says: `The VM works on DIR/over.qcow2, which its command line does not name. ${foreignDisk}`,
    words: disk,
    after: (qmp, folder) =>
      calls([
        "blockdev-snapshot-sync",
        { device: "d0", "snapshot-file": join(folder, "over.qcow2"), format: "qcow2" },
      ])(qmp),
  },
  {
    says: "The disk DIR/u.raw of the VM's command line is in no device. It was ejected or unplugged since the VM was started. Restart it with what it has now.",
    words: [
      ...[...disk, "-device", "qemu-xhci", "-drive", "file=DIR/u.raw,format=raw,if=none,id=du"],
      ...["-device", "usb-storage,drive=du,id=u0"],
    ],
    before: (folder) => writeFileSync(join(folder, "u.raw"), Buffer.alloc(1 << 20)),
    after: async (qmp) => {
      await qmp.execute("device_del", { id: "u0" });
      const isGone = async () => JSON.stringify(await qmp.execute("query-block")).includes("u.raw") === false;
      await until(isGone, "the drive to go with its device");
    },
  },
  {
    says: "The VM's disks DIR/a.raw and DIR/a.raw are one and the same file. At the destination they would be two. Start the VM with it once.",
    words: ["a", "b"].flatMap((name) => [
      "-drive",
      `file=DIR/${name}.raw,format=raw,if=virtio,file.locking=off`,
    ]),
    before: (folder) => symlinkSync("a.raw", join(folder, "b.raw")),
  },
  {
    says: "DIR/a.raw, which the VM was started with, is gone. Has it been renamed or deleted?",
    words: disk,
    after: (_, folder) => rmSync(join(folder, "a.raw")),
  },
  {
    says: "The disk a.raw begins in a folder that QEMU left (-daemonize): a migration of it fails at its end. Start the VM with absolute paths.",
    words: ["-daemonize", "-drive", "file=a.raw,format=raw,if=virtio"],
  },
  {
    says: "own.bin of the VM's command line begins in a folder that QEMU left (-daemonize). Start the VM with absolute paths.",
    words: [...disk, "-daemonize", "-bios", "own.bin"],
    before: (folder) => copyFileSync("/usr/share/seabios/bios.bin", join(folder, "own.bin")),
  },
  {
    says: "The swtpm behind the VM's virtual TPM cannot be found. Its control socket is DIR/tpm.sock; swtpm must keep its state in a folder (--tpmstate dir=DIR).",
    words: [
      ...[...disk, "-chardev", "socket,id=t,path=DIR/tpm.sock", "-tpmdev", "emulator,id=tpm0,chardev=t"],
      ...["-device", "tpm-tis,tpmdev=tpm0"],
    ],
    before: async (folder) => {
      const [socket, state] = [join(folder, "tpm.sock"), join(folder, "tpm")];
      mkdirSync(state);
      swtpms.set(
        folder,
        startChild([
          ...["swtpm", "socket", "--tpm2", "--tpmstate", `dir=${state}`],
          ...["--ctrl", `type=unixio,path=${socket}`],
        ]),
      );
      await until(() => existsSync(socket), "swtpm to listen");
    },
    after: async (_, folder) => await swtpms.get(folder)!.kill(),
  },
  {
    says: "LOOP is not a regular file. Only VMs on image files can be moved.",
    words: ["-drive", "file=LOOP,format=raw,if=virtio"],
  },
  {
    says: "DIR/a.raw could not be renamed once the VM has moved: something is mounted there. See that its folder can be written to, or leave the files as they are: --after keep.",
    words: disk,
    before: (folder) => {
      const path = join(folder, "a.raw");
      execFileSync("mount", ["--bind", path, path]);
      return () => execFileSync("umount", ["--lazy", path]);
    },
  },
  {
    says: "a.raw has 2 names (hard links), and is one file. Remove the others, which this shows: find FOLDER -samefile DIR/a.raw. Or make it a file of its own: cp --sparse=always, then rename.",
    words: disk,
    after: (_, folder) => linkSync(join(folder, "a.raw"), join(folder, "b.raw")),
  },
  {
    says: "a.raw is open for writing by PROGRAM (process PID). End that use first: a VM's files can be moved only if nothing else holds them.",
    words: disk,
    after: (_, folder) => {
      const fd = openSync(join(folder, "a.raw"), "r+");
      return () => closeSync(fd);
    },
  },
  {
    says: "The VM has something that its QEMU cannot migrate. QEMU says: The vmdk format used by node 'late' does not support live migration",
    words: disk,
    before: (folder) => image("create", "-f", "vmdk", join(folder, "a.vmdk"), "1M"),
    after: (qmp, folder) =>
      calls([
        "blockdev-add",
        { driver: "vmdk", "node-name": "late", file: { driver: "file", filename: join(folder, "a.vmdk") } },
      ])(qmp),
  },
  {
    says: "Another program migrates or saves the VM now: QEMU's migration is active. Wait until it is done, or cancel it there.",
    words: disk,
    before: (folder) => execFileSync("mkfifo", [join(folder, "never")]),
    after: async (qmp, folder) => {
      const never = join(folder, "never");
      await qmp.execute("migrate", { uri: `exec:cat ${never}` });
      await until(
        async () => JSON.stringify(await qmp.execute("query-migrate")).includes('"active"'),
        "the migration to begin",
      );
      return () => closeSync(openSync(never, constants.O_RDWR | constants.O_NONBLOCK));
    },
  },
  {
    says: "The job d0 (backup) of another program works on the VM's disks. Wait until it is done, or cancel it there: a move would break it off.",
    words: disk,
    before: (folder) => writeFileSync(join(folder, "a.raw"), Buffer.alloc(16 << 20, "x")),
    after: (qmp, folder) =>
      calls([
        "drive-backup",
        { device: "d0", target: join(folder, "backup.raw"), format: "raw", sync: "full", speed: 1 },
      ])(qmp),
  },
  {
    says: "Another program reads the VM's disks through QEMU: the export e0 (nbd) of migrate-disk. End it there (block-export-del) before the VM moves: its client would be cut off.",
    words: ["-drive", "file=DIR/a.raw,format=raw,if=virtio,node-name=migrate-disk"],
    after: (qmp, folder) =>
      calls(
        ["nbd-server-start", { addr: { type: "unix", data: { path: join(folder, "nbd") } } }],
        ["block-export-add", { type: "nbd", id: "e0", "node-name": "migrate-disk" }],
      )(qmp),
  },
  {
    says: "the internal snapshots of s.qcow2 (before) cannot be carried by a live move. --mode stop keeps the snapshots; --drop snapshots moves the VM without them.",
    words: ["-drive", "file=DIR/s.qcow2,format=qcow2,if=virtio"],
    before: (folder) => {
      image("create", "-f", "qcow2", join(folder, "s.qcow2"), "1M");
      image("snapshot", "-c", "before", join(folder, "s.qcow2"));
      return undefined;
    },
  },
  {
    says: "DIR/o.qcow2 is not a whole disk: it has a backing file. --mode live flattens it on the way.",
    words: ["-drive", "file=DIR/o.qcow2,format=qcow2,if=virtio"],
    flags: ["--mode", "stop"],
    before: (folder) =>
      image("create", "-f", "qcow2", "-b", join(folder, "a.raw"), "-F", "raw", join(folder, "o.qcow2")),
  },
  {
    says: "DIR/e.qcow2 is not a whole disk: it keeps its data in another file. Make it a whole qcow2 image while the VM is off: qemu-img convert -f qcow2 -O qcow2 DIR/e.qcow2 NEW.qcow2",
    words: ["-drive", "file=DIR/e.qcow2,format=qcow2,if=virtio"],
    flags: ["--mode", "stop"],
    before: (folder) => {
      const options = `data_file=${join(folder, "e.raw")},data_file_raw=on`;
      image("create", "-f", "qcow2", "-o", options, join(folder, "e.qcow2"), "1M");
    },
  },
  {
    says: "The disks of virtio-scsi-pci in an iothread cannot be mirrored while the VM runs: QEMU at the destination aborts. --mode stop moves them.",
    words: [
      ...["-object", "iothread,id=io0", "-device", "virtio-scsi-pci,id=s0,iothread=io0"],
      ...["-drive", "file=DIR/a.raw,format=raw,if=none,id=d0", "-device", "scsi-hd,drive=d0"],
    ],
  },
  {
    says: "The drive d0 was given another limit since the VM was started: bps is 1000000, and was 50000000. Set it back (block_set_io_throttle), or restart the VM with it on its command line.",
    words: [
      ...["-drive", "file=DIR/a.raw,format=raw,if=none,id=d0,bps=50000000"],
      ...["-device", "virtio-blk-pci,drive=d0,id=v0"],
    ],
    after: calls([
      "block_set_io_throttle",
      { device: "d0", bps: 1_000_000, bps_rd: 0, bps_wr: 0, iops: 0, iops_rd: 0, iops_wr: 0 },
    ]),
  },
  {
    says: plugged("nic9 (virtio-net-pci)"),
    words: disk,
    after: calls(
      ["netdev_add", { type: "user", id: "n9" }],
      ["device_add", { driver: "virtio-net-pci", id: "nic9", netdev: "n9" }],
    ),
  },
  {
    says: plugged("dimm9 (pc-dimm)"),
    words: [...disk, "-m", "32M,slots=2,maxmem=1G"],
    after: calls(
      ["object-add", { "qom-type": "memory-backend-ram", id: "m9", size: 128 * 2 ** 20 }],
      ["device_add", { driver: "pc-dimm", id: "dimm9", memdev: "m9" }],
    ),
  },
  {
    says: plugged("cpu9 (qemu64-x86_64-cpu)"),
    words: [...disk, "-smp", "1,sockets=2,cores=1,threads=1,maxcpus=2"],
    after: calls([
      "device_add",
      { driver: "qemu64-x86_64-cpu", id: "cpu9", "socket-id": 1, "core-id": 0, "thread-id": 0 },
    ]),
  },
  {
    says: plugged("port9 (virtserialport)"),
    words: [...disk, "-device", "virtio-serial-pci", "-chardev", "null,id=c0"],
    after: calls(["device_add", { driver: "virtserialport", id: "port9", chardev: "c0" }]),
  },
  {
    says: plugged("without an id (usb-tablet)", "Unplug it"),
    words: [...disk, "-device", "qemu-xhci"],
    after: calls(["device_add", { driver: "usb-tablet" }]),
  },
  {
    // It may have come back elsewhere on its bus.
    says: plugged("u0 (usb-tablet)"),
    words: [...disk, "-device", "qemu-xhci", "-device", "usb-tablet,id=u0"],
    after: calls(["device_del", { id: "u0" }], ["device_add", { driver: "usb-tablet", id: "u0" }]),
  },
  {
    says: gone("device u0 (usb-tablet)"),
    words: [...disk, "-device", "qemu-xhci", "-device", "usb-tablet,id=u0"],
    after: calls(["device_del", { id: "u0" }]),
  },
  {
    says: gone("device without an id (usb-tablet)"),
    words: [...disk, "-device", "qemu-xhci,id=usb", "-device", "usb-tablet"],
    after: calls(["device_del", { id: "/machine/peripheral-anon/device[0]" }]),
  },
  {
    says: "The character device late was added after the VM was started. Remove it (chardev-remove late) with what uses it, or restart the VM with it on its command line.",
    words: disk,
    after: calls(["chardev-add", { id: "late", backend: { type: "null", data: {} } }]),
  },
  {
    says: gone("character device c0"),
    words: [...disk, "-chardev", "null,id=c0"],
    after: calls(["chardev-remove", { id: "c0" }]),
  },
];
