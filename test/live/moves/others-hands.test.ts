/**
 * A VM that others have a hand in as well while it is moved: what they make of it is what moves, or ends the move, and
 * what they do with its QEMU is not broken off.
 */
import { describe, expect } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { callMonitor, statusOf } from "../../support/guests/seen/monitor.ts";
import type { DisturbedMove } from "../../support/moves/disturbed-move.ts";
import { type Moment, moments } from "../../support/moves/move-moments.ts";
import { disturbedMoves } from "../../support/moves/running-hosts-of-tests.ts";

const { moveTest } = disturbedMoves();

const here = async (move: DisturbedMove, command: string, args?: object) =>
  await (await move.guest.watch()).execute(command, args as Record<string, unknown>);

/** Does `act` with the guest's QEMU in the middle of the move, and waits until the command is done. */
async function during(move: DisturbedMove, act: () => Promise<unknown>, flags: string[] = []): Promise<void> {
  let acted: Promise<unknown> | undefined;
  const moment: Moment = flags.includes("stop")
    ? { phase: "stop-and-copy", direction: "to-destination", frame: "chunk", number: 20 }
    : moments["a piece of the mirrored disks"];
  const begin = () => {
    acted = act();
  };
  await move.at(moment, begin, ["--bandwidth", "16M", ...flags]);
  await acted;
}

// [VM-11]
describe("a VM that is paused in the middle of a move", () => {
  moveTest("is paused at the destination, and told to be", async (move) => {
    await during(move, () => here(move, "stop"));
    const done = await move.send.waitFor("done");
    expect(done).toMatchObject({ runs: false });
    expect(await move.failure()).toEqual({ code: 0, error: undefined });
    const there = await move.state.watchThere();
    expect(await statusOf(there)).toBe("paused");
    await there.execute("cont");
    await move.state.expectMoved();
  });

  moveTest("runs there if it was resumed meanwhile", async (move) => {
    await during(move, async () => {
      await here(move, "stop");
      await here(move, "cont");
    });
    expect(await move.failure()).toEqual({ code: 0, error: undefined });
    await move.state.expectMoved();
  });

  moveTest("stays paused here if the move is given up", async (move) => {
    await during(move, () => here(move, "stop"));
    move.hosts.hosts.proxy.breakAll();
    move.send.signal("SIGINT");
    expect(await move.send.exit).toMatchObject({ code: 130 });
    expect(await move.guest.status()).toBe("paused");
    await here(move, "cont");
    await move.state.expectStays();
  });
});

describe("a move ends, and the VM stays as it is here,", () => {
  moveTest("if others resume a VM that was stopped to be read", async (move) => {
    await during(move, () => here(move, "cont"), ["--mode", "stop"]);
    expect(await move.failure()).toMatchObject({
      code: 5,
      error: { code: "source-changed", message: expect.stringContaining("resumed the VM") },
    });
    await move.state.expectStays();
  });

  moveTest("if a device is plugged in", async (move) => {
    await during(move, async () => {
      await here(move, "object-add", { "qom-type": "rng-builtin", id: "dice" });
      await here(move, "device_add", { driver: "virtio-rng-pci", id: "plugged", rng: "dice" });
    });
    expect(await move.failure()).toMatchObject({
      code: 5,
      error: { code: "source-changed", message: expect.stringContaining("plugged was plugged in") },
    });
    await move.state.expectStays();
  });

  moveTest("if its QEMU is told to quit, and says so", async (move) => {
    await during(move, () => here(move, "quit").catch(() => {}));
    expect(await move.failure()).toMatchObject({
      code: 5,
      error: { code: "source-changed", message: expect.stringContaining("switched off") },
    });
    await move.state.expectNothingThere();
    expect(move.state.source?.state ?? "cancelled").toBe("cancelled");
  });
});

