/** Running guests whose way to the destination is compressed: they go on whole, and fewer bytes cross the link. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from "bun:test";
import { closeSync, openSync, readFileSync, writeSync } from "node:fs";
import { basename, join } from "node:path";
import type { ArrivedGuest } from "../../support/guests/arrived-guest.ts";
import { FrozenGuest } from "../../support/guests/frozen-guest.ts";
import type { RunningGuest } from "../../support/guests/running-guest.ts";
import type { CuttingProxy } from "../../support/moves/cutting-proxy.ts";
import { NetworkHosts } from "../../support/moves/links/network-hosts.ts";
import { RunningHosts } from "../../support/moves/running-hosts.ts";
import { doneOf, expectDisksAgree, expectGapless, expectMoved } from "../../support/moves/whole-move.ts";
import { builtBinary, type MigrateProcess, runMigrate } from "../../support/system/process.ts";

const mib = 2 ** 20;
const limitMs = 90_000;
/** What zstd makes half as long, and what it makes no shorter. */
const filled = { programMiB: 40, randomMiB: 8 };

let frozen: FrozenGuest;
let at: RunningHosts;
const networks: NetworkHosts[] = [];

// The first run of all builds the guest.
beforeAll(async () => {
  const { programMiB, randomMiB } = filled;
  const append = `program_mib=${programMiB} random_mib=${randomMiB} check_ticks=10`;
  frozen = await FrozenGuest.make({ append });
}, 300_000);
afterAll(() => frozen.remove());
afterEach(async () => {
  await at.close();
  for (const network of networks.splice(0)) await network.close();
}, 60_000);

/** Where the guest, which writes a sector for each tick, never looks. */
const farMiB = 4;
/** Text that zstd makes much shorter. */
const text = Buffer.alloc(4 * mib);
for (let line = 0, to = 0; to < text.length; line++) to += text.write(`line ${line} of a disk\n`, to);

/** A guest that runs, with text on its disk. */
async function makeGuest(hosts: RunningHosts): Promise<RunningGuest> {
  const guest = await frozen.thaw(hosts);
  const disk = openSync(guest.options.disks[0]!.path, "r+");
  writeSync(disk, text, 0, text.length, farMiB * mib);
  closeSync(disk);
  return guest;
}

/** The same, with a destination that serves over a link whose frames are known. */
async function begin(): Promise<{ guest: RunningGuest; proxy: CuttingProxy }> {
  at = await RunningHosts.make({ insecure: true });
  const guest = await makeGuest(at);
  await at.serve();
  return { guest, proxy: at.hosts.proxy };
}

/** The bytes of the RAM that QEMU has said, as QEMU counts them. */
function ramBytesOf({ events }: MigrateProcess): number {
  return Number(events.findLast(({ event }) => event === "ram")?.transferredBytes);
}

/** The guest has ticked on, its RAM and its disks are what they were. */
async function expectWhole(guest: RunningGuest): Promise<ArrivedGuest> {
  const before = { serialText: () => frozen.serialText };
  const arrived = await expectMoved(at, guest);
  // The first look may have begun over here, and under TCG a page that is written meanwhile may be missed (lost-guest.ts).
  const looks = () => [...arrived.serialText().matchAll(/ram (\w+)/g)].map(([, found]) => found);
  await arrived.log.waitUntil(() => looks().length >= 2, "two looks at its RAM");
  expect(looks()[1]).toBe("intact");
  expectGapless(before, guest, arrived);
  const folder = join(at.hosts.store, "web1");
  await expectDisksAgree(folder, guest.options.disks, arrived, before, guest);
  const { path } = guest.options.disks[0]!;
  const [there, here] = [join(folder, basename(path)), `${path}.migrated`].map((file) =>
    readFileSync(file).subarray(farMiB * mib),
  );
  expect(there!.equals(here!)).toBe(true);
  expect(there!.subarray(0, text.length).equals(text)).toBe(true);
  return arrived;
}

