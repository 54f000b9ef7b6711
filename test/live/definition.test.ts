/**
 * VMs as people start them, and the command lines that a destination makes of theirs: QEMU itself says
 * whether the two are the same VM, by taking the one's migration stream in the other.
 */
import { afterEach, beforeEach, expect, test } from "bun:test";
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { argumentsOf } from "../../src/platform/process-id.ts";
import { commandLine, type QemuPlace } from "../../src/vm/qemu/definition/command-line.ts";
import { parseDefinition } from "../../src/vm/qemu/definition/definition.ts";
import { type Child, killChildren, runChild, startChild } from "../support/child.ts";
import { findProgram } from "../support/needs.ts";
import { Qmp } from "../support/qmp.ts";
import { callSocket } from "../support/unix-socket.ts";
import { until } from "../support/until.ts";

const firmware = "/usr/share/seabios/bios-256k.bin";
const program = "qemu-system-x86_64";

let folder: string;
let store: string;
let run: string;

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), "def-"));
  store = join(folder, "store");
  run = join(folder, "run");
  mkdirSync(store);
  mkdirSync(run);
  writeFileSync(join(folder, "a.raw"), "");
  truncateSync(join(folder, "a.raw"), 2 ** 20);
  writeFileSync(join(folder, "vars.fd"), new Uint8Array(131_072));
  writeFileSync(join(folder, "cd.iso"), new Uint8Array(65_536));
  copyFileSync(firmware, join(folder, "bios.bin"));
  await runChild(["qemu-img", "create", "-q", "-f", "qcow2", join(folder, "b.qcow2"), "1M"]);
});

afterEach(async () => {
  await killChildren();
  rmSync(folder, { recursive: true, force: true });
});

/** QEMU's monitor at a path, once it is there. Throws what QEMU wrote where it ends instead. */
async function monitorAt(path: string, qemu: Child): Promise<Qmp> {
  const failed = qemu.exit.then((): never => {
    throw new Error(`${qemu.command.join(" ")}\nended: ${qemu.stderr()}`);
  });
  failed.catch(() => {});
  const answers = until(() => existsSync(path), `QEMU's monitor; ${qemu.stderr()}`, 60_000);
  await Promise.race([answers, failed]);
  return await Promise.race([callSocket(path).then((socket) => Qmp.negotiate(socket)), failed]);
}

function place(changes: Partial<QemuPlace> = {}): QemuPlace {
  return {
    binary: findProgram(program)!,
    file: ({ name }) => join(store, name),
    socketFolder: run,
    tpmSocket: join(run, "swtpm"),
    allowTcg: true,
    kvmUsable: false,
    net: { kind: "user" },
    ...changes,
  };
}

interface Machine {
  qmp: Qmp;
  pid: number;
}

/** Starts a VM as its owner does. "DIR" stands for the folder of its files. */
async function startSource(words: readonly string[]): Promise<Machine> {
  const socket = join(folder, "source.qmp");
  const qemu = startChild([
    program,
    ...words.map((word) => word.replaceAll("DIR", folder)),
    ...["-S", "-qmp", `unix:${socket},server=on,wait=off`],
  ]);
  return { qmp: await monitorAt(socket, qemu), pid: qemu.pid };
}

/** Starts what a destination makes of the command line that the source's process has. */
async function startDestination(source: Machine, changes: Partial<QemuPlace> = {}): Promise<Machine> {
  const definition = parseDefinition(argumentsOf(source.pid)!);
  for (const file of definition.files) copyFileSync(file.path, join(store, file.name));
  const qemu = startChild(commandLine(definition, place(changes)), { cwd: "/" });
  return { qmp: await monitorAt(join(run, "qmp"), qemu), pid: qemu.pid };
}

async function status(qmp: Qmp): Promise<unknown> {
  return ((await qmp.execute("query-status")) as { status: unknown }).status;
}

