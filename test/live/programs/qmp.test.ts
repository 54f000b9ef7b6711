/** The QMP client, the process behind a socket, and `migrate ls`, against a real QEMU without a guest. */
import { afterEach, beforeEach, expect, test } from "bun:test";
import { existsSync, mkdirSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as v from "valibot";
import { peerProcess } from "../../../src/platform/peer-process.ts";
import {
  argumentsOf,
  isRunning,
  processId,
  signalProcess,
  waitForEnd,
} from "../../../src/platform/process-id.ts";
import { MigrateError } from "../../../src/protocol/errors.ts";
import { hostVms } from "../../../src/vm/qemu/host-vms.ts";
import { Qmp } from "../../../src/vm/qemu/qmp/qmp.ts";
import { QmpError } from "../../../src/vm/qemu/qmp/qmp-error.ts";
import { type Child, killChildren, startChild } from "../../support/system/child.ts";
import { withDeadline } from "../../support/system/deadline.ts";
import { runMigrate } from "../../support/system/process.ts";
import { until } from "../../support/system/until.ts";

let folder: string;
let path: string;
let clients: Qmp[];
beforeEach(() => {
  folder = realpathSync(mkdtempSync(join(tmpdir(), "migrate-qmp-live-")));
  path = join(folder, "qmp");
  clients = [];
});
afterEach(async () => {
  for (const client of clients) client.close();
  await killChildren();
  rmSync(folder, { recursive: true, force: true });
});

const words = () => ["-machine", "none", "-display", "none", "-qmp", `unix:${path},server=on,wait=off`];

/** Starts QEMU and waits until it listens. */
async function startQemu(...more: string[]): Promise<Child> {
  const child = startChild(["qemu-system-x86_64", ...words(), ...more], { cwd: folder });
  // It makes the file before it listens there.
  await until(() => existsSync(path) && listens(), `${path}; ${child.stderr()}`, 30_000);
  return child;
}

function listens(): boolean {
  try {
    peerProcess(path);
    return true;
  } catch {
    return false;
  }
}

async function connect(): Promise<Qmp> {
  const qmp = await Qmp.connect(path);
  clients.push(qmp);
  return qmp;
}

async function failure(promise: Promise<unknown>): Promise<unknown> {
  return await withDeadline(
    promise.then(
      () => undefined,
      (thrown: unknown) => thrown,
    ),
    30_000,
    "a failure",
  );
}

test("commands are answered and refused, and the end is told by an event", async () => {
  const child = await startQemu();
  const qmp = await connect();
  expect(qmp.version.major).toBeGreaterThanOrEqual(7);
  expect(await qmp.execute("query-status")).toMatchObject({ status: "running" });
  expect(await failure(qmp.execute("no-such-command"))).toMatchObject({
    kind: "refused",
    errorClass: "CommandNotFound",
  });
  // The longest answer there is, some 200 KiB in many pieces.
  const schema = await qmp.ask(v.array(v.unknown()), "query-qmp-schema");
  expect(schema.length).toBeGreaterThan(500);
  const shutdown = qmp.nextEvent("SHUTDOWN", ({ data }) => data.reason === "host-qmp-quit", {
    timeoutMs: 20_000,
  });
  await qmp.execute("quit");
  const { atMs } = await shutdown;
  expect(Math.abs(atMs - Date.now())).toBeLessThan(60_000);
  expect((await withDeadline(qmp.closed, 20_000, "closed")).kind).toBe("interrupted");
  expect((await child.exit).code).toBe(0);
});

test("a QEMU that is killed interrupts the command that waits", async () => {
  const child = await startQemu();
  const qmp = await connect();
  // A stopped process answers nothing, so that the command surely waits.
  child.signal("SIGSTOP");
  const waiting = qmp.execute("query-status");
  child.signal("SIGKILL");
  const thrown = await failure(waiting);
  await child.exit;
  expect(thrown).toBeInstanceOf(QmpError);
  expect(thrown).toMatchObject({ kind: "interrupted", command: "query-status" });
  expect(await failure(Qmp.connect(path))).toMatchObject({ message: `Nobody listens on ${path}` });
});

test("a QEMU that stands still is silent, and answers again once it goes on", async () => {
  const child = await startQemu();
  const qmp = await connect();
  child.signal("SIGSTOP");
  expect(await failure(qmp.execute("query-name", undefined, { timeoutMs: 50 }))).toMatchObject({
    kind: "silent",
  });
  child.signal("SIGCONT");
  expect(await qmp.execute("query-status")).toMatchObject({ status: "running" });
});

test("a second program is told that another holds the socket, however many come, and gets it afterwards", async () => {
  await startQemu();
  const first = await connect();
  for (let count = 0; count < 4; count++) {
    const thrown = await failure(Qmp.connect(path, { timeoutMs: 50 }));
    expect(thrown).toBeInstanceOf(MigrateError);
    expect(thrown).toMatchObject({
      code: "vm-invalid",
      message: `The QEMU behind ${path} does not answer: another program is likely to hold this socket`,
    });
  }
  first.close();
  // It first takes the calls that were given up while it could not.
  expect(await (await connect()).execute("query-status")).toMatchObject({ status: "running" });
});

test("the process behind the socket is QEMU, with its arguments, and can be ended", async () => {
  const child = await startQemu("-name", "two words");
  const id = peerProcess(path);
  expect(id).toEqual(processId(child.pid)!);
  expect(argumentsOf(id.pid)).toEqual(["qemu-system-x86_64", ...words(), "-name", "two words"]);
  // The question itself leaves the socket free for us.
  expect((await connect()).peer).toEqual(id);
  expect(signalProcess(id, "SIGTERM")).toBe(true);
  expect(await waitForEnd(id, 20_000)).toBe(true);
  await child.exit;
  expect(isRunning(id)).toBe(false);
});

test("migrate ls shows what runs, and a VM that runs from the store only once", async () => {
  mkdirSync(join(folder, "web1"));
  writeFileSync(join(folder, "web1", "disk.img"), new Uint8Array(1024 * 1024));
  const files = [{ kind: "disk", file: "disk.img" }];
  writeFileSync(
    join(folder, "web1", "vm.json"),
    JSON.stringify({ format: "migrate-vm/1", name: "web1", files }),
  );
  const own = () => hostVms().filter((vm) => vm.qmpPath === path);
  const list = async () => {
    const migrate = runMigrate(["ls", "--store", folder, "--json"], { home: join(folder, "home") });
    expect(await migrate.exit).toMatchObject({ code: 0 });
    const where = [`qmp:${path}`, join(folder, "web1")];
    return migrate.events.filter((event) => "where" in event && where.includes(String(event.where)));
  };
  expect(own()).toEqual([]);
  expect(await list()).toMatchObject([{ event: "vm", name: "web1", state: "stored" }]);
  const more = ["-name", "guest=web1", "-m", "32", "-drive", "file=web1/disk.img,format=raw,if=none"];
  const child = await startQemu(...more);
  const disks = [join(folder, "web1/disk.img")];
  expect(own()).toEqual([
    {
      process: processId(child.pid)!,
      name: "web1",
      ramBytes: 2 ** 25,
      disks,
      qmpPath: path,
      hasTpm: false,
      isLibvirts: false,
    },
  ]);
  const running = { name: "web1", state: "running", ramBytes: 2 ** 25, disks, tpm: false, pid: child.pid };
  expect(await list()).toMatchObject([{ event: "vm", ...running, where: `qmp:${path}` }]);
});

/** The rows of `migrate ls` about this test's folder. */
async function listed(...words: string[]): Promise<Record<string, unknown>[]> {
  const migrate = runMigrate(["ls", ...words, "--json"], { home: join(folder, "home") });
  expect(await migrate.exit).toMatchObject({ code: 0 });
  const rows = migrate.events as unknown as Record<string, unknown>[];
  return rows.filter((row) => JSON.stringify(row).includes(folder));
}

test("migrate ls says of a VM that is paused that it is, and of one whose QEMU serves another that it is busy", async () => {
  await startQemu("-name", "web1", "-S");
  expect(await listed()).toMatchObject([{ name: "web1", state: "prelaunch", where: `qmp:${path}` }]);
  const qmp = await connect();
  await qmp.execute("cont");
  await qmp.execute("stop");
  expect(await listed()).toMatchObject([{ name: "web1", state: "busy" }]);
  qmp.close();
  expect(await listed()).toMatchObject([{ name: "web1", state: "paused" }]);
});

test("migrate ls shows a VM of the store that libvirt runs as running, and as libvirt's", async () => {
  mkdirSync(join(folder, "web1"));
  writeFileSync(join(folder, "web1", "disk.img"), new Uint8Array(1024 * 1024));
  const files = [{ kind: "disk", file: "disk.img" }];
  const manifest = { format: "migrate-vm/1", name: "web1", files };
  writeFileSync(join(folder, "web1", "vm.json"), JSON.stringify(manifest));
  writeFileSync(join(folder, "master-key.aes"), new Uint8Array(32));
  const key = `secret,id=masterKey0,format=raw,file=${join(folder, "master-key.aes")}`;
  const disk = `file=${join(folder, "web1", "disk.img")},format=raw,if=none`;
  const child = await startQemu("-name", "guest=web1", "-object", key, "-drive", disk);
  const row = { name: "web1", state: "running", where: null, manager: "libvirt", pid: child.pid };
  expect(await listed("--store", folder)).toMatchObject([row]);
  // What would move it is told whose it is, whoever holds its socket.
  await connect();
  for (const words of [
    ["send", `qmp:${path}`, "127.0.0.1:1", "--insecure"],
    ["explain", `qmp:${path}`],
  ]) {
    const migrate = runMigrate([...words, "--json"], { home: join(folder, "home") });
    expect(await migrate.exit).toMatchObject({ code: 6 });
    expect(JSON.stringify(migrate.events)).toContain("libvirt runs this VM");
  }
});
