/** What becomes of a move by ssh when ssh, or the send itself, is lost in the middle. */
import { expect, test } from "bun:test";
import { existsSync, readdirSync, rmSync } from "node:fs";
import { makeSmallVm, type SmallVm } from "../../support/files/small-vm.ts";
import type { SshHosts } from "../../support/ssh/ssh-hosts.ts";
import { done, expectArrived, said, sshHostsOfEachTest } from "../../support/ssh/ssh-hosts-of-tests.ts";
import type { MigrateProcess } from "../../support/system/process.ts";
import { until } from "../../support/system/until.ts";

const makeHosts = sshHostsOfEachTest();
const limitMs = 120_000;
const mebibyte = 1024 ** 2;

/** A VM whose bytes take some seconds at 4 MiB/s, and the send of it through ssh, with a part of it there. */
async function underWay(hosts: SshHosts, flags: string[] = []) {
  const bytes = 24 * mebibyte;
  const vm = makeSmallVm(hosts.at("web1"), { disks: [{ bytes, extents: [{ at: 0, bytes }] }] });
  const send = sendAgain(hosts, vm, flags);
  await partIsThere(send);
  return { vm, send };
}

function sendAgain(hosts: SshHosts, vm: SmallVm, flags: string[] = []): MigrateProcess {
  const way = flags.includes("--via") ? [] : ["--via", "ssh"];
  const slow = ["--bandwidth", "4M", "--compress", "off", "--streams", "1", ...way];
  return hosts.migrate([
    "send",
    vm.folder,
    hosts.address("root", hosts.at("store")),
    ...slow,
    ...flags,
    "--json",
  ]);
}

async function partIsThere(send: MigrateProcess): Promise<void> {
  await send.waitFor("progress", { where: ({ doneBytes }) => doneBytes > 5 * mebibyte });
}

/** The ssh that holds the connection. */
function masterOf(hosts: SshHosts): number {
  const found = hosts.processes("source").filter(({ words }) => /\bssh -M -N /.test(words));
  expect(found.length).toBe(1);
  return found[0]!.pid;
}

const serveOf = (hosts: SshHosts) =>
  hosts
    .processes("destination")
    .filter(({ words }) => words.includes(" serve "))
    .map(({ pid }) => pid);

test(
  "an ssh that is killed in the middle is made anew, the same serve is found, and what is there is not sent again",
  async () => {
    const hosts = await makeHosts({ installed: true });
    const { vm, send } = await underWay(hosts);
    const serve = serveOf(hosts);
    const master = masterOf(hosts);
    process.kill(master, "SIGKILL");
    await send.waitFor("link", { where: ({ state }) => state === "lost" });
    await send.waitFor("link", { where: ({ state }) => state === "restored" });
    expect(serveOf(hosts)).toEqual(serve);
    expect(masterOf(hosts)).not.toBe(master);

    // And from the other side: sshd's process for it goes.
    const sessions = hosts.processes("destination").filter(({ words }) => words.startsWith("sshd: root"));
    expect(sessions.length).toBeGreaterThan(0);
    for (const { pid } of sessions) process.kill(pid, "SIGKILL");
    await send.waitFor("link", { where: ({ state, attempt }) => state === "restored" && attempt > 2 });
    const { chunksSent } = await done(send);
    expectArrived(vm, hosts.at("store"));
    // Of 27 chunks those that were on their way are sent again.
    expect(chunksSent).toBeLessThan(27 + 16);
    await send.exit;
    await hosts.waitUntilQuiet();
    expect(readdirSync(hosts.at("tmp"))).toEqual([]);
  },
  limitMs,
);

test(
  "what was copied and is gone when ssh comes back is copied again",
  async () => {
    const hosts = await makeHosts();
    const { vm, send } = await underWay(hosts);
    rmSync(hosts.cache("root"), { recursive: true });
    process.kill(masterOf(hosts), "SIGKILL");
    await send.waitFor("link", { where: ({ state }) => state === "restored", deadlineMs: 60_000 });
    await done(send);
    expectArrived(vm, hosts.at("store"));
    expect(said(send).match(/copying this migrate/g)?.length).toBe(2);
  },
  limitMs,
);

