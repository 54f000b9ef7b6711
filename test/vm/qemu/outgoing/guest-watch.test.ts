import { expect, test } from "bun:test";
import { join } from "node:path";
import { MigrateError } from "../../../../src/protocol/errors.ts";
import { GuestWatch, requireMovable } from "../../../../src/vm/qemu/outgoing/guest-watch.ts";
import { Qmp } from "../../../../src/vm/qemu/qmp/qmp.ts";
import { eachTestInFolder } from "../../../support/system/test-folder.ts";
import { type PlayedMonitor, PlayedQemu, playedEvent } from "../qmp/played-qemu.ts";

let folder: string;
eachTestInFolder("migrate-watch-", (made) => {
  folder = made;
});

/** A watch of a guest that runs, and the end that plays QEMU. */
async function watched(
  work: (watch: GuestWatch, qemu: PlayedMonitor, qmp: Qmp) => Promise<void>,
): Promise<void> {
  const monitor = Promise.withResolvers<PlayedMonitor>();
  const path = join(folder, "qmp");
  const played = await PlayedQemu.listen(path, async (end) => {
    monitor.resolve(end);
    await end.negotiate();
  });
  const qmp = await Qmp.connect(path);
  try {
    await work(new GuestWatch(qmp, true, () => {}), await monitor.promise, qmp);
  } finally {
    qmp.close();
    played.close();
  }
}

const paused = { return: { status: "paused" } };

test("a VM that is resumed in the same moment in which QEMU tells that it was paused runs", async () => {
  await watched(async (watch, qemu, qmp) => {
    const resumed = qmp.nextEvent("RESUME");
    await qemu.say(playedEvent("STOP"));
    const { id } = await qemu.command();
    // One read: the event is handled before whoever asked has the answer, and is the newer.
    await qemu.say({ ...paused, id }, playedEvent("RESUME"));
    await resumed;
    await watch.hold();
    expect(watch.runs).toBe(true);
  });
});

test("a VM that is resumed in the moment in which it is to be stopped is looked at again, and stopped", async () => {
  await watched(async (watch, qemu) => {
    const stopped = watch.stop();
    await qemu.say({ ...paused, id: (await qemu.command()).id }, playedEvent("RESUME"));
    await qemu.say({ return: { status: "running" }, id: (await qemu.command()).id });
    const stop = await qemu.command();
    expect(stop.execute).toBe("stop");
    await qemu.say({ return: {}, id: stop.id });
    await stopped;
    expect(watch.runs).toBe(true);
  });
});

test("a VM that QEMU itself resumes, because its migration failed, was resumed by nobody else", async () => {
  const [failed, resume] = [playedEvent("MIGRATION", { status: "failed" }), playedEvent("RESUME")];
  for (const [events, blamed] of [
    [[failed, resume], false],
    [[resume], true],
    [[failed, playedEvent("MIGRATION", { status: "active" }), resume], true],
  ] as const) {
    await watched(async (watch, qemu, qmp) => {
      await watch.hold();
      const resumed = qmp.nextEvent("RESUME");
      await qemu.say(...events);
      await resumed;
      expect(watch.reason?.message.startsWith("Another program has resumed the VM") === true).toBe(blamed);
      expect(watch.runs).toBe(true);
    });
  }
});

test("a VM in a run state that cannot be kept is refused, with what helps", () => {
  expect(["running", "io-error"].map(requireMovable)).toEqual([true, true]);
  expect(["paused", "postmigrate"].map(requireMovable)).toEqual([false, false]);
  for (const state of ["suspended", "shutdown", "guest-panicked", "prelaunch", "inmigrate", "watchdog"]) {
    const refusal = () => requireMovable(state);
    expect(refusal, state).toThrow(MigrateError);
    try {
      refusal();
    } catch (thrown) {
      expect((thrown as MigrateError).hint, state).toMatch(/[.]$/);
    }
  }
  expect(() => requireMovable("debug")).toThrow('in the state "debug"');
});