describe("a send is refused, and what others do with the VM's QEMU goes on,", () => {
  /** Sends, and expects to hear that the VM is busy with what `words` name. */
  async function expectBusy(move: DisturbedMove, words: string): Promise<void> {
    move.startSend();
    expect(await move.failure()).toMatchObject({
      error: { code: "vm-busy", side: "source", message: expect.stringContaining(words) },
    });
    expect(await move.guest.status()).toBe("running");
    expect(move.state.source).toBeUndefined();
  }

  moveTest("if another program saves the VM", async (move) => {
    await here(move, "migrate-set-parameters", { "max-bandwidth": 500_000 });
    await here(move, "migrate", { uri: "exec:cat > /dev/null" });
    await expectBusy(move, "saves the VM");
    expect(await here(move, "query-migrate")).toMatchObject({ status: "active" });
    expect(await here(move, "query-migrate-parameters")).toMatchObject({ "max-bandwidth": 500_000 });
  });

  moveTest("if a backup is made of a disk", async (move) => {
    const target = join(move.hosts.folder, "backup.raw");
    writeFileSync(target, Buffer.alloc(16 * 2 ** 20));
    const file = { driver: "file", filename: target };
    await here(move, "blockdev-add", { driver: "raw", "node-name": "backup", file });
    const blocks = (await here(move, "query-block")) as { inserted?: { "node-name": string; drv: string } }[];
    const device = blocks.find(({ inserted }) => inserted?.drv === "raw")!.inserted!["node-name"];
    const job = { "job-id": "nightly", device, target: "backup", sync: "full", speed: 100_000 };
    await here(move, "blockdev-backup", job);
    await expectBusy(move, "nightly (backup)");
    expect(await here(move, "query-block-jobs")).toMatchObject([{ device: "nightly" }]);
  });

  moveTest("if a disk is exported", async (move) => {
    const path = join(move.hosts.folder, "nbd");
    await here(move, "nbd-server-start", { addr: { type: "unix", data: { path } } });
    const blocks = (await here(move, "query-block")) as { inserted?: { "node-name": string } }[];
    const node = blocks.find(({ inserted }) => inserted !== undefined)!.inserted!["node-name"];
    await here(move, "block-export-add", { type: "nbd", id: "pull", "node-name": node, name: "disk" });
    await expectBusy(move, "the export pull (nbd)");
    expect(await here(move, "query-block-exports")).toMatchObject([{ id: "pull" }]);
  });
});

moveTest(
  "the settings of QEMU's migrations are after a move that was given up as they were",
  async (move) => {
    const parameters = { "downtime-limit": 1234, "max-bandwidth": 7_000_000, "multifd-channels": 3 };
    await here(move, "migrate-set-parameters", parameters);
    const capabilities = ["xbzrle", "auto-converge"].map((capability) => ({ capability, state: true }));
    await here(move, "migrate-set-capabilities", { capabilities });
    const settings = async () => [
      await here(move, "query-migrate-parameters"),
      await here(move, "query-migrate-capabilities"),
    ];
    const before = await settings();
    await move.at("the RAM's first pass", () => move.send.signal("SIGINT"));
    expect(await move.send.exit).toMatchObject({ code: 130 });
    expect(await settings()).toEqual(before);
    await move.state.expectStays();
  },
);

moveTest(
  "a VM that runs at the destination can be reached there, though its source never confirms",
  async (move) => {
    await move.at("CONFIRM", () => {
      move.send.signal("SIGKILL");
      return "break";
    });
    const arrived = move.hosts.arrived();
    const monitor = await callMonitor(arrived.qmpPath, () => arrived.isRunning());
    expect(await statusOf(monitor)).toBe("running");
    monitor.close();
    move.startSend();
    expect(await move.failure()).toMatchObject({ code: 0 });
    await move.state.expectMoved();
    // Nobody listens there any more: what became of the VM is said, and not that.
    move.startSend();
    expect(await move.failure()).toMatchObject({
      code: 7,
      error: { code: "not-owner", message: expect.stringContaining("web1 was moved to") },
    });
  },
);