/** Moves RAM and devices as QEMU does, and lets the VM run at the destination. Throws where QEMU cannot. */
async function move(source: Qmp, destination: Qmp): Promise<void> {
  const uri = `unix:${join(folder, "ram")}`;
  const ended = async (qmp: Qmp) => {
    const { status = "", ...rest } = (await qmp.execute("query-migrate")) as { status?: string };
    if (status === "failed") throw new Error(`failed: ${JSON.stringify(rest)}`);
    return status === "completed";
  };
  await destination.execute("migrate-incoming", { uri });
  await source.execute("migrate", { uri });
  await until(() => ended(source), "the stream's end at the source", 60_000);
  await until(() => ended(destination), "the stream's end at the destination", 60_000);
  await destination.execute("cont");
  expect(await status(destination)).toBe("running");
}

/** The names of all devices that QEMU has, by where they are. */
async function devicesOf(qmp: Qmp): Promise<Record<string, string[]>> {
  const devices: Record<string, string[]> = {};
  for (const path of ["/machine/peripheral", "/machine/peripheral-anon", "/machine/unattached", "/objects"]) {
    const list = (await qmp.execute("qom-list", { path })) as { name: string; type: string }[];
    devices[path] = list.map(({ name, type }) => `${name} ${type}`).sort();
  }
  devices.pci = [JSON.stringify(await qmp.execute("query-pci")).replaceAll(/"address":-?\d+/g, "")];
  return devices;
}

const blockdev = (node: string, file: string, more: object = {}) =>
  JSON.stringify({ driver: "file", "node-name": node, filename: `DIR/${file}`, ...more });

