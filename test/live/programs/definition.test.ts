/**
 * VMs as people start them, and the command lines that a destination makes of theirs: QEMU itself says
 * whether the two are the same VM, by taking the one's migration stream in the other.
 */
import { expect, test } from "bun:test";
import { copyFileSync, existsSync, mkdirSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { argumentsOf } from "../../../src/platform/process-id.ts";
import { commandLine, type QemuPlace } from "../../../src/vm/qemu/definition/command-line.ts";
import { parseDefinition } from "../../../src/vm/qemu/definition/definition.ts";
import { Qmp } from "../../support/guests/qmp.ts";
import { barePc, nographicPc, oldPc, q35InJson, virtioPc } from "../../support/guests/typical-vms.ts";
import { findProgram } from "../../support/runner/needs.ts";
import { type Child, runChild, startChild } from "../../support/system/child.ts";
import { listening } from "../../support/system/listening.ts";
import { eachTestInFolder } from "../../support/system/test-folder.ts";
import { callSocket } from "../../support/system/unix-socket.ts";
import { until } from "../../support/system/until.ts";

const firmware = "/usr/share/seabios/bios-256k.bin";
const program = "qemu-system-x86_64";

let folder: string;
let store: string;
let run: string;

eachTestInFolder("def-", async (made) => {
  folder = made;
  store = join(folder, "store");
  run = join(folder, "run");
  for (const path of [store, run]) mkdirSync(path);
  writeFileSync(join(folder, "a.raw"), "");
  truncateSync(join(folder, "a.raw"), 2 ** 20);
  writeFileSync(join(folder, "vars.fd"), new Uint8Array(131_072));
  writeFileSync(join(folder, "cd.iso"), new Uint8Array(65_536));
  copyFileSync(firmware, join(folder, "bios.bin"));
  await runChild(["qemu-img", "create", "-q", "-f", "qcow2", join(folder, "b.qcow2"), "1M"]);
});

/** QEMU's monitor at a path, once it is there. Throws what QEMU wrote where it ends instead. */
async function monitorAt(path: string, qemu: Child): Promise<Qmp> {
  const failed = qemu.exit.then((): never => {
    throw new Error(`${qemu.command.join(" ")}\nended: ${qemu.stderr()}`);
  });
  failed.catch(() => {});
  const answers = listening(path).then(async () => Qmp.negotiate(await callSocket(path)));
  // A QEMU that fails resets the connection first: what it wrote says more.
  return await Promise.race([answers.catch(() => failed), failed]);
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

/** Those that have no user network can go where there is none. */
const none = { kind: "none" } as const;
const user = { kind: "user" } as const;

test.each([
  [virtioPc.what, virtioPc, user],
  [nographicPc.what, nographicPc, user],
  [barePc.what, barePc, user],
  [`${barePc.what}, cut off from all networks`, barePc, none],
  [q35InJson.what, q35InJson, none],
  [oldPc.what, oldPc, user],
  [`${oldPc.what}, cut off from all networks`, oldPc, none],
] as const)(
  "%s goes on in the QEMU that its definition starts",
  async (_, { words }, net) => {
    const source = await startSource(words);
    const destination = await startDestination(source, { net });
    expect(await status(destination.qmp)).toBe("inmigrate");
    expect(await devicesOf(destination.qmp)).toEqual(await devicesOf(source.qmp));
    await move(source.qmp, destination.qmp);
    // A VM that arrived can be sent on: nothing is in its command line that would be refused.
    const arrived = argumentsOf(destination.pid)!;
    expect(commandLine(parseDefinition(arrived), place({ net }))).toEqual(arrived);
  },
  120_000,
);

/** A new TPM with its control socket at a path, once it listens: it writes its pid then. */
async function startTpm(socket: string, state: string): Promise<void> {
  mkdirSync(state);
  const pid = join(state, "pid");
  startChild([
    ...[findProgram("swtpm")!, "socket", "--tpm2", "--tpmstate", `dir=${state}`],
    ...["--ctrl", `type=unixio,path=${socket}`, "--pid", `file=${pid}`],
  ]);
  await until(() => existsSync(pid), "swtpm to listen");
}

test("a VM with a TPM goes on with the destination's swtpm", async () => {
  await startTpm(join(folder, "source.tpm"), join(folder, "tpm-a"));
  await startTpm(join(run, "swtpm"), join(folder, "tpm-b"));
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

const hostileImage = {
  drive: ["-drive", "file=DIR/hostile.qcow2,format=qcow2,if=virtio"],
  blockdev: [
    ...["-blockdev", "driver=qcow2,node-name=n,file.driver=file,file.filename=DIR/hostile.qcow2"],
    ...["-device", "virtio-blk-pci,drive=n"],
  ],
};

test.each(["drive", "blockdev"] as const)(
  "what a hostile image names below itself stays shut (%s)",
  async (form) => {
    const secret = join(folder, "secret");
    writeFileSync(secret, "secret");
    const image = join(folder, "hostile.qcow2");
    await runChild(["qemu-img", "create", "-q", "-u", "-f", "qcow2", "-F", "raw", "-b", secret, image, "1M"]);
    copyFileSync(image, join(store, "hostile.qcow2"));
    const words = hostileImage[form].map((word) => word.replaceAll("DIR", folder));
    const definition = parseDefinition([program, "-accel", "tcg", "-nodefaults", ...words]);
    const qemu = startChild(commandLine(definition, place()), { cwd: "/" });
    const qmp = await monitorAt(join(run, "qmp"), qemu);
    const nodes = (await qmp.execute("query-named-block-nodes")) as { drv: string; file: string }[];
    expect(nodes.map(({ drv }) => drv).sort()).toEqual(["file", "qcow2"]);
    expect(JSON.stringify(nodes.map(({ file }) => file))).not.toContain("secret");
  },
  60_000,
);
