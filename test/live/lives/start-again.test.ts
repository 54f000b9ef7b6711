/** A VM that arrived while it ran, and whose QEMU has ended: it is started again from what its vm.json says it is. */
import { describe, expect, test } from "bun:test";
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readFileSync,
  realpathSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { basename, join } from "node:path";
import { argumentsOf, isRunning, type ProcessId } from "../../../src/platform/process-id.ts";
import { modelOf, parseDefinition } from "../../../src/vm/qemu/definition/definition.ts";
import { ArrivedGuest } from "../../support/guests/arrived-guest.ts";
import { expectConfined, expectLimited } from "../../support/guests/seen/confined-program.ts";
import { callMonitor } from "../../support/guests/seen/monitor.ts";
import { ticksOnDisk } from "../../support/guests/tick-disk.ts";
import { tpmSealedLine } from "../../support/guests/tpm-guest.ts";
import type { RunningHosts } from "../../support/moves/running-hosts.ts";
import { eachTestHasRunningHosts } from "../../support/moves/running-hosts-of-tests.ts";
import { doneOf, expectMoved } from "../../support/moves/whole-move.ts";
import { LoopDevices } from "../../support/system/loop-devices.ts";
import { rightsOf } from "../../support/system/process-rights.ts";
import { until } from "../../support/system/until.ts";

let at: RunningHosts;

eachTestHasRunningHosts((made) => {
  at = made;
});

const mac = "52:54:00:aa:bb:01";
const card = ["-netdev", "user,id=n0,restrict=on", "-device", `e1000,id=card,netdev=n0,mac=${mac}`];
const secret = "S3CRET-TOKEN";
/** What of a source's command line is nobody else's affair. */
const own = [
  "-netdev",
  `user,id=n1,guestfwd=tcp:10.0.2.100:1-cmd:/bin/true ${secret}`,
  "-device",
  "e1000,netdev=n1",
];

const startWords = (...words: string[]) => ["start", "web1", "--store", at.hosts.store, ...words];

/** `migrate start`, to its end. */
async function start(...words: string[]) {
  const starting = at.hosts.destination(words.length > 0 ? words : startWords());
  const { code } = await starting.exit;
  return {
    code,
    event: starting.events.at(-1) as Record<string, unknown> | undefined,
    stderr: starting.stderr(),
  };
}

async function quit(guest: ArrivedGuest): Promise<void> {
  const process = guest.noted()!.qemu!;
  const monitor = await callMonitor(guest.qmpPath, () => guest.isRunning());
  await monitor.execute("quit").catch(() => {});
  monitor.close();
  await gone(process);
  const swtpm = guest.noted()?.swtpm;
  if (swtpm) await gone(swtpm);
}

const gone = (process: ProcessId) => until(() => !isRunning(process), `the end of process ${process.pid}`);

/** What the guest could see of its machine. */
async function machineOf(guest: ArrivedGuest) {
  const monitor = await callMonitor(guest.qmpPath, () => guest.isRunning());
  const read = (path: string, property: string) => monitor.execute("qom-get", { path, property });
  const machine = {
    mac: await read("/machine/peripheral/card", "mac"),
    memory: await monitor.execute("query-memory-size-summary"),
    type: await read("/machine", "type"),
  };
  monitor.close();
  return machine;
}

