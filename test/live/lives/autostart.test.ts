/** A VM that is started at boot: its unit passes systemd's own check, and starts and stops what was moved, and nothing else. */
import { afterEach, beforeEach, expect, test } from "bun:test";
import { chmodSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { unitName, unitText } from "../../../src/migration/operator/autostart/unit-text.ts";
import { oddNames } from "../../support/files/odd-names.ts";
import { LivingHost } from "../../support/guests/small/living-host.ts";
import { smallUp } from "../../support/guests/small/small-guest.ts";
import { runChild, startChild } from "../../support/system/child.ts";
import { builtBinary } from "../../support/system/process.ts";

let host: LivingHost;
beforeEach(() => {
  host = new LivingHost();
});
afterEach(() => host.close(), 60_000);

/** What systemd says of a unit: systemd-analyze(1). */
async function verified(unit: string, scope: "system" | "user") {
  const verify = startChild(
    ["systemd-analyze", "verify", ...(scope === "user" ? ["--user"] : []), "--man=no", unit],
    {
      env: { ...process.env, XDG_RUNTIME_DIR: host.folder },
    },
  );
  const { code } = await verify.exit;
  return { code, said: verify.stderr() + verify.stdout() };
}

test.each(["system", "user"] as const)(
  "a unit of the %s passes, whatever the VM is called",
  async (scope) => {
    for (const name of oddNames) {
      const place = join(host.folder, name);
      const program = join(place.replaceAll(/[$"\\]/g, "_"), "mi grate");
      mkdirSync(place, { recursive: true });
      mkdirSync(join(program, ".."), { recursive: true });
      writeFileSync(program, "#!/bin/sh\n");
      chmodSync(program, 0o755);
      const unit = join(host.folder, unitName(name));
      writeFileSync(
        unit,
        unitText({ name, folder: place, home: join(place, "home"), self: [program], scope }),
      );
      expect({ name, ...(await verified(unit, scope)) }).toEqual({ name, code: 0, said: "" });
    }
  },
  60_000,
);

/** A command of this program whose /etc/systemd/system is a folder of the test. */
async function withUnits(units: string, ...words: string[]) {
  const binary = [
    "unshare",
    "-m",
    "sh",
    "-c",
    'mount --bind "$0" /etc/systemd/system && exec "$@"',
    units,
    builtBinary,
  ];
  const process = host.begin(words, { binary });
  const { code } = await process.exit;
  return { code, events: process.events as readonly Record<string, unknown>[], stderr: process.stderr() };
}

const autostart = (units: string, ...words: string[]) => withUnits(units, "autostart", ...words);

test("a VM that is deleted is started at boot no more; the unit of another one of its name stays", async () => {
  const units = join(host.folder, "units");
  mkdirSync(units);
  host.lay("web1");
  expect(await autostart(units, "web1", "on", "--store", host.store)).toMatchObject({ code: 0 });
  const unit = join(units, "migrate-vm-web1.service");
  const text = readFileSync(unit, "utf8");
  writeFileSync(unit, text.replaceAll("/web1", "/elsewhere/web1"));
  for (const state of ["on", "off"]) {
    const said = await autostart(units, "web1", state, "--store", host.store);
    expect(said).toMatchObject({ code: 6, events: [{ code: "name-taken" }] });
  }
  expect(await withUnits(units, "delete", "web1", "--yes", "--store", host.store)).toMatchObject({ code: 0 });
  expect(readdirSync(units)).toEqual(["migrate-vm-web1.service"]);
  host.lay("web1");
  writeFileSync(unit, text);
  expect(await withUnits(units, "delete", "web1", "--yes", "--store", host.store)).toMatchObject({ code: 0 });
  expect(readdirSync(units)).toEqual([]);
});

test("after a boot the unit starts it from what lies on the disk alone, and stops it; off takes the unit away", async () => {
  const units = join(host.folder, "units");
  mkdirSync(units);
  host.lay("web1", { heeds: false });
  host.lay("other");
  await host.start("web1");
  await host.hears("web1", smallUp);
  await host.start("other");
  const on = await autostart(units, "web1", "on");
  expect(on).toMatchObject({ code: 0 });
  const unit = join(units, "migrate-vm-web1.service");
  expect(readdirSync(units)).toEqual(["migrate-vm-web1.service"]);
  expect(await verified(unit, "system")).toEqual({ code: 0, said: "" });
  // No systemd runs in a test: what is left to do is said.
  const done = on.events.find(({ event }) => event === "autostart")!;
  expect(done).toMatchObject({ name: "web1", on: true, unit: "/etc/systemd/system/migrate-vm-web1.service" });
  const enable = [
    "systemctl daemon-reload",
    "systemctl enable migrate-vm-web1.service",
    "systemctl start migrate-vm-web1.service",
  ];
  expect(done.left).toEqual(enable);
  expect(JSON.stringify(on.events)).toContain(enable.join(" && "));

  await host.cutPower();
  const text = readFileSync(unit, "utf8");
  const settingsOf = (key: string) =>
    [...text.matchAll(new RegExp(`^${key}=-?(.*)$`, "gm"))].map(([, value]) => value!);
  const [start = ""] = settingsOf("ExecStart");
  const [environment = ""] = settingsOf("Environment");
  const run = (line: string) => startChild(["sh", "-c", `env -i PATH="$PATH" ${environment} ${line}`]).exit;
  expect((await run(start)).code).toBe(0);
  await host.hears("web1", smallUp);
  expect((await host.run("stop", "other")).event).toMatchObject({ how: "was-off" });
  // Its guest is deaf: what comes after the minute and a half ends it.
  const [politely = "", now = ""] = settingsOf("ExecStop");
  expect(politely).toEndWith('"stop" "STORE/web1" "--timeout" "90s"'.replace("STORE", host.store));
  expect((await run(politely.replace("90s", "1s"))).code).toBe(6);
  expect((await run(now)).code).toBe(0);
  expect(host.processes()).toEqual([]);

  expect(await autostart(units, "web1", "off")).toMatchObject({ code: 0 });
  expect(readdirSync(units)).toEqual([]);
  const again = await autostart(units, "web1", "off");
  expect(again.code).toBe(0);
  expect(again.events[0]).toMatchObject({ event: "autostart", on: false });
  expect((await autostart(units, "web1", "maybe")).code).toBe(2);
}, 90_000);

test("what could not be started is not promised", async () => {
  const units = join(host.folder, "units");
  mkdirSync(units);
  const folder = host.lay("web1");
  const path = join(folder, "vm.json");
  const whole = JSON.parse(readFileSync(path, "utf8"));
  for (const [text, code, says] of [
    ["{", 6, "not JSON"],
    [JSON.stringify({ ...whole, definition: undefined }), 6, "does not say what VM"],
    [JSON.stringify({ ...whole, definition: undefined, manager: "libvirt" }), 6, "libvirt's to run"],
    [
      JSON.stringify({ ...whole, ownership: { ...whole.ownership, state: "copy" } }),
      7,
      "does not say that this host owns",
    ],
  ] as const) {
    writeFileSync(path, text);
    const refused = await autostart(units, folder, "on");
    expect(refused).toMatchObject({
      code,
      events: [{ event: "error", message: expect.stringContaining(says) }],
    });
    expect((await host.run("start", folder)).event).toMatchObject({ message: expect.stringContaining(says) });
  }
  expect(readdirSync(units)).toEqual([]);
}, 60_000);

test("an ordinary user has units of their own", async () => {
  const folder = host.lay("web1");
  for (const path of [host.folder, host.store]) chmodSync(path, 0o755);
  await runChild(["chown", "-R", "65534:65534", host.store]);
  const home = join(host.folder, "user");
  mkdirSync(home);
  await runChild(["chown", "65534:65534", home]);
  const binary = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", builtBinary];
  const env = { HOME: home, XDG_CONFIG_HOME: undefined };
  const on = host.begin(["autostart", folder, "on"], { binary, env, home: join(home, "m") });
  expect((await on.exit).code).toBe(0);
  const unit = join(home, ".config/systemd/user/migrate-vm-web1.service");
  expect(await verified(unit, "user")).toEqual({ code: 0, said: "" });
  expect(on.events[0]).toMatchObject({
    unit,
    left: expect.arrayContaining(["systemctl --user daemon-reload"]),
  });
  expect(JSON.stringify(on.events)).toContain("enable-linger");
}, 60_000);
