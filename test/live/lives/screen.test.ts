/** What shows the screen of a VM where it lives: nothing, a socket, or a port of 127.0.0.1; and what it was given on its arrival is what it is started with. */
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, readFileSync, statSync } from "node:fs";
import { createConnection } from "node:net";
import { join } from "node:path";
import { argumentsOf } from "../../../src/platform/process-id.ts";
import { LivingHost } from "../../support/guests/small/living-host.ts";
import { smallWords, writeSmallDisk } from "../../support/guests/small/small-guest.ts";
import type { RunningHosts } from "../../support/moves/running-hosts.ts";
import { hostsOfEachTest } from "../../support/moves/running-hosts-of-tests.ts";
import { doneOf } from "../../support/moves/whole-move.ts";
import { startChild } from "../../support/system/child.ts";
import { hasOwn, rightsOf } from "../../support/system/process-rights.ts";
import { until } from "../../support/system/until.ts";

/** The first words of whoever listens there: a VNC server's version (RFC 6143, 7.1.1). */
async function greeting(to: { path: string } | { host: string; port: number }): Promise<string> {
  const said = Promise.withResolvers<string>();
  const socket = createConnection(to);
  socket.on("data", (bytes) => said.resolve(bytes.toString("latin1")));
  socket.on("error", said.reject);
  socket.on("close", () => said.resolve(""));
  try {
    return await said.promise;
  } finally {
    socket.destroy();
  }
}

const rfb = "RFB 003.008\n";
const portIn = (screen: unknown) => Number(/127\.0\.0\.1:(59\d\d) /.exec(String(screen))?.[1]);