test("it boots with the disks, the TPM, the memory and the MAC address that it had, and can be sent on", async () => {
  const guest = await at.guest({
    tpm: true,
    append: "tpm=extend",
    disks: [{ name: "data.raw", format: "raw" }],
    extraArgs: [...card, ...own],
  });
  await guest.log.waitUntil((text) => text.includes(tpmSealedLine), "the sealing");
  await guest.waitForTick(2);
  await at.serve();
  const explaining = at.hosts.source(["explain", `qmp:${guest.qmpPath}`]);
  expect((await explaining.exit).code).toBe(0);
  const { command: explained } = (await explaining.waitFor("explanation")) as { command?: unknown };
  const sending = at.send(guest);
  await doneOf(sending);
  // What becomes of its cards is said before anything of it is sent.
  const begun = sending.events.findIndex(
    (event) => event.event === "progress" && Number(event.doneBytes) > 0,
  );
  const said = JSON.stringify(sending.events.slice(0, begun).filter(({ event }) => event === "notice"));
  expect(said).toContain(`card 0 (\\"n0\\", ${mac}): a user network that reaches nothing at the source`);
  expect(said).toContain("at the destination nothing");
  const there = await expectMoved(at, guest);

  // [MODEL-1] [MODEL-5]
  const folder = join(at.hosts.store, "web1");
  const { definition } = JSON.parse(readFileSync(join(folder, "vm.json"), "utf8"));
  const journal = join(at.hosts.destinationHome, "journal.sqlite");
  for (const path of [journal, `${journal}-wal`, join(folder, "vm.json")]) {
    if (!existsSync(path)) continue;
    const text = readFileSync(path, "latin1");
    for (const word of [secret, guest.options.folder, "guestfwd", "qemu-system"])
      expect(text).not.toContain(word);
  }

  const before = await machineOf(there);
  const command = argumentsOf(there.pid!)!;
  // What was explained is what was started, but for what only this host knows.
  const named = command.map((word) =>
    word.replaceAll(`${there.folder}/vm/`, "STORE/web1/").replaceAll(`${there.folder}/`, "RUN/"),
  );
  expect([basename(named[0]!), ...named.slice(1, -2)]).toEqual(explained as string[]);
  expect((await start()).event).toMatchObject({ event: "started", wasThere: true, pid: there.pid });
  await quit(there);
  const disk = { path: join(folder, "data.raw"), format: "raw" } as const;
  const written = await ticksOnDisk(disk);
  expect(written.length).toBeGreaterThan(2);
  await killedStarts(there);

  const starting = at.hosts.destination(startWords(), {
    env: { LD_BIND_NOT: "1", GCONV_PATH: "/x", TOKEN: secret },
  });
  const { code } = await starting.exit;
  const event = starting.events.at(-1);
  expect({ code, stderr: starting.stderr() }).toMatchObject({ code: 0 });
  for (const process of [there.noted()!.qemu!, there.noted()!.swtpm!]) {
    const given = readFileSync(`/proc/${process.pid}/environ`, "utf8").split("\0").filter(Boolean);
    expect(given.map((one) => one.split("=")[0]).sort()).toEqual(["LANG", "PATH"]);
  }
  expect(event).toMatchObject({ event: "started", name: "web1", qmp: there.qmpPath });
  const user = rightsOf(there.pid!).uids[0]!;
  expect(user).toBeGreaterThan(1_900_000_000 - 1);
  for (const { pid } of [there.noted()!.qemu!, there.noted()!.swtpm!]) {
    expectConfined(pid, user);
    expectLimited(pid);
  }
  await there.log.waitUntil((text) => text.includes(tpmSealedLine), "the boot, and a look into the TPM");
  await there.waitForTick(1);
  expect(await machineOf(there)).toEqual(before);
  // But for what waits for a stream, it is the QEMU of its arrival.
  const again = argumentsOf(there.pid!)!;
  expect(again).toEqual(command.filter((word) => word !== "-incoming" && word !== "defer"));
  expect(modelOf(parseDefinition(again)).machine).toBe(definition.machine);
  const bytes = readFileSync(disk.path);
  // The guest counts from 1 again, over its old ticks: those that it has not come to are as they were.
  const last = written.at(-1)!;
  expect(bytes.toString("latin1", last * 512, last * 512 + 5)).toBe("tick ");

  const back = await at.back();
  await doneOf(back.send(`qmp:${there.qmpPath}`));
  const home = new ArrivedGuest(back.destinationHome, "web1");
  expect((await machineOf(home)).mac).toBe(mac);
  await home.waitForTick(1);

  // What was sent away is not started a second time, whatever its name is now.
  const left = await start("start", `${folder}.migrated`);
  expect(left.code).toBe(7);
  expect(left.event).toMatchObject({ event: "error", code: "not-owner" });
}, 180_000);

/**
 * Kills starts at one moment after the other: none leaves anything that keeps the next one from its work. In the end
 * nothing of the VM runs.
 */
async function killedStarts(guest: ArrivedGuest): Promise<void> {
  const moments: [string, () => boolean][] = [
    ["its run folder", () => existsSync(join(guest.folder, "processes.json"))],
    ["its swtpm", () => guest.noted()?.swtpm != null],
    ["its QEMU's socket", () => existsSync(guest.qmpPath)],
    ["its QEMU", () => guest.noted()?.qemu != null],
  ];
  for (const [what, isThere] of moments) {
    rmSync(guest.folder, { recursive: true, force: true });
    const starting = at.hosts.destination(startWords());
    await until(isThere, what);
    await starting.kill("SIGKILL");
    const { code, event } = await start();
    expect({ what, code, event }).toMatchObject({ what, code: 0, event: { event: "started" } });
    await quit(guest);
    expect(at.processesAtDestination()).toEqual([]);
  }
}

