/** A guest that writes its memory faster than the link carries it: what a live move does then, and what ends it. */
import { expect, test } from "bun:test";
import { triedAgain, wholeGuest } from "../../support/guests/lost-guest.ts";
import type { RunningGuest } from "../../support/guests/running-guest.ts";
import type { RunningHosts } from "../../support/moves/running-hosts.ts";
import { hostsOfEachTest } from "../../support/moves/running-hosts-of-tests.ts";
import { doneOf, expectDisksAgree, expectMoved } from "../../support/moves/whole-move.ts";
import type { EventNamed, MigrateProcess } from "../../support/system/process.ts";
import { until } from "../../support/system/until.ts";

const newHosts = hostsOfEachTest();
/** For three guests, see support/lost-guest.ts. */
const limitMs = 480_000;

/** Two hosts, and a guest that is busy with its memory and knows whether that is still right. */
async function busyGuest(): Promise<{ at: RunningHosts; guest: RunningGuest }> {
  const at = await newHosts();
  const guest = await at.guest({ ramMiB: 256, append: "dirty_mib=64 random_mib=8 check_ticks=20" });
  await at.serve();
  await guest.log.waitUntil((text) => text.includes("dirty pass 10"), "a guest that is busy");
  return { at, guest };
}

const ramOf = (send: MigrateProcess) =>
  send.events.filter(({ event }) => event === "ram") as EventNamed<"ram">[];

/** It goes on over there, its memory as it was, at the tick behind the last one here. */
async function expectWhole(at: RunningHosts, guest: RunningGuest): Promise<void> {
  await wholeGuest(() => expectIntact(at, guest));
}

async function expectIntact(at: RunningHosts, guest: RunningGuest): Promise<void> {
  const arrived = await expectMoved(at, guest);
  await arrived.log.waitUntil((text) => text.includes("ram intact"), "a look at the memory");
  expect(arrived.serialText() + guest.serialText()).not.toContain("ram damaged");
  await expectDisksAgree(`${at.hosts.store}/web1`, guest.options.disks, arrived, guest);
}

test(
  "a guest that is too fast is sent pass after pass, then slowed down until it is through",
  triedAgain(async () => {
    const { at, guest } = await busyGuest();
    const send = at.send(guest, ["--bandwidth", "48M", "--downtime-limit", "100ms"]);
    const second = await send.waitFor("ram", {
      where: ({ iteration }) => iteration === 2,
      deadlineMs: 60_000,
    });
    // Left alone, it would go on like this for ever.
    expect(second.dirtyBytesPerSec).toBeGreaterThanOrEqual(0);
    await send.waitFor("ram", { where: ({ iteration }) => iteration === 3, deadlineMs: 60_000 });
    await send.waitFor("ram", { where: ({ throttlePercent }) => throttlePercent > 0, deadlineMs: 60_000 });
    const done = await doneOf(send);
    expect(done.downtimeMs).toBeGreaterThan(0);
    expect(done.downtimeMs).toBeLessThan(5_000);

    const seen = ramOf(send);
    const passes = [...new Set(seen.map(({ iteration }) => iteration))];
    expect(passes.slice(0, 3)).toEqual([1, 2, 3]);
    expect(seen.some((ram) => ram.dirtyBytesPerSec > ram.bandwidthBytesPerSec)).toBe(true);
    expect(Math.max(...seen.map(({ throttlePercent }) => throttlePercent))).toBeGreaterThanOrEqual(20);
    await expectWhole(at, guest);
  }),
  limitMs,
);

