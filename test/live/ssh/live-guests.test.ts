/** VMs that run, moved by ssh: directly and through ssh, as root and by sudo, with ssh lost in the middle. */
import { afterEach, beforeAll, expect, test } from "bun:test";
import { chownSync, mkdirSync } from "node:fs";
import { ArrivedGuest } from "../../support/guests/arrived-guest.ts";
import { guestImage } from "../../support/guests/guest-image.ts";
import { RunningHosts } from "../../support/moves/running-hosts.ts";
import { doneOf, expectGapless } from "../../support/moves/whole-move.ts";
import { type SshHosts, user } from "../../support/ssh/ssh-hosts.ts";
import { said, sshHostsOfEachTest } from "../../support/ssh/ssh-hosts-of-tests.ts";
import { until } from "../../support/system/until.ts";

const limitMs = 120_000;
const running: RunningHosts[] = [];
const arrivals: ArrivedGuest[] = [];

// The first run downloads and builds it, which is not what the test's time limit is for.
beforeAll(async () => {
  await guestImage();
}, 300_000);

// Before the hosts are closed, whose folder it is.
afterEach(async () => {
  for (const arrived of arrivals.splice(0)) await arrived.kill();
  for (const at of running.splice(0)) await at.close();
}, 60_000);
const makeHosts = sshHostsOfEachTest();

async function startGuest() {
  const at = await RunningHosts.make();
  running.push(at);
  const guest = await at.guest({ append: "random_mib=24" });
  await guest.waitForTick(3);
  return guest;
}

/** The guest over there, once it has gone on for some ticks without a gap. */
async function goesOn(hosts: SshHosts, guest: Awaited<ReturnType<typeof startGuest>>): Promise<void> {
  const arrived = new ArrivedGuest(hosts.rootHome, "web1");
  arrivals.push(arrived);
  await guest.ended();
  await arrived.log.waitUntil((text) => text.split("tick").length > 3, "ticks over there");
  expect(arrived.isRunning()).toBe(true);
  expectGapless(guest, arrived);
}

test(
  "a VM that runs goes through ssh to a host with its ports closed, with ssh lost in the middle",
  async () => {
    const hosts = await makeHosts({ portsClosed: true });
    const guest = await startGuest();
    const words = ["send", `qmp:${guest.qmpPath}`, hosts.address("root", hosts.at("store"))];
    const send = hosts.migrate([...words, "--bandwidth", "12M", "--json"]);
    await send.waitFor("ram", { where: ({ transferredBytes }) => transferredBytes > 4 * 2 ** 20 });
    const [master] = hosts.processes("source").filter(({ words }) => /\bssh -M -N /.test(words));
    process.kill(master!.pid, "SIGKILL");
    await send.waitFor("link", { where: ({ state }) => state === "restored" });
    expect((await doneOf(send)).runs).toBe(true);
    expect(said(send)).toContain("is reached through ssh");
    await goesOn(hosts, guest);
  },
  limitMs,
);

test(
  "a VM that runs goes directly, and is root's there by sudo",
  async () => {
    const hosts = await makeHosts();
    // The account could take it by itself; what runs a guest is root's to confine.
    mkdirSync(hosts.at("store"));
    chownSync(hosts.at("store"), user.uid, user.uid);
    const guest = await startGuest();
    const words = ["send", `qmp:${guest.qmpPath}`, hosts.address("mover", hosts.at("store"))];
    const send = hosts.migrate([...words, "--json"]);
    expect((await doneOf(send)).runs).toBe(true);
    expect(said(send)).toContain("as root (sudo)");
    expect(said(send)).toContain("is reached directly");
    await goesOn(hosts, guest);
    // What is left of the move there is the VM.
    const others = () => hosts.processes("destination").filter(({ words }) => !words.includes("qemu-system"));
    await until(() => others().length === 0, "an end of all but the VM");
    // And that is who is asked what became of it.
    const history = hosts.migrate(["history", hosts.address("mover", hosts.at("store")), "--json"]);
    await history.exit;
    expect(history.stdout()).toContain('"name":"web1"');
  },
  limitMs,
);