describe("of a VM that lies here", () => {
  let host: LivingHost;
  beforeEach(() => {
    host = new LivingHost();
  });
  afterEach(() => host.close(), 60_000);
  const screen = ["-vga", "std"];

  test("none is shown unless that is asked for, and one without a screen has none to show", async () => {
    host.lay("web1", { words: screen });
    expect((await host.start("web1")).screen).toBeUndefined();
    expect(existsSync(host.inRun("web1", "vnc.sock"))).toBe(false);
    host.lay("blind");
    expect((await host.start("blind", "--vnc", "unix")).screen).toBeUndefined();
    expect(host.processes().map((pid) => argumentsOf(pid)!.includes("-vnc"))).not.toContain(true);
  }, 60_000);

  test("a socket in its run folder, which nobody else may enter", async () => {
    host.lay("web1", { words: screen });
    const socket = host.inRun("web1", "vnc.sock");
    expect((await host.start("web1", "--vnc", "unix")).screen).toContain(socket);
    expect(await greeting({ path: socket })).toBe(rfb);
    expect(statSync(socket)).toMatchObject({ uid: 0 });
    expect(statSync(socket).mode & 0o077).toBe(0);
    expect((await host.start("web1")).screen).toContain(socket);
    expect((await host.run("stop", "web1", "--now")).code).toBe(0);
    expect(existsSync(socket)).toBe(false);
  }, 60_000);

  test("a free port of 127.0.0.1 each, by a relay that is another user than QEMU, which has no network", async () => {
    for (const name of ["web1", "web2"]) host.lay(name, { words: screen });
    const screens = [];
    for (const name of ["web1", "web2"]) screens.push((await host.start(name, "--vnc", "127.0.0.1")).screen);
    const ports = screens.map(portIn);
    expect(new Set(ports).size).toBe(2);
    for (const port of ports) expect(await greeting({ host: "127.0.0.1", port })).toBe(rfb);
    const programs = host.processes().map((pid) => ({ pid, argv: argumentsOf(pid)!.join(" ") }));
    const relays = programs.filter(({ argv }) => argv.includes("vnc-relay"));
    const qemus = programs.filter(({ argv }) => argv.includes("qemu-system"));
    expect([relays.length, qemus.length]).toEqual([2, 2]);
    for (const { pid } of qemus) expect(hasOwn(pid, "net")).toBe(true);
    const users = [...relays, ...qemus].map(({ pid }) => rightsOf(pid).uids[0]!);
    expect(new Set(users).size).toBe(4);
    for (const { pid } of relays) {
      expect(rightsOf(pid)).toMatchObject({ noNewPrivs: true, capabilities: [0n, 0n, 0n, 0n, 0n] });
      expect(hasOwn(pid, "mnt")).toBe(true);
    }
    expect((await host.run("stop", "web1", "--now")).code).toBe(0);
    expect(await greeting({ host: "127.0.0.1", port: ports[0]! }).catch(() => "refused")).toBe("refused");
    expect(host.processes().length).toBe(3);
    // All that QEMU sends comes through, and what is typed goes there.
    const socket = createConnection({ host: "127.0.0.1", port: ports[1]! });
    let heard = Buffer.alloc(0);
    socket.on("data", (bytes: Buffer) => {
      heard = Buffer.concat([heard, bytes]);
    });
    await until(() => heard.length === 12, "the version");
    socket.write(rfb);
    await until(() => heard.length >= 14, "the kinds of security");
    expect([...heard.subarray(12)]).toEqual([1, 1]);
    // None; shared: its answer is 4 bytes and the screen's size, format and name.
    socket.write(Buffer.from([1]));
    await until(() => heard.length >= 18, "that it is fine");
    socket.write(Buffer.from([1]));
    await until(() => heard.length >= 18 + 24, "the screen");
    const [width, height] = [heard.readUInt16BE(18), heard.readUInt16BE(20)];
    const ask = Buffer.from([3, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    ask.writeUInt16BE(width, 6);
    ask.writeUInt16BE(height, 8);
    socket.write(ask);
    await until(() => heard.length > 18 + 24 + width * height, "the whole screen");
    socket.destroy();
  }, 60_000);
});

describe("of a VM that arrives", () => {
  const made = hostsOfEachTest();

  /** A small guest with a screen that its source shows, sent to who serves with these flags. */
  async function arrives(at: RunningHosts, flags: string[]) {
    const folder = join(at.folder, "web1");
    mkdirSync(folder, { recursive: true });
    const disk = join(folder, "disk.raw");
    writeSmallDisk(disk);
    const qmp = join(folder, "qmp");
    const words = ["-vga", "std", "-vnc", `unix:${folder}/vnc`, "-nic", "user,model=e1000"];
    const own = ["-name", "web1", "-display", "none", "-qmp", `unix:${qmp},server=on,wait=off`];
    startChild([...smallWords(disk, { words: [...words, ...own, "-serial", "null"] })]);
    await until(() => existsSync(qmp), "the monitor");
    const serving = await at.serve({ flags });
    const sending = at.send(qmp);
    await doneOf(sending);
    const begun = sending.events.findIndex(
      (event) => event.event === "progress" && Number(event.doneBytes) > 0,
    );
    const said = JSON.stringify(sending.events.slice(0, begun).filter(({ event }) => event === "notice"));
    return { serving, said, run: join(at.hosts.destinationHome, "run", "web1"), store: at.hosts.store };
  }

  test("what serve says it gets is said before it goes, and kept for when it is started again", async () => {
    const at = await made();
    const { serving, said, run, store } = await arrives(at, ["--vnc", "127.0.0.1", "--net", "user"]);
    expect(said).toContain(
      "-vnc is left out: the destination shows the screen by VNC on a port of its own 127.0.0.1",
    );
    const { message } = await serving.waitFor("notice", { where: (event) => event.message.includes("VNC") });
    expect(await greeting({ host: "127.0.0.1", port: portIn(message) })).toBe(rfb);
    const { here } = JSON.parse(readFileSync(join(store, "web1", "vm.json"), "utf8"));
    expect(here).toEqual({ net: { kind: "user" }, allowTcg: false, vnc: "127.0.0.1" });
    expect(statSync(join(store, "web1", "vm.json")).mode & 0o777).toBe(0o600);

    // Without serve, from what lies there alone.
    await serving.kill();
    const run1 = async (...words: string[]) => {
      const process = at.hosts.destination(words);
      expect(await process.exit, process.stderr()).toMatchObject({ code: 0 });
      return process.events.findLast(({ event }) => event === "started") as
        | Record<string, unknown>
        | undefined;
    };
    await run1("stop", "web1", "--now");
    const started = await run1("start", "web1");
    expect(await greeting({ host: "127.0.0.1", port: portIn(started!.screen) })).toBe(rfb);
    const qemu = JSON.parse(readFileSync(join(run, "processes.json"), "utf8")).qemu.pid;
    expect(argumentsOf(qemu)!.join(" ")).toContain("user,restrict=off");
    // A flag says otherwise for this once.
    await run1("stop", "web1", "--now");
    expect((await run1("start", "web1", "--vnc", "none", "--net", "none"))!.screen).toBeUndefined();
    const again = JSON.parse(readFileSync(join(run, "processes.json"), "utf8")).qemu.pid;
    expect(argumentsOf(again)!.join(" ")).toContain("user,restrict=on");
  }, 120_000);

  test("none and a socket are said as well", async () => {
    const at = await made();
    const { said, run } = await arrives(at, ["--vnc", "unix"]);
    expect(said).toContain("-vnc is left out: the destination shows the screen by VNC on a socket");
    expect(await greeting({ path: join(run, "vnc.sock") })).toBe(rfb);
    const other = await made();
    const silent = await arrives(other, []);
    expect(silent.said).toContain("-vnc is left out: the destination shows no display");
    expect(existsSync(join(silent.run, "vnc.sock"))).toBe(false);
  }, 120_000);
});
