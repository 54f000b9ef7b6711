/** Running guests, moved by the compiled binary between two hosts: what they counted, wrote and remembered goes on. */
import { describe, expect, test } from "bun:test";
import { closeSync, existsSync, openSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { ArrivedGuest } from "../../support/guests/arrived-guest.ts";
import type { RunningHosts } from "../../support/moves/running-hosts.ts";
import { eachTestHasRunningHosts } from "../../support/moves/running-hosts-of-tests.ts";
import {
  doneOf,
  expectDisksAgree,
  expectGapless,
  expectMoved,
  type Printed,
  ticksOver,
} from "../../support/moves/whole-move.ts";

let at: RunningHosts;

eachTestHasRunningHosts((made) => {
  at = made;
});

/** Waits until the VM has printed so many more ticks over there, whatever it printed before. */
async function goesOn(stations: Printed[], arrived: ArrivedGuest, ticks = 5): Promise<void> {
  await arrived.waitForTick((ticksOver(...stations).at(-1) ?? 0) + ticks);
}

describe("a guest that counts is moved", () => {
  // Slow enough to see the guest go on meanwhile.
  const live = ["--bandwidth", "64M"];
  const stop = ["--mode", "stop"];
  const lanes = ["--multifd", "2"];
  const ways: { way: string; flags: string[]; isLive: boolean }[] = [
    { way: "live", flags: live, isLive: true },
    { way: "stopped", flags: stop, isLive: false },
    { way: "live, its RAM over three connections", flags: [...live, ...lanes], isLive: true },
    { way: "stopped, its RAM over three connections", flags: [...stop, ...lanes], isLive: false },
  ];
  test.each(ways)("$way: no tick is missing or comes twice, disks and RAM are whole", async (the) => {
    const guest = await at.guest({ append: "random_mib=24 check_ticks=5" });
    await guest.waitForTick(5);
    await at.serve();
    const send = at.send(guest, the.flags);
    const phase = await send.waitFor("phase", { where: ({ phase }) => phase !== "prepare" });
    const ticksBefore = guest.ticks().length;
    const done = await doneOf(send);
    expect(done).toMatchObject({ name: "web1", owner: "destination", after: "rename" });
    expect(phase.phase).toBe(the.isLive ? "pre-copy" : "stop-and-copy");
    // It stands still from the beginning on, or for the last part alone.
    const ticksMeanwhile = guest.ticks().length - ticksBefore;
    if (the.isLive) expect(ticksMeanwhile).toBeGreaterThan(2);
    else expect(ticksMeanwhile).toBeLessThan(2);
    expect(done.downtimeMs! / 1000 / done.seconds).toBeLessThan(the.isLive ? 0.5 : 1);
    expect(done.downtimeMs).toBeGreaterThan(0);

    const arrived = await expectMoved(at, guest);
    await goesOn([guest, arrived], arrived);
    // It began to count here, and nowhere else.
    expect(arrived.ticks()).not.toContain(1);
    await arrived.log.waitUntil((text) => text.includes("ram intact"), "a look at its RAM");
    expect(arrived.serialText()).not.toContain("ram damaged");
    expect(at.inStore()).toEqual(["web1"]);
    await expectDisksAgree(join(at.hosts.store, "web1"), guest.options.disks, arrived, guest);
  });
});

describe("a guest that is moved there and back", () => {
  test("counts on over both moves, and leaves nothing there that could be started", async () => {
    const guest = await at.guest();
    await guest.waitForTick(3);
    await at.serve();
    await doneOf(at.send(guest));
    const there = await expectMoved(at, guest);
    await goesOn([guest, there], there, 3);
    // Its log goes with its run folder, and is still to be read.
    const log = openSync(join(there.folder, "serial.log"), "r");
    const kept = { serialText: () => readFileSync(`/proc/self/fd/${log}`, "utf8") };

    const back = await at.back();
    await doneOf(back.send(`qmp:${there.qmpPath}`));
    const home = new ArrivedGuest(back.destinationHome, "web1");
    expect(there.isRunning()).toBe(false);
    expect(existsSync(there.folder)).toBe(false);
    await goesOn([guest, kept, home], home, 3);
    // The folder is the VM's own, so it is retired with all that is in it.
    expect(at.inStore()).toEqual(["web1.migrated"]);
    const [left, came] = [join(at.hosts.store, "web1.migrated"), join(back.store, "web1")];
    expect(readdirSync(left).sort()).toEqual(readdirSync(came).sort());
    expect(readdirSync(came)).toEqual(expect.arrayContaining(["data.raw", "system.qcow2", "vm.json"]));
    await expectDisksAgree(came, guest.options.disks, home, guest, kept);
    closeSync(log);
  });
});

test("a guest that is paused stays so, and goes on over there when it is told to", async () => {
  const guest = await at.guest();
  await guest.waitForTick(3);
  await (await guest.watch()).execute("stop");
  const before = guest.serialText();
  await at.serve();
  const done = await doneOf(at.send(guest));
  expect(done.downtimeMs).toBeUndefined();
  const arrived = await expectMoved(at, guest);
  expect(await arrived.status()).toBe("paused");
  expect([guest.serialText(), arrived.serialText()]).toEqual([before, ""]);
  await (await arrived.watch()).execute("cont");
  await goesOn([guest, arrived], arrived, 3);
  expectGapless(guest, arrived);
});
