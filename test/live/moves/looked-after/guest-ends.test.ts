/**
 * A guest that switches itself off, or boots again, in the middle of its move: it is in one place, and in one state, and
 * that is said. Of domains of libvirt: test/live/libvirt/deaths/domain-guests.test.ts.
 */
import { expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { join } from "node:path";
import type { RunningGuest } from "../../../support/guests/running-guest.ts";
import { sessionsIn } from "../../../support/moves/ownership.ts";
import type { RunningHosts } from "../../../support/moves/running-hosts.ts";
import { eachTestHasRunningHosts } from "../../../support/moves/running-hosts-of-tests.ts";
import { doneOf, expectMoved, failureOf } from "../../../support/moves/whole-move.ts";
import type { MigrateProcess } from "../../../support/system/process.ts";
import { until } from "../../../support/system/until.ts";

let at: RunningHosts;

eachTestHasRunningHosts((made) => {
  at = made;
});

/** What the kernel does at once where a BREAK on its serial line is followed by this letter (Linux, sysrq.rst). */
const keys = { reboots: "b", "powers off": "o" } as const;
const append = "sysrq_always_enabled random_mib=32";

/** Tells the guest's kernel, until it hears or its QEMU is gone. */
async function tell(guest: RunningGuest, key: string): Promise<void> {
  const watch = await guest.watch();
  const line = await Bun.connect({ unix: join(guest.options.folder, "serial"), socket: { data() {} } });
  const heard = guest.serialText().length;
  const isHeard = async () => {
    await watch.execute("chardev-send-break", { id: "serial" }).catch(() => {});
    line.write(key);
    return !guest.isRunning() || guest.serialText().slice(heard).includes("sysrq: ");
  };
  await until(isHeard, "the kernel's answer", 30_000);
  line.end();
}

/** Its move, once some of its RAM is there; slow enough for it to be under way for seconds. */
async function underWay(guest: RunningGuest, flags: string[] = []): Promise<MigrateProcess> {
  await guest.waitForTick(3);
  await at.serve();
  const send = at.send(guest, ["--bandwidth", "12M", ...flags]);
  await send.waitFor("ram", {
    where: ({ transferredBytes }) => transferredBytes > 2 ** 20,
    deadlineMs: 60_000,
  });
  return send;
}

/** It is off here, with its disks, and the destination has nothing of it. */
async function expectOffHere(guest: RunningGuest, send: MigrateProcess): Promise<void> {
  expect(await failureOf(send)).toMatchObject({
    exitCode: 5,
    code: "source-changed",
    side: "source",
    message: "The guest has switched itself off while it was being moved",
    hint: "Its disks are here, and whole: send them as files, or start it again and send it then.",
  });
  await guest.ended();
  for (const { path } of guest.options.disks) expect(existsSync(path)).toBe(true);
  await until(
    () => at.inStore().length === 0 && at.processesAtDestination().length === 0,
    "an empty destination",
  );
  const states = (home: string, side: "source" | "destination") =>
    sessionsIn(home, side).map(({ state }) => state);
  expect(states(at.hosts.sourceHome, "source")).toEqual(["cancelled"]);
  await until(() => states(at.hosts.destinationHome, "destination").join() === "cancelled", "its end there");
}

test("one that powers off is off here, and that is said", async () => {
  const guest = await at.guest({ append });
  const send = await underWay(guest);
  await tell(guest, keys["powers off"]);
  await expectOffHere(guest, send);
});

test("so is one that reboots, where its QEMU is to end then", async () => {
  const guest = await at.guest({ append });
  const send = await underWay(guest);
  await tell(guest, keys.reboots);
  await expectOffHere(guest, send);
});

test("one that reboots moves, and boots there or here as it would have", async () => {
  const guest = await at.guest({ append });
  const send = await underWay(guest);
  await (await guest.watch()).execute("set-action", { reboot: "reset" });
  await tell(guest, keys.reboots);
  await doneOf(send);
  const there = await expectMoved(at, guest);
  await until(
    () => there.isRunning() && bootsOf(guest.serialText() + there.serialText()) === 2,
    "its second boot",
    60_000,
  );
  expect(await there.status()).toBe("running");
  expect(at.inStore()).toEqual(["web1"]);
});

/** How often it began to count. */
const bootsOf = (text: string) => text.match(/^tick 1(?=\r?\n)/gm)?.length ?? 0;
