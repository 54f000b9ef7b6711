/**
 * A guest on a bridge is reached at its new place as soon as it runs there: two namespaces with a bridge each, joined by a
 * cable, and a neighbour at the source's bridge who pings it every 10 ms and captures what comes.
 */
import { expect, test } from "bun:test";
import { resolve } from "node:path";
import type { RunningGuest } from "../../../support/guests/running-guest.ts";
import { NetworkHosts } from "../../../support/moves/links/network-hosts.ts";
import type { RunningHosts } from "../../../support/moves/running-hosts.ts";
import { eachTestHasRunningHosts } from "../../../support/moves/running-hosts-of-tests.ts";
import { doneOf, expectMoved } from "../../../support/moves/whole-move.ts";
import { type Child, runChild } from "../../../support/system/child.ts";
import { builtBinary, type MigrateProcess, runMigrate } from "../../../support/system/process.ts";
import { until } from "../../../support/system/until.ts";

const bridge = "br7";
const mac = "52:54:00:12:34:99";
const [guestIp, neighbourIp] = ["10.7.0.2", "10.7.0.1"];
const pinger = resolve(import.meta.dir, "../../../support/moves/links/ping-guest.ts");

let at: RunningHosts;

eachTestHasRunningHosts((made) => {
  at = made;
});

interface Seen {
  what: "answer" | "announcement";
  sequence?: number;
  atMs: number;
}

const seenBy = (neighbour: Child) =>
  neighbour
    .stdout()
    .split("\n")
    .slice(0, -1)
    .map((line) => JSON.parse(line) as Seen);

/** Both bridges, the cable between them, the guest's tap device, and the neighbour's own port. */
async function lay(network: NetworkHosts): Promise<void> {
  const [source, destination] = [network.namespace("source"), network.namespace("destination")];
  const ip = (...words: string[]) => runChild(["ip", ...words]);
  for (const host of [source, destination]) {
    await ip("-n", host, "link", "add", bridge, "type", "bridge", "forward_delay", "0");
    await ip("-n", host, "link", "set", bridge, "up");
  }
  await ip(
    "-n",
    source,
    "link",
    "add",
    "cable",
    "type",
    "veth",
    "peer",
    "name",
    "cable",
    "netns",
    destination,
  );
  await ip("-n", source, "link", "add", "port", "type", "veth", "peer", "name", "neighbour");
  await ip("-n", source, "tuntap", "add", "dev", "tap0", "mode", "tap");
  for (const [host, device] of [
    [source, "cable"],
    [destination, "cable"],
    [source, "port"],
    [source, "tap0"],
  ] as const)
    await ip("-n", host, "link", "set", device, "master", bridge, "up");
  await ip("-n", source, "link", "set", "neighbour", "up");
}

async function guestOn(network: NetworkHosts): Promise<RunningGuest> {
  const guest = await at.guest({
    enter: network.enter("source"),
    append: `net=${guestIp}/24`,
    disks: [{ name: "data.raw", format: "raw" }],
    extraArgs: [
      ...["-netdev", "tap,id=n0,ifname=tap0,script=no,downscript=no"],
      ...["-device", `virtio-net-pci,netdev=n0,mac=${mac}`],
    ],
  });
  await guest.waitForTick(2);
  return guest;
}

/** Moves it; gives the time at which its QEMU said that it runs there. */
async function move(network: NetworkHosts, guest: RunningGuest, flags: string[]): Promise<number> {
  const { destinationHome, sourceHome, store } = at.hosts;
  const listen = ["--listen", `${network.address("destination")}:0`, "--net", `bridge:${bridge}`];
  const serve: MigrateProcess = runMigrate(["serve", ...listen, "--store", store, "--qemu", "--json"], {
    home: destinationHome,
    binary: [...network.enter("destination"), builtBinary],
  });
  const { address, ticket } = await serve.waitFor("listening");
  const words = ["send", `qmp:${guest.qmpPath}`, address, "--ticket", ticket!, "--json", ...flags];
  const send = runMigrate(words, { home: sourceHome, binary: [...network.enter("source"), builtBinary] });
  const there = at.arrived();
  await until(() => there.isRunning(), "its QEMU there", 60_000);
  const resumed = (await there.watch()).nextEvent("RESUME", () => true, 60_000).then(() => Date.now());
  await doneOf(send);
  return await resumed;
}

async function reached(flags: string[], look: (seen: Seen[], resumedAtMs: number) => void): Promise<void> {
  const network = await NetworkHosts.make();
  try {
    await lay(network);
    const guest = await guestOn(network);
    const neighbour = network.exec("source", [
      process.execPath,
      pinger,
      "neighbour",
      neighbourIp,
      guestIp,
      mac,
    ]);
    await until(() => seenBy(neighbour).length > 50, `answers; ${neighbour.stderr()}`, 30_000);
    const resumedAtMs = await move(network, guest, flags);
    const answersSince = () =>
      seenBy(neighbour).filter(({ what, atMs }) => what === "answer" && atMs >= resumedAtMs);
    await until(() => answersSince().length > 50, "answers from there", 30_000);
    await expectMoved(at, guest);
    look(seenBy(neighbour), resumedAtMs);
    await neighbour.kill();
  } finally {
    await network.close();
  }
}

test(
  "its announcement comes once it runs, and every ping from the first one that it answers there",
  () =>
    reached([], (seen, resumedAtMs) => {
      // What the test hears of the event is late by as much as it is busy.
      const early = resumedAtMs - 50;
      const announced = seen.find(({ what, atMs }) => what === "announcement" && atMs >= early);
      const answers = seen.filter(({ what }) => what === "answer");
      const first = answers.find(({ atMs }) => atMs >= early);
      expect({ announced, first }).toEqual({ announced: expect.anything(), first: expect.anything() });
      const last = answers.filter(({ atMs }) => atMs < early).at(-1)!;
      const lost = first!.sequence! - last.sequence! - 1;
      console.log(
        `announced ${announced!.atMs - resumedAtMs} ms after it went on, answered ${first!.atMs - resumedAtMs} ms after; ${lost} pings of 10 ms each without an answer`,
      );
      // From there on none is lost.
      const after = answers
        .filter(({ atMs }) => atMs >= first!.atMs)
        .map(({ sequence }) => sequence! - first!.sequence!);
      expect(after).toEqual(after.map((_, n) => n));
    }),
  120_000,
);