describe("a guest with work in its RAM, and text on its disk, is moved whole", () => {
  const stop = ["--mode", "stop"];
  const lanes = ["--multifd", "2"];
  test.each([
    { way: "live", level: "off", flags: [] },
    { way: "live", level: "1", flags: [] },
    { way: "live, its RAM over three connections", level: "1", flags: lanes },
    { way: "stopped", level: "1", flags: stop },
  ])(
    "$way, --compress $level",
    async ({ level, flags }) => {
      const { guest, proxy } = await begin();
      const send = at.send(guest, ["--compress", level, ...flags]);
      const done = await doneOf(send);
      const ramBytes = ramBytesOf(send);
      expect(ramBytes).toBeGreaterThan((filled.programMiB + filled.randomMiB) * mib);
      // What is said to have crossed the link has.
      const crossed = proxy.bytes["to-destination"];
      expect(done.wireBytes / crossed).toBeWithin(0.98, 1.02);
      if (level === "off") {
        expect(proxy.passed("dataZstd")).toBe(0);
        expect(crossed).toBeGreaterThan(ramBytes);
      } else {
        expect(proxy.passed("dataZstd")).toBeGreaterThan(0);
        expect(proxy.passed("data")).toBeGreaterThan(0);
        expect(crossed).toBeLessThan(ramBytes - (filled.programMiB / 4) * mib);
      }
      await expectWhole(guest);
    },
    limitMs,
  );
});

test(
  "a link that is cut again and again within what is compressed: nothing is lost, and the guest never learns of it",
  async () => {
    const { guest, proxy } = await begin();
    const cuts = 5;
    let passing = 0;
    let made = 0;
    proxy.breakBefore = (_direction, name) => {
      if (name !== "dataZstd" || made === cuts || ++passing % 20 !== 0) return false;
      made++;
      return true;
    };
    const send = at.send(guest, ["--compress", "1"]);
    await doneOf(send);
    expect(made).toBe(cuts);
    expect(send.events).toContainEqual(expect.objectContaining({ event: "link", state: "restored" }));
    await expectWhole(guest);
  },
  limitMs,
);

/** Two hosts with a link of that rate between them, of which one serves. */
async function beginApart(megabitsPerSec: number) {
  at = await RunningHosts.make();
  const network = await NetworkHosts.make({ megabitsPerSec });
  networks.push(network);
  const { destinationHome, sourceHome, store } = at.hosts;
  const listen = ["--listen", `${network.address("destination")}:0`, "--store", store];
  const serve = runMigrate(["serve", ...listen, "--qemu", "--json"], {
    home: destinationHome,
    binary: [...network.enter("destination"), builtBinary],
  });
  const { address, ticket } = await serve.waitFor("listening");
  const guest = await makeGuest(at);
  const send = (flags: string[]): MigrateProcess =>
    runMigrate(["send", `qmp:${guest.qmpPath}`, address, "--ticket", ticket!, ...flags, "--json"], {
      home: sourceHome,
      binary: [...network.enter("source"), builtBinary],
    });
  return { guest, network, send };
}

test(
  "--compress auto, over 200 Mbit/s: fewer bytes cross the link than there is RAM in use",
  async () => {
    const { guest, network, send } = await beginApart(200);
    const sending = send(["--compress", "auto"]);
    await doneOf(sending);
    expect(await network.linkBytes()).toBeLessThan(0.9 * ramBytesOf(sending));
    await expectWhole(guest);
  },
  limitMs,
);

test(
  "--bandwidth holds for what crosses the link, and what compressing leaves out is room for more",
  async () => {
    const { guest, network, send } = await beginApart(1000);
    const allowedBytesPerSec = 10 * mib;
    const sending = send(["--compress", "1", "--bandwidth", "10M"]);
    const look = async () => {
      const beganMs = performance.now();
      const bytes = await network.linkBytes();
      return { bytes, beganMs, endedMs: performance.now() };
    };
    const upTo = (bytes: number) =>
      sending.waitFor("ram", { where: ({ transferredBytes }) => transferredBytes > bytes });
    await sending.waitFor("phase", { where: ({ phase }) => phase === "pre-copy" });
    const begun = await look();
    await upTo(4 * mib);
    const disksDone = await look();
    await upTo(filled.programMiB * mib);
    const ramDone = await look();
    // QEMU itself holds the RAM back, and not the disks.
    for (const [from, to] of [
      [begun, disksDone],
      [disksDone, ramDone],
    ] as const) {
      const seconds = (to.endedMs - from.beganMs) / 1000;
      expect((to.bytes - from.bytes) / seconds).toBeLessThan(allowedBytesPerSec * 1.3);
    }
    const ramSeconds = (ramDone.beganMs - disksDone.beganMs) / 1000;
    expect(((filled.programMiB - 4) * mib) / ramSeconds).toBeGreaterThan(allowedBytesPerSec * 1.1);
    await doneOf(sending);
    await expectWhole(guest);
  },
  limitMs,
);
