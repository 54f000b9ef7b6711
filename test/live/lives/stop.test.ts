/** A VM that runs here is ended: by its guest's power button, or at once; and nothing of it is left that runs. */
import { afterEach, beforeEach, expect, test } from "bun:test";
import { existsSync, mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Journal } from "../../../src/migration/journal/journal.ts";
import { recordOfOffer } from "../../../src/migration/journal/offer-record.ts";
import { callMonitor, statusOf } from "../../support/guests/seen/monitor.ts";
import { LivingHost } from "../../support/guests/small/living-host.ts";
import { smallUp } from "../../support/guests/small/small-guest.ts";
import { until } from "../../support/system/until.ts";

let host: LivingHost;
beforeEach(() => {
  host = new LivingHost();
});
afterEach(() => host.close(), 60_000);

test("a guest that heeds its power button switches itself off, and all that follows its QEMU ends", async () => {
  host.lay("web1");
  await host.start("web1");
  await host.hears("web1", smallUp);
  // By its name alone: the run folder knows the store.
  expect(await host.run("stop", "web1")).toMatchObject({
    code: 0,
    event: { event: "ended", how: "switched-off" },
  });
  expect(host.processes()).toEqual([]);
  // What it said stays, and nothing that anybody could call.
  expect(readdirSync(host.inRun("web1", "")).sort()).toEqual([
    "keeper.log",
    "processes.json",
    "qemu.log",
    "serial0.log",
    "vm",
  ]);
  expect(await host.run("stop", "web1")).toMatchObject({
    code: 0,
    event: { event: "ended", how: "was-off" },
  });
  // And it is started from what lies there.
  await host.start("web1");
  await host.hears("web1", smallUp);
}, 60_000);

test("one that stays after its guest is off (-no-shutdown) is ended too", async () => {
  host.lay("web1", { words: ["-no-shutdown"] });
  await host.start("web1");
  await host.hears("web1", smallUp);
  expect(await host.run("stop", "web1")).toMatchObject({ code: 0, event: { how: "switched-off" } });
  expect(host.processes()).toEqual([]);
}, 60_000);

test("one that does not listen is left as it is, and --now ends it, also while another stop waits", async () => {
  host.lay("web1", { heeds: false });
  const { qmp } = await host.start("web1");
  await host.hears("web1", smallUp);
  const ignored = await host.run("stop", "web1", "--timeout", "2s");
  expect(ignored).toMatchObject({
    code: 6,
    event: { event: "error", code: "vm-running", hint: expect.stringContaining("migrate stop web1 --now") },
  });
  expect(ignored.event!.message).toContain("within 2 s");
  const monitor = await callMonitor(String(qmp), () => true);
  expect(await statusOf(monitor)).toBe("running");
  // One that stands still cannot hear its button: that is said at once.
  await monitor.execute("stop");
  monitor.close();
  expect((await host.run("stop", "web1")).event).toMatchObject({
    message: expect.stringContaining("stands still"),
  });
  const again = await callMonitor(String(qmp), () => true);
  await again.execute("cont");
  again.close();

  const waiting = host.begin(["stop", "web1", "--timeout", "50s"]);
  await waiting.waitFor("notice", { where: ({ message }) => message.includes("told to switch itself off") });
  const now = await host.run("stop", "web1", "--now");
  expect(now).toMatchObject({ code: 0, event: { event: "ended", how: "cut" } });
  expect(now.events[0]).toMatchObject({ event: "warning", message: expect.stringContaining("power cut") });
  expect((await waiting.exit).code).toBe(0);
  expect(host.processes()).toEqual([]);
}, 90_000);

test("Ctrl-C gives the waiting up, and the guest goes on", async () => {
  host.lay("web1", { heeds: false });
  await host.start("web1");
  const waiting = host.begin(["stop", "web1"]);
  await waiting.waitFor("notice");
  expect((await waiting.kill("SIGINT")).code).toBe(130);
  expect(host.processes().length).toBeGreaterThan(1);
}, 60_000);

test("one that a move has, and one that another home runs, is refused", async () => {
  const folder = host.lay("web1");
  await host.start("web1");
  const elsewhere = host.begin(["stop", folder, "--now"], { home: join(host.folder, "other") });
  expect((await elsewhere.exit).code).toBe(6);
  expect(elsewhere.events.at(-1)).toMatchObject({
    code: "vm-running",
    message: expect.stringContaining("did not start it"),
  });

  const journal = Journal.open(host.home);
  const offer = {
    name: "web1",
    vm: crypto.randomUUID(),
    mode: "move",
    tagKey: "00".repeat(16),
    files: [],
    provider: "files",
  };
  const origin = {
    store: host.store,
    peer: "insecure",
    address: "192.0.2.1:1",
    nowMs: 1,
    attempt: 1,
    bytes: 0,
    kept: null,
  };
  const record = {
    ...recordOfOffer("ab".repeat(16), offer as never, origin),
    side: "source" as const,
    state: "sending" as const,
  };
  journal.write("test", () => journal.insert({ ...record, folder }));
  journal.close();
  for (const words of [
    ["stop", "web1"],
    ["stop", "web1", "--now"],
  ]) {
    expect(await host.run(...words)).toMatchObject({
      code: 6,
      event: {
        code: "vm-busy",
        message: "web1 is being sent to 192.0.2.1:1",
        hint: expect.stringContaining("resolve abababababab"),
      },
    });
  }
  expect(host.processes().length).toBeGreaterThan(1);
}, 60_000);

test("one with a damaged vm.json can be stopped, and not started", async () => {
  const folder = host.lay("web1");
  await host.start("web1");
  await host.hears("web1", smallUp);
  writeFileSync(join(folder, "vm.json"), '{"format": "migrate-vm/1", "na');
  expect(await host.run("stop", "web1")).toMatchObject({ code: 0, event: { how: "switched-off" } });
  expect(await host.run("start", "web1")).toMatchObject({
    code: 6,
    event: { code: "vm-invalid", message: expect.stringContaining("vm.json is not JSON") },
  });
  expect(host.processes()).toEqual([]);
}, 60_000);

test("what a QEMU that died left behind is cleared away", async () => {
  host.lay("web1");
  const { pid } = await host.start("web1");
  process.kill(Number(pid), "SIGKILL");
  await until(() => host.processes().length === 0, "the end of the keeper with its QEMU");
  mkdirSync(host.inRun("web1", "left"));
  expect(await host.run("stop", "web1")).toMatchObject({ code: 0, event: { how: "was-off" } });
  expect(existsSync(host.inRun("web1", "left"))).toBe(false);
  expect(existsSync(host.inRun("web1", "qmp"))).toBe(false);
}, 60_000);

test("one whose QEMU hangs is ended by --now", async () => {
  host.lay("web1");
  const { pid } = await host.start("web1");
  process.kill(Number(pid), "SIGSTOP");
  expect(await host.run("stop", "web1", "--now")).toMatchObject({ code: 0, event: { how: "cut" } });
  expect(host.processes()).toEqual([]);
}, 60_000);