const vms: readonly (readonly [what: string, words: readonly string[], changes?: Partial<QemuPlace>])[] = [
  [
    "a PC with virtio devices on the command line",
    [
      ...[
        "-name",
        "guest=web1,debug-threads=on",
        "-machine",
        "pc,usb=on,vmport=off",
        "-accel",
        "tcg,thread=single",
      ],
      ...["-cpu", "qemu64,+ssse3", "-m", "64M,slots=2,maxmem=256M", "-smp", "2,sockets=1,cores=2,threads=1"],
      ...["-nodefaults", "-display", "none", "-vga", "std", "-uuid", "12345678-1234-1234-1234-123456789abc"],
      ...["-drive", "file=DIR/a.raw,format=raw,if=virtio,cache=writeback,discard=unmap,iops=1000"],
      ...[
        "-drive",
        "file=DIR/b.qcow2,format=qcow2,if=none,id=two,werror=stop",
        "-device",
        "virtio-scsi-pci,id=s",
      ],
      ...["-device", "scsi-hd,drive=two,bus=s.0,serial=two, too", "-cdrom", "DIR/cd.iso"],
      ...["-netdev", "user,id=n0,hostfwd=tcp:127.0.0.1:0-:22,net=10.0.3.0/24"],
      ...["-device", "virtio-net-pci,netdev=n0,mac=52:54:00:12:34:57,romfile="],
      ...["-object", "rng-random,id=r,filename=/dev/urandom", "-device", "virtio-rng-pci,rng=r"],
      ...["-device", "virtio-balloon-pci", "-device", "usb-tablet", "-device", "virtio-serial-pci"],
      ...["-chardev", "socket,id=agent,path=DIR/agent,server=on,wait=off"],
      ...["-device", "virtserialport,chardev=agent,name=org.qemu.guest_agent.0"],
      ...[
        "-chardev",
        "file,id=con,path=DIR/con.log",
        "-serial",
        "chardev:con",
        "-serial",
        "file:DIR/second.log",
      ],
      ...["-rtc", "base=utc,driftfix=slew", "-boot", "order=c,menu=on", "-no-hpet", "-monitor", "none"],
      ...[
        "-global",
        "PIIX4_PM.disable_s3=1",
        "-smbios",
        "type=1,serial=ds=nocloud;s=http://x/",
        "-no-reboot",
      ],
    ],
  ],
  [
    "a PC with all that QEMU adds by itself, on a terminal",
    ["-m", "64", "-nographic", "-hda", "DIR/a.raw", "-drive", "file=DIR/b.qcow2,format=qcow2"],
  ],
  [
    "the same without a network of its own",
    ["-m", "64", "-display", "none", "-vnc", "none", "-monitor", "null", "DIR/b.qcow2"],
    { net: { kind: "none" } },
  ],
  [
    "a q35 in JSON, as libvirt writes it",
    [
      ...[
        "-machine",
        "pc-q35-7.2,usb=off,dump-guest-core=off,memory-backend=pc.ram,pflash0=code,pflash1=vars",
      ],
      ...["-accel", "tcg", "-m", "size=65536k", "-nodefaults", "-no-user-config", "-display", "none"],
      ...["-object", '{"qom-type":"memory-backend-ram","id":"pc.ram","size":67108864}'],
      ...["-object", '{"qom-type":"iothread","id":"io1"}', "-msg", "timestamp=on"],
      ...["-blockdev", blockdev("code-file", "bios.bin", { "auto-read-only": true, discard: "unmap" })],
      ...["-blockdev", '{"driver":"raw","node-name":"code","read-only":true,"file":"code-file"}'],
      ...["-blockdev", blockdev("vars", "vars.fd")],
      ...["-blockdev", blockdev("s2", "b.qcow2", { "auto-read-only": true, cache: { direct: false } })],
      ...["-blockdev", '{"driver":"qcow2","node-name":"f2","file":"s2","backing":null,"read-only":false}'],
      ...["-blockdev", "driver=raw,node-name=f3,file.driver=file,file.filename=DIR/a.raw,cache.direct=off"],
      ...[
        "-device",
        '{"driver":"pcie-root-port","port":16,"chassis":1,"id":"pci.1","bus":"pcie.0","addr":"0x2"}',
      ],
      ...[
        "-device",
        '{"driver":"pcie-root-port","port":17,"chassis":2,"id":"pci.2","bus":"pcie.0","addr":"0x3"}',
      ],
      ...["-device", '{"driver":"qemu-xhci","p2":15,"p3":15,"id":"usb","bus":"pci.2","addr":"0x0"}'],
      ...[
        "-device",
        '{"driver":"virtio-blk-pci","iothread":"io1","bus":"pci.1","drive":"f2","id":"d0","bootindex":1,"write-cache":"on"}',
      ],
      ...["-device", '{"driver":"ide-hd","bus":"ide.1","drive":"f3","id":"sata0-0-1"}'],
      ...["-device", '{"driver":"usb-tablet","id":"input0","bus":"usb.0","port":"1"}'],
      // QEMU makes this one first, as it is no JSON.
      ...[
        "-device",
        "virtio-vga,max_outputs=1",
        "-netdev",
        '{"type":"socket","id":"net0","listen":"127.0.0.1:0"}',
      ],
      ...["-device", '{"driver":"e1000e","netdev":"net0","id":"net0","mac":"52:54:00:aa:bb:cc"}'],
      ...[
        "-chardev",
        "pty,id=charserial0",
        "-device",
        '{"driver":"isa-serial","chardev":"charserial0","index":0}',
      ],
      ...["-chardev", "socket,id=charmonitor,path=DIR/mon,server=on,wait=off"],
      ...["-mon", "chardev=charmonitor,id=monitor,mode=control"],
      ...[
        "-audiodev",
        '{"id":"audio1","driver":"none"}',
        "-device",
        '{"driver":"ich9-intel-hda","id":"sound0"}',
      ],
      ...["-device", '{"driver":"hda-duplex","bus":"sound0.0","cad":0,"audiodev":"audio1"}'],
      ...["-global", "ICH9-LPC.disable_s3=1", "-global", "driver=cfi.pflash01,property=secure,value=off"],
    ],
    { net: { kind: "none" } },
  ],
  [
    "a PC with firmware, NUMA nodes and old devices",
    [
      ...["-M", "pc,accel=tcg", "-m", "64", "-nodefaults", "-vga", "cirrus", "-display", "none", "-usb"],
      ...[
        "-bios",
        "DIR/bios.bin",
        "-smp",
        "2",
        "-usbdevice",
        "tablet",
        "-no-acpi",
        "-overcommit",
        "cpu-pm=off",
      ],
      ...[
        "-object",
        "memory-backend-ram,id=m0,size=32M",
        "-object",
        "memory-backend-memfd,id=m1,size=32M,share=on",
      ],
      ...["-numa", "node,nodeid=0,cpus=0,memdev=m0", "-numa", "node,nodeid=1,cpus=1,memdev=m1"],
      ...["-numa", "dist,src=0,dst=1,val=20", "-nic", "user,model=e1000,mac=52:54:00:12:34:58"],
      ...["-nic", "socket,listen=127.0.0.1:0,model=rtl8139", "-drive", "if=ide,media=cdrom,index=2"],
      ...["-drive", "file=DIR/a.raw,format=raw,if=none,id=d,readonly=on", "-device", "usb-storage,drive=d"],
      ...[
        "-device",
        "i6300esb",
        "-watchdog-action",
        "reset",
        "-device",
        "pvpanic",
        "-device",
        "vmgenid,guid=auto",
      ],
      ...["-chardev", "ringbuf,id=rb,size=64k", "-serial", "chardev:rb", "-parallel", "none"],
      ...["-chardev", "stdio,id=mux,mux=on,signal=off", "-serial", "chardev:mux", "-mon", "chardev=mux"],
    ],
  ],
];