test(
  "with --auto-converge off it is not slowed and does not get through, until the downtime may be longer",
  triedAgain(async () => {
    const { at, guest } = await busyGuest();
    const flags = ["--bandwidth", "48M", "--downtime-limit", "1ms", "--auto-converge", "off"];
    const send = at.send(guest, flags);
    await send.waitFor("ram", { where: ({ iteration }) => iteration >= 5, deadlineMs: 90_000 });
    expect(await guest.status()).toBe("running");
    const before = ramOf(send);
    expect(new Set(before.map(({ throttlePercent }) => throttlePercent))).toEqual(new Set([0]));
    expect(before.at(-1)!.expectedDowntimeMs).toBeGreaterThan(1);

    const monitor = await guest.watch();
    await monitor.execute("migrate-set-parameters", { "downtime-limit": 30_000 });
    const done = await doneOf(send);
    expect(new Set(ramOf(send).map(({ throttlePercent }) => throttlePercent))).toEqual(new Set([0]));
    // What was left at that moment went while the guest stood still.
    expect(done.downtimeMs).toBeGreaterThan(100);
    expect(done.downtimeMs).toBeLessThan(30_000);
    await expectWhole(at, guest);
  }),
  limitMs,
);

/** A move of a guest whose writes wait for the destination, since it writes faster than the link; `told` says so. */
async function slowedGuest() {
  const at = await newHosts();
  const guest = await at.guest({
    append: "scrub_mib=8 tick_ms=500",
    disks: [{ name: "data.raw", format: "raw", sizeMiB: 32 }],
  });
  const serve = await at.serve();
  await guest.log.waitUntil((text) => text.includes("scrub pass 2"), "a guest that is busy");
  const send = at.send(guest, ["--bandwidth", "4M"]);
  const told = await send.waitFor("notice", {
    where: ({ message }) => message.startsWith("the guest of"),
    deadlineMs: 120_000,
  });
  return { at, guest, serve, send, told };
}

test(
  "a guest whose writes wait for a destination that is gone is soon let write again, long before --retry-for is over",
  async () => {
    const { guest, serve, send } = await slowedGuest();
    await serve.kill();
    await send.waitFor("error", { deadlineMs: 60_000 });
    expect(await send.exit).toMatchObject({ code: 4 });
    await guest.log.waitForTick((guest.log.ticks().at(-1) ?? 0) + 3);
  },
  limitMs,
);

test(
  "a guest that writes its disk faster than the link waits for the destination, and moves",
  async () => {
    const { at, guest, send, told } = await slowedGuest();
    expect(told.message).toBe(
      "the guest of web1 writes data.raw faster than the link carries it: its copy begins anew, and each of its writes waits for the destination from now on (if the link is gone for 15 s, the move is given up, so that it can write)",
    );
    await doneOf(send);
    const arrived = await expectMoved(at, guest);
    await expectDisksAgree(`${at.hosts.store}/web1`, guest.options.disks, arrived, guest);
  },
  limitMs,
);

test(
  "one that never gets through is given up by --timeout, and goes on at the source",
  async () => {
    const { at, guest } = await busyGuest();
    const send = at.send(guest, ["--bandwidth", "4M", "--auto-converge", "off", "--timeout", "6s"]);
    expect(await send.exit).toMatchObject({ code: 4 });
    expect(send.events.at(-1)).toMatchObject({
      message: "not at the handover after 6 s (--timeout); the VM stays here",
      hint: "it goes on here as before, and nothing of it stays at the destination",
    });
    await guest.log.waitForTick((guest.log.ticks().at(-1) ?? 0) + 3);
  },
  limitMs,
);

test(
  "one that never gets through is tuned on its way until it does, and what was changed is in the report",
  triedAgain(async () => {
    const { at, guest } = await busyGuest();
    const send = at.send(guest, ["--bandwidth", "4M", "--downtime-limit", "1ms"]);
    await send.waitFor("ram", { deadlineMs: 60_000 });
    const off = at.hosts.source(["tune", "web1", "--auto-converge", "off"]);
    expect(await off.exit).toMatchObject({ code: 0 });
    const monitor = await guest.watch();
    const parameters = () => monitor.execute("query-migrate-parameters") as Promise<Record<string, unknown>>;
    expect(await parameters()).toMatchObject({ "max-cpu-throttle": 1, "cpu-throttle-initial": 1 });
    const flags = ["--bandwidth", "48M", "--downtime-limit", "30s", "--auto-converge", "on"];
    const tune = at.hosts.source(["tune", "web1", ...flags]);
    expect(await tune.exit).toMatchObject({ code: 0 });
    const tuned = { bandwidthBytesPerSec: 48 * 1024 ** 2, downtimeLimitMs: 30_000, autoConverge: true };
    const done = await doneOf(send);
    expect(done).toMatchObject({ tuned });
    expect(done.seconds).toBeLessThan(45);
    await expectWhole(at, guest);
  }),
  limitMs,
);