describe("a VM is not started", () => {
  const write = (manifest: Record<string, unknown>) => {
    const folder = join(at.folder, "lying");
    mkdirSync(folder, { recursive: true });
    writeFileSync(join(folder, "data.raw"), "x".repeat(512));
    writeFileSync(
      join(folder, "vm.json"),
      JSON.stringify({ format: "migrate-vm/1", name: "lying", ...manifest }),
    );
    return realpathSync(folder);
  };
  const files = [{ kind: "disk", file: "data.raw" }];
  const ownership = {
    state: "owner",
    session: "ab".repeat(16),
    from: "insecure",
    since: "2030-01-31T12:00:00.000Z",
  };
  const definition = modelOf(
    parseDefinition([
      "qemu-system-x86_64",
      "-m",
      "16",
      "-nodefaults",
      "-drive",
      "file=/x/data.raw,format=raw,if=virtio",
    ]),
  );

  test("whose vm.json does not say that it is this host's, or what it is", async () => {
    const ram = [...files, { kind: "ram", file: "r" }];
    for (const [manifest, code, exit, named] of [
      [{ files, ownership }, "vm-invalid", 6, "does not say what VM"],
      [{ files: ram, ownership, definition }, "vm-invalid", 6, "suspended"],
      [
        { files, ownership, definition: { ...definition, machine: "isapc" } },
        "vm-invalid",
        6,
        "machine type",
      ],
      [{ files, ownership, definition: { ...definition, more: 1 } }, "vm-invalid", 6, "more"],
      [{ files, definition }, "not-owner", 7, "does not say that this host owns"],
      [{ files, ownership: { ...ownership, state: "copy" }, definition }, "not-owner", 7, "owns"],
    ] as const) {
      const { code: exitCode, event } = await start("start", write(manifest));
      expect(event).toMatchObject({ event: "error", code, message: expect.stringContaining(named) });
      expect(exitCode).toBe(exit);
    }
    rmSync(join(write({ files, ownership, definition }), "data.raw"));
    expect((await start("start", join(at.folder, "lying"))).event).toMatchObject({
      code: "vm-invalid",
      message: expect.stringContaining("data.raw"),
    });
    expect((await start("start", "../lying", "--store", at.folder)).code).toBe(2);
    expect(at.processesAtDestination()).toEqual([]);
  });

  test("that another QEMU runs, and not twice by two who come at once", async () => {
    const folder = write({ files, ownership, definition });
    const both = await Promise.all([start("start", folder), start("start", folder)]);
    const started = both.filter(({ event }) => event?.event === "started");
    expect(started.length).toBeGreaterThan(0);
    for (const { event } of both) if (event?.event === "error") expect(event.code).toBe("vm-busy");
    const pids = new Set(started.map(({ event }) => event!.pid));
    expect(pids.size).toBe(1);
    // Another home does not know of it, and finds it all the same.
    const elsewhere = at.hosts.source(["start", folder]);
    const { code } = await elsewhere.exit;
    expect(elsewhere.events.at(-1)).toMatchObject({ event: "error", code: "vm-running" });
    expect(code).toBe(6);
  });

  test("whose disk is a loop device, or that a program writes to", async () => {
    const folder = write({ files, ownership, definition });
    const disk = join(folder, "data.raw");
    const fd = openSync(disk, "r+");
    const held = await start("start", folder);
    expect(held.event).toMatchObject({ event: "error", code: "vm-busy" });
    expect(held.event!.message).toContain("data.raw is open for writing by");
    closeSync(fd);
    const loops = new LoopDevices();
    try {
      const device = await loops.attach(disk);
      expect((await start("start", folder)).event).toMatchObject({
        event: "error",
        message: expect.stringContaining(device),
      });
    } finally {
      await loops.close();
    }
    expect(at.processesAtDestination()).toEqual([]);
    expect((await start("start", folder)).event).toMatchObject({ event: "started" });
  });
});

test("while it runs it is not deleted; once its QEMU has ended it is, run folder and all", async () => {
  const guest = await at.guest({ tpm: true, disks: [{ name: "data.raw", format: "raw" }] });
  await guest.waitForTick(2);
  await at.serve();
  await doneOf(at.send(guest));
  const there = await expectMoved(at, guest);
  const folder = join(at.hosts.store, "web1");
  const busy = at.hosts.destination(["delete", "web1", "--yes"]);
  expect(await busy.exit).toMatchObject({ code: 6 });
  expect(busy.events.at(-1)).toMatchObject({ event: "error", code: "vm-running" });
  expect(there.isRunning()).toBe(true);
  await quit(there);
  const deleting = at.hosts.destination(["delete", "web1", "--yes"]);
  expect(await deleting.exit).toMatchObject({ code: 0 });
  expect(deleting.events.at(-1)).toMatchObject({
    event: "deleted",
    files: expect.arrayContaining(["data.raw", "tpm/tpm2-00.permall", "vm.json"]),
    left: [],
  });
  expect(existsSync(folder)).toBe(false);
  expect(existsSync(there.folder)).toBe(false);
});
