/** A VM is started from what lies on the disk alone, by its name, and once, whoever asks and whatever an earlier run left. */
import { afterEach, beforeEach, expect, test } from "bun:test";
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { argumentsOf } from "../../../src/platform/process-id.ts";
import { LivingHost } from "../../support/guests/small/living-host.ts";
import { smallUp } from "../../support/guests/small/small-guest.ts";

let host: LivingHost;
beforeEach(() => {
  host = new LivingHost();
});
afterEach(() => host.close(), 60_000);

test("after a boot, with the sockets and the notes of the run before", async () => {
  host.lay("web1");
  const before = await host.start("web1");
  await host.hears("web1", smallUp);
  await host.cutPower();
  const path = host.inRun("web1", "processes.json");
  const noted = JSON.parse(readFileSync(path, "utf8"));
  expect(noted.qemu.pid).toBe(before.pid);
  expect(existsSync(String(before.qmp))).toBe(true);
  // In the kernel's next run other programs have those numbers: this very one, say.
  const self = { pid: process.pid, startTicks: 1 };
  writeFileSync(path, JSON.stringify({ ...noted, bootId: "another", qemu: self, keeper: self }));
  // By its name alone: the run folder tells where it lies.
  const { code, event } = await host.run("start", "web1");
  expect({ code, event }).toMatchObject({ code: 0, event: { event: "started", wasThere: false } });
  await host.hears("web1", smallUp);
  expect(argumentsOf(Number(event!.pid))!.join(" ")).toContain("-name guest=web1");
}, 60_000);

test("twice at once it runs once, and a third time finds it", async () => {
  host.lay("web1");
  const both = await Promise.all([1, 2].map(() => host.run("start", "web1", "--store", host.store)));
  const started = both.filter(({ code }) => code === 0);
  expect(started.length).toBeGreaterThan(0);
  for (const { code, event } of both) if (code !== 0) expect(event).toMatchObject({ code: "vm-busy" });
  const pids = new Set(started.map(({ event }) => event!.pid));
  expect(pids.size).toBe(1);
  expect((await host.run("start", "web1")).event).toMatchObject({ wasThere: true, pid: [...pids][0] });
  const qemus = host.processes().filter((pid) => argumentsOf(pid)!.join(" ").includes("-name guest=web1"));
  expect(qemus.length).toBe(1);
}, 60_000);

test("a vm.json that was damaged, or is another's, starts nothing", async () => {
  const folder = host.lay("web1");
  const path = join(folder, "vm.json");
  const whole = JSON.parse(readFileSync(path, "utf8"));
  const damages: [text: string, says: string][] = [
    [JSON.stringify(whole).slice(0, 100), "is not JSON"],
    ["", "is not JSON"],
    [JSON.stringify({ ...whole, files: [] }), "files"],
    [JSON.stringify({ ...whole, definition: { ...whole.definition, machine: "isapc" } }), "machine"],
    [
      JSON.stringify({ ...whole, here: { net: { kind: "bridge", bridge: "../x" }, allowTcg: true } }),
      "how the VM is started here",
    ],
    [
      JSON.stringify({ ...whole, here: { net: { kind: "none" }, allowTcg: true, users: "root" } }),
      "how the VM is started here",
    ],
    [
      JSON.stringify({ ...whole, here: { net: { kind: "none" }, allowTcg: true, vnc: "0.0.0.0" } }),
      "how the VM is started here",
    ],
  ];
  for (const [text, says] of damages) {
    writeFileSync(path, text);
    const { code, event } = await host.run("start", "web1", "--store", host.store);
    expect({ code, event }).toMatchObject({ code: 6, event: { code: "vm-invalid" } });
    expect(event!.message).toContain(says);
  }
  expect(host.processes()).toEqual([]);
  expect(existsSync(join(host.home, "run")) ? readdirSync(join(host.home, "run")) : []).toEqual([]);
  writeFileSync(
    path,
    JSON.stringify({ ...whole, here: { net: { kind: "none" }, allowTcg: false, users: "off" } }),
  );
  await host.start("web1");
}, 60_000);