test.each(vms)(
  "%s goes on in the QEMU that its definition starts",
  async (_, words, changes) => {
    const source = await startSource(words);
    const destination = await startDestination(source, changes);
    expect(await status(destination.qmp)).toBe("inmigrate");
    expect(await devicesOf(destination.qmp)).toEqual(await devicesOf(source.qmp));
    await move(source.qmp, destination.qmp);
    // A VM that arrived can be sent on: nothing is in its command line that would be refused.
    const arrived = argumentsOf(destination.pid)!;
    expect(commandLine(parseDefinition(arrived), place(changes))).toEqual(arrived);
  },
  120_000,
);

test("a VM with a TPM goes on with the destination's swtpm", async () => {
  for (const [socket, state] of [
    ["source.tpm", "tpm-a"],
    ["run/swtpm", "tpm-b"],
  ] as const) {
    mkdirSync(join(folder, state));
    startChild([
      ...[findProgram("swtpm")!, "socket", "--tpm2", "--tpmstate", `dir=${join(folder, state)}`],
      ...["--ctrl", `type=unixio,path=${join(folder, socket)}`],
    ]);
    await until(() => existsSync(join(folder, socket)), "swtpm's socket");
  }
  const source = await startSource([
    ...["-accel", "tcg", "-m", "64", "-nodefaults", "-display", "none"],
    ...["-chardev", "socket,id=chrtpm,path=DIR/source.tpm", "-tpmdev", "emulator,id=tpm0,chardev=chrtpm"],
    ...["-device", "tpm-crb,tpmdev=tpm0"],
  ]);
  const definition = parseDefinition(argumentsOf(source.pid)!);
  expect(definition).toMatchObject({ hasTpm: true, tpmSocket: join(folder, "source.tpm") });
  const destination = await startDestination(source);
  await move(source.qmp, destination.qmp);
}, 60_000);

test.each(["drive", "blockdev"])(
  "what a hostile image names below itself is not opened (%s)",
  async (form) => {
    const image = join(folder, "hostile.qcow2");
    await runChild([
      "qemu-img",
      "create",
      "-q",
      "-u",
      "-f",
      "qcow2",
      "-F",
      "raw",
      "-b",
      join(folder, "secret"),
      image,
      "1M",
    ]);
    writeFileSync(join(folder, "secret"), "secret");
    const words =
      form === "drive"
        ? ["-drive", `file=${image},format=qcow2,if=virtio`]
        : [
            ...["-blockdev", `driver=qcow2,node-name=n,file.driver=file,file.filename=${image}`],
            ...["-device", "virtio-blk-pci,drive=n"],
          ];
    const definition = parseDefinition([program, "-accel", "tcg", "-nodefaults", ...words]);
    copyFileSync(image, join(store, basename(image)));
    const qemu = startChild(commandLine(definition, place()), { cwd: "/" });
    const qmp = await monitorAt(join(run, "qmp"), qemu);
    const nodes = (await qmp.execute("query-named-block-nodes")) as { file: string }[];
    expect(nodes.length).toBeGreaterThan(0);
    expect([...new Set(nodes.map(({ file }) => file))]).toEqual([join(store, "hostile.qcow2")]);
  },
  60_000,
);
