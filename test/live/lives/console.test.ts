/** What a VM says on its serial lines is kept within bounds, and shown to whoever comes: one, several, or too late. */
import { afterEach, beforeEach, expect, test } from "bun:test";
import { existsSync, readdirSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { serialKeeps } from "../../../src/vm/qemu/attendants/serial-log.ts";
import { expectConfined } from "../../support/guests/seen/confined-program.ts";
import { callMonitor } from "../../support/guests/seen/monitor.ts";
import { LivingHost } from "../../support/guests/small/living-host.ts";
import { smallLine, smallUp } from "../../support/guests/small/small-guest.ts";
import { startChild } from "../../support/system/child.ts";
import { builtBinary } from "../../support/system/process.ts";
import { rightsOf } from "../../support/system/process-rights.ts";
import { callSocket } from "../../support/system/unix-socket.ts";
import { until } from "../../support/system/until.ts";

let host: LivingHost;
beforeEach(() => {
  host = new LivingHost();
});
afterEach(() => host.close(), 60_000);

/** A console without a terminal, with what it wrote so far. */
function sit(...words: string[]) {
  const child = startChild([builtBinary, "console", "web1", ...words], {
    env: { ...process.env, MIGRATE_HOME: host.home },
    stdin: "pipe",
  });
  return child;
}

/** A megabyte and a half, said to nobody. */
const lines = 52_000;

test("a megabyte and more that nobody saw is kept to its bound, and shown once", async () => {
  host.lay("web1", { lines });
  const { pid } = await host.start("web1");
  // A program that never reads holds nobody up.
  const silent = await callSocket(host.inRun("web1", "serial0"));
  silent.pause();
  await host.hears("web1", smallUp);
  const folder = host.inRun("web1", "");
  const logs = readdirSync(folder).filter((name) => name.startsWith("serial0.log"));
  expect(logs.sort()).toEqual(["serial0.log", "serial0.log.1"]);
  for (const name of logs)
    expect(statSync(join(folder, name)).size).toBeLessThanOrEqual(serialKeeps.fileBytes);

  const first = sit();
  await until(() => first.stdout().endsWith(smallUp), "the history");
  const shown = first.stdout();
  expect(shown.length).toBe(serialKeeps.tailBytes);
  expect(
    shown
      .split("\n")
      .slice(1, -2)
      .every((line) => `${line}\n` === smallLine),
  ).toBe(true);
  expect(first.stderr()).toContain(`${serialKeeps.tailBytes} bytes were not seen yet`);
  expect(first.stderr()).toContain("Ctrl-] leaves it");
  // A second one sees what is said as well, and only a little of what was seen already.
  const second = sit();
  await until(() => second.stdout().endsWith(smallUp), "the end of the history");
  expect(second.stdout().length).toBe(4096);
  expect(second.stderr()).toContain("another one looks as well");
  second.type("ab");
  await until(
    () => [first, second].every((one) => one.stdout().endsWith(`${smallUp}ab`)),
    "the echo at both",
  );
  first.type("c");
  await until(
    () => [first, second].every((one) => one.stdout().endsWith(`${smallUp}abc`)),
    "the echo at both",
  );
  first.signal("SIGTERM");
  await first.exit;

  // Its keeper has no more rights than its QEMU.
  const [keeper] = host.processes().filter((one) => one !== pid);
  expectConfined(keeper!, rightsOf(Number(pid)).uids[0]!, { filters: false });

  expect(await host.run("stop", "web1")).toMatchObject({ code: 0 });
  expect((await second.exit).code).toBe(0);
  // Off, it shows what was said last.
  const late = await host.run("console", "web1");
  expect(late).toMatchObject({ code: 0, stderr: expect.stringContaining("web1 does not run") });
  expect(String(late.event!.text)).toEndWith(`${smallUp}abc`);
  silent.destroy();
  const logged = await host.run("logs", "web1", "--serial");
  expect(String(logged.event!.text)).toEndWith(`${smallUp}abc`);
}, 120_000);

test("at a terminal every key goes to the guest but Ctrl-], and programs still find the socket", async () => {
  host.lay("web1");
  await host.start("web1");
  await host.hears("web1", smallUp);
  const command = `${builtBinary} console web1`;
  const terminal = startChild(["script", "-qec", command, "/dev/null"], {
    env: { ...process.env, MIGRATE_HOME: host.home },
    stdin: "pipe",
  });
  await until(() => terminal.stdout().includes(`up\r\n`), "what was said before");
  const program = await callSocket(host.inRun("web1", "serial0"));
  let heard = "";
  program.on("data", (bytes) => {
    heard += bytes.toString("latin1");
  });
  terminal.type("x\u0003y");
  await until(() => terminal.stdout().endsWith("x\u0003y"), "the echo of Ctrl-C");
  await until(() => heard.endsWith("x\u0003y"), "the same at a program");
  program.write("z");
  await until(() => terminal.stdout().endsWith("z"), "what a program typed");
  terminal.type("\u001d");
  expect((await terminal.exit).code).toBe(0);
  expect(terminal.stdout()).toContain("Left serial line 0 of web1");
  program.destroy();
}, 60_000);

test("several lines are numbered, and one that is not there is said to be none", async () => {
  host.lay("web1", {
    words: ["-serial", "unix:/x/a,server=on,wait=off", "-serial", "unix:/x/b,server=on,wait=off"],
  });
  await host.start("web1");
  await host.hears("web1", smallUp);
  const second = sit("--port", "1");
  await until(() => second.stderr().includes("At serial line 1 of web1"), "the second line");
  expect(await host.run("console", "web1", "--port", "2")).toMatchObject({
    code: 6,
    event: { code: "vm-invalid", message: "web1 has 2 serial lines, numbered from 0" },
  });
  host.lay("mute", { words: ["-serial", "none"] });
  await host.start("mute");
  expect(await host.run("console", "mute")).toMatchObject({
    code: 6,
    event: { code: "vm-invalid", message: "mute has no serial line" },
  });
}, 60_000);

test("a keeper that is killed takes nothing along: the VM runs on, and its line is still reached", async () => {
  host.lay("web1");
  const { pid, qmp } = await host.start("web1");
  await host.hears("web1", smallUp);
  const [keeper] = host.processes().filter((one) => one !== pid);
  process.kill(keeper!, "SIGKILL");
  await until(() => host.processes().length === 1, "the end of the keeper");
  const bare = sit();
  await until(() => bare.stderr().includes("nobody keeps what it says"), "the bare line");
  bare.type("q");
  await until(() => bare.stdout().endsWith("q"), "the echo");
  const monitor = await callMonitor(String(qmp), () => true);
  expect(await monitor.execute("query-status")).toMatchObject({ status: "running" });
  monitor.close();
  expect(await host.run("stop", "web1")).toMatchObject({ code: 0, event: { how: "switched-off" } });
}, 60_000);

test("what was said steers no terminal when it is shown later", async () => {
  const folder = host.lay("web1");
  await host.start("web1");
  await host.hears("web1", smallUp);
  await host.run("stop", "web1");
  writeFileSync(
    host.inRun("web1", "serial0.log"),
    "a\u001b[2Jb\u001b]0;title\u0007c\r\nd\u001b[6n\u0000\u009b2Je\n",
  );
  writeFileSync(host.inRun("web1", "qemu.log"), "qemu: it \u001b[31mfailed\u001b[0m\n");
  const child = startChild([builtBinary, "logs", folder, "--serial"], {
    env: { ...process.env, MIGRATE_HOME: host.home },
  });
  await child.exit;
  expect(child.stdout()).toBe("abc\nd2Je\n");
  const programs = startChild([builtBinary, "logs", folder], {
    env: { ...process.env, MIGRATE_HOME: host.home },
  });
  await programs.exit;
  expect(programs.stdout()).toBe("qemu: qemu: it failed\n");
}, 60_000);

test("logs --follow shows what comes, until the VM ends", async () => {
  host.lay("web1", { lines: 20 });
  await host.start("web1");
  const following = startChild([builtBinary, "logs", "web1", "--serial", "--follow"], {
    env: { ...process.env, MIGRATE_HOME: host.home },
  });
  await until(() => following.stdout().endsWith(smallUp), "what it says");
  const typing = sit();
  typing.type("more");
  await until(() => following.stdout().endsWith("more"), "what comes after");
  await host.run("stop", "web1");
  expect((await following.exit).code).toBe(0);
  expect(following.stdout()).toBe(`${smallLine.repeat(20)}${smallUp}more`);
  expect(existsSync(host.inRun("web1", "serial0.log.1"))).toBe(false);
}, 60_000);