test(
  "QEMU does not switch auto-converge on while it sends: that is refused, the rest of it not done, and what was tuned is set back",
  async () => {
    const { at, guest } = await busyGuest();
    const monitor = await guest.watch();
    const parameters = () => monitor.execute("query-migrate-parameters") as Promise<Record<string, unknown>>;
    const before = await parameters();
    const begun = ["--bandwidth", "4M", "--auto-converge", "off", "--timeout", "15s"];
    const send = at.send(guest, begun);
    await send.waitFor("ram", { deadlineMs: 60_000 });
    const tune = at.hosts.source(["tune", "web1", "--bandwidth", "5M", "--auto-converge", "on"]);
    expect(await tune.exit).toMatchObject({ code: 6 });
    expect(tune.events.at(-1)).toMatchObject({
      code: "policy",
      message: "auto-converge cannot be switched on while QEMU sends the RAM",
    });
    expect(send.events.some(({ event }) => event === "tuned")).toBe(false);
    const off = at.hosts.source(["tune", "web1", "--auto-converge", "off", "--downtime-limit", "2ms"]);
    expect(await off.exit).toMatchObject({ code: 0 });
    expect(await send.exit).toMatchObject({ code: 4 });
    await guest.log.waitForTick((guest.log.ticks().at(-1) ?? 0) + 3);
    expect(await parameters()).toEqual(before);
  },
  limitMs,
);

test(
  "one that never gets through is stopped by --on-timeout force, which says so first, and moves",
  triedAgain(async () => {
    const { at, guest } = await busyGuest();
    const flags = ["--bandwidth", "12M", "--downtime-limit", "1ms", "--auto-converge", "off"];
    const send = at.send(guest, [...flags, "--timeout", "6s", "--on-timeout", "force"]);
    const said = await send.waitFor("warning", { deadlineMs: 60_000 });
    expect(said.message).toBe(
      "web1 is not at the handover after 6 s (--timeout): it is stopped here now, so that the rest gets through (--on-timeout force)",
    );
    const done = await doneOf(send);
    // From where it was stopped: what was left, at most its whole memory, went while it stood still.
    expect(done.downtimeMs).toBeGreaterThan(500);
    expect(done.runs).toBe(true);
    await expectWhole(at, guest);
  }),
  limitMs,
);

test(
  "one that was stopped by --on-timeout force, and whose destination is gone then, goes on at the source",
  async () => {
    const at = await newHosts();
    const guest = await at.guest({ ramMiB: 256, append: "dirty_mib=64 random_mib=8 check_ticks=20" });
    const serve = await at.serve();
    await guest.log.waitUntil((text) => text.includes("dirty pass 10"), "a guest that is busy");
    const flags = ["--bandwidth", "4M", "--downtime-limit", "1ms", "--auto-converge", "off"];
    const send = at.send(guest, [...flags, "--timeout", "10s", "--on-timeout", "force"]);
    await send.waitFor("warning", { deadlineMs: 60_000 });
    await until(async () => (await guest.status()) === "paused", "the guest to stand still");
    await serve.kill();
    expect(await send.exit).toMatchObject({ code: 4 });
    expect(await guest.status()).toBe("running");
    await guest.log.waitForTick((guest.log.ticks().at(-1) ?? 0) + 3);
  },
  limitMs,
);
