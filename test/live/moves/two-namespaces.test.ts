/** Two hosts as the network has them, with 1 Gbit/s between them: VMs that run, moved over a link that is shared. */
import { afterEach, beforeAll, expect, test } from "bun:test";
import { join } from "node:path";
import { guestImage } from "../../support/guests/guest-image.ts";
import type { RunningGuest } from "../../support/guests/running-guest.ts";
import { NetworkHosts } from "../../support/moves/links/network-hosts.ts";
import { RunningHosts } from "../../support/moves/running-hosts.ts";
import { doneOf, expectDisksAgree, expectMoved } from "../../support/moves/whole-move.ts";
import { runChild } from "../../support/system/child.ts";
import { builtBinary, type MigrateProcess, runMigrate } from "../../support/system/process.ts";

const opened: { at: RunningHosts; network: NetworkHosts }[] = [];
const limitMs = 120_000;

// The first run downloads and builds it, which is not what the test's time limit is for.
beforeAll(async () => {
  await guestImage();
}, 300_000);

afterEach(async () => {
  for (const { at, network } of opened.splice(0)) {
    await at.close();
    await network.close();
  }
}, 60_000);

interface Pair {
  at: RunningHosts;
  network: NetworkHosts;
  /** `migrate send qmp:…` on the source's host, of a VM on it. */
  send: (guest: RunningGuest, flags?: string[]) => MigrateProcess;
}

/** Two hosts, of which the destination serves. The first send pairs them. */
async function makePair(): Promise<Pair> {
  const at = await RunningHosts.make();
  const network = await NetworkHosts.make();
  opened.push({ at, network });
  const { destinationHome, sourceHome, store } = at.hosts;
  const listen = ["--listen", `${network.address("destination")}:0`];
  const serve = runMigrate(["serve", ...listen, "--store", store, "--qemu", "--json"], {
    home: destinationHome,
    binary: [...network.enter("destination"), builtBinary],
  });
  const { address, ticket } = await serve.waitFor("listening");
  const pairing = ["--ticket", ticket!];
  const send = (guest: RunningGuest, flags: string[] = []) =>
    // The ticket works once.
    runMigrate(["send", `qmp:${guest.qmpPath}`, address, ...pairing.splice(0), ...flags, "--json"], {
      home: sourceHome,
      binary: [...network.enter("source"), builtBinary],
    });
  return { at, network, send };
}

/** Bytes that have come to the destination's host over the link. */
async function receivedBytes(network: NetworkHosts): Promise<number> {
  const words = ["ip", "-n", network.namespace("destination"), "-s", "-j", "link", "show", "link0"];
  const [link] = JSON.parse(await runChild(words)) as [{ stats64: { rx: { bytes: number } } }];
  return link.stats64.rx.bytes;
}

test(
  "two VMs are moved at once, each whole and none of them twice",
  async () => {
    const { at, send } = await makePair();
    const append = "random_mib=32 check_ticks=15";
    const guests = await Promise.all(["web1", "web2"].map((name) => at.guest({ name, append })));
    for (const guest of guests) await guest.waitForTick(3);
    const [one, two] = guests as [RunningGuest, RunningGuest];
    const first = send(one);
    await first.waitFor("paired");
    const second = send(two, ["--multifd", "2"]);
    // Both are on their way at the same time.
    await second.waitFor("session");
    expect(first.events.some(({ event }) => event === "done")).toBe(false);
    await Promise.all([doneOf(first), doneOf(second)]);
    const arrived = [await expectMoved(at, one), await expectMoved(at, two)];
    for (const [n, there] of arrived.entries()) {
      const guest = guests[n]!;
      await there.log.waitUntil((text) => text.includes("ram intact"), "a look at the memory");
      expect(there.serialText() + guest.serialText()).not.toContain("ram damaged");
      const folder = join(at.hosts.store, guest.options.name);
      await expectDisksAgree(folder, guest.options.disks, there, guest);
    }
  },
  limitMs,
);

test(
  "--bandwidth holds on the wire, and what it allows is used",
  async () => {
    const { at, network, send } = await makePair();
    const guest = await at.guest({ append: "random_mib=64" });
    await guest.waitForTick(3);
    const allowedBytesPerSec = 20 * 2 ** 20;
    const sending = send(guest, ["--bandwidth", "20M"]);
    await sending.waitFor("ram", { where: ({ transferredBytes }) => transferredBytes > 10 * 2 ** 20 });
    const begun = { bytes: await receivedBytes(network), atMs: performance.now() };
    await sending.waitFor("ram", { where: ({ transferredBytes }) => transferredBytes > 70 * 2 ** 20 });
    const seconds = (performance.now() - begun.atMs) / 1000;
    const wireBytesPerSec = ((await receivedBytes(network)) - begun.bytes) / seconds;
    expect(wireBytesPerSec).toBeLessThan(allowedBytesPerSec * 1.3);
    // With two mirrored disks that have little to say, the RAM gets what they leave: more than a third, which would be
    // its share among three. A machine that is busy does not fill the rest.
    expect(wireBytesPerSec).toBeGreaterThan(allowedBytesPerSec * 0.45);
    await doneOf(sending);
    await expectMoved(at, guest);
  },
  limitMs,
);