test(
  "a move that goes directly does not need ssh to come back",
  async () => {
    const hosts = await makeHosts({ installed: true });
    const { vm, send } = await underWay(hosts, ["--via", "direct"]);
    hosts.sshd?.signal("SIGKILL");
    process.kill(masterOf(hosts), "SIGKILL");
    // The connection itself breaks as well (tcp(7), ss(8)).
    await hosts.run("source", ["ss", "--kill", "dst", hosts.network.address("destination")]);
    await send.waitFor("link", { where: ({ state }) => state === "restored" });
    await done(send);
    expectArrived(vm, hosts.at("store"));
  },
  limitMs,
);

test(
  "a send that is killed leaves no ssh and no socket, and the same command goes on where it stopped",
  async () => {
    const hosts = await makeHosts({ installed: true });
    const { vm, send } = await underWay(hosts);
    const serve = serveOf(hosts);
    await send.kill("SIGKILL");
    await until(() => hosts.processes("source").length === 0, "an end of ssh");
    await until(() => readdirSync(hosts.at("tmp")).length === 0, "an end of its sockets");
    const again = sendAgain(hosts, vm);
    expect((await again.waitFor("session")).resumed).toBe(true);
    await done(again);
    expect(serveOf(hosts).length === 0 || serveOf(hosts)[0] === serve[0]).toBe(true);
    expectArrived(vm, hosts.at("store"));
    await again.exit;
    await hosts.waitUntilQuiet();
  },
  limitMs,
);

test(
  "Ctrl-C ends in good order, with ssh to the last: the session goes on later, with a new serve if the old one is gone",
  async () => {
    const hosts = await makeHosts({ installed: true });
    const { vm, send } = await underWay(hosts);
    // As a terminal sends it: to every process of the foreground.
    process.kill(masterOf(hosts), "SIGINT");
    send.signal("SIGINT");
    expect((await send.exit).code).toBe(130);
    await until(() => hosts.processes("source").length === 0, "an end of ssh");
    for (const pid of serveOf(hosts)) process.kill(pid, "SIGKILL");
    const status = hosts.migrate(["status", hosts.address("root", hosts.at("store")), "--json"]);
    await status.exit;
    expect(status.stdout()).toContain('"where":"ssh://root@10.77.0.2');
    const again = sendAgain(hosts, vm);
    expect((await again.waitFor("session")).resumed).toBe(true);
    await done(again);
    expectArrived(vm, hosts.at("store"));
    expect(existsSync(vm.files[0]!.path)).toBe(false);
  },
  limitMs,
);

test(
  "a host that is cut off and does not come back in time is given up with what the way out is",
  async () => {
    const hosts = await makeHosts({ installed: true });
    const { vm, send } = await underWay(hosts, ["--retry-for", "2s"]);
    // Its sessions go on without it.
    hosts.sshd?.signal("SIGKILL");
    process.kill(masterOf(hosts), "SIGKILL");
    const { code } = await send.exit;
    expect(code).toBe(4);
    const error = send.events.find(({ event }) => event === "error") as unknown as { message: string };
    expect(error.message).toContain("no ssh server answers at root@10.77.0.2");
    expect(existsSync(vm.files[0]!.path)).toBe(true);
    await hosts.startSshd();
    const session = (send.events.find(({ event }) => event === "session") as unknown as { session: string })
      .session;
    const resolved = hosts.migrate(["resolve", session, "--cancel", "--json"]);
    expect((await resolved.exit).code).toBe(0);
    expect(resolved.stderr() + resolved.stdout()).not.toContain("could not be told");
  },
  limitMs,
);

test(
  "a link that is dead without a word is noticed, ssh is made anew over the new one, and nobody is left behind",
  async () => {
    const hosts = await makeHosts({ installed: true });
    const { vm, send } = await underWay(hosts);
    const master = masterOf(hosts);
    await hosts.network.cut();
    await send.waitFor("link", { where: ({ state }) => state === "lost", deadlineMs: 60_000 });
    await hosts.network.restore();
    await send.waitFor("link", { where: ({ state }) => state === "restored", deadlineMs: 60_000 });
    await done(send);
    expectArrived(vm, hosts.at("store"));
    await send.exit;
    await until(() => hosts.processes("source").length === 0, `an end of ssh (${master} at first)`);
  },
  limitMs,
);
