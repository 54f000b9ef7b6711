/**
 * What of a VM is read while it stands still: with `--mode stop` its images as they are then, however much they have
 * grown since the move began, and as QEMU leaves them when it closes them.
 */
import { describe, expect } from "bun:test";
import { join } from "node:path";
import { disturbedMoves } from "../../support/moves/running-hosts-of-tests.ts";
import { runChild } from "../../support/system/child.ts";

// Every tick is a cluster more: a file that is looked at too early is too short.
const { moveTest } = disturbedMoves({ append: "tick_ms=5", clusterBytes: 512 });
const flags = ["--mode", "stop"];

/** The Park-Miller generator: a number in [0, 1) for each seed, the same in every run. */
const randomOf = (seed: number): number => ((seed * 48271) % 2147483647) / 2147483647;

// [VM-9]
describe("every tick that a guest printed is on the disks that arrive", () => {
  for (let seed = 1; seed <= 20; seed++) {
    const frame = seed % 2 === 0 ? "offer" : "accept";
    const stallMs = Math.round(400 * randomOf(seed * 7919));
    moveTest(`seed ${seed}: the link stands still for ${stallMs} ms at ${frame}`, async (move) => {
      const direction = frame === "offer" ? "to-destination" : "to-source";
      const goOn: (() => void)[] = [];
      await move.at(
        { phase: "prepare", direction, frame, number: 1 },
        () => {
          goOn.push(move.hosts.hosts.proxy.stall());
          setTimeout(() => goOn.pop()?.(), stallMs);
        },
        flags,
      );
      expect(await move.failure()).toEqual({ code: 0, error: undefined });
      await move.state.expectMoved(`seed ${seed}`);
    });
  }
});

moveTest("a bitmap that QEMU writes behind the end of an image as it closes it arrives", async (move) => {
  const qmp = await move.guest.watch();
  const blocks = (await qmp.execute("query-block")) as { inserted?: { "node-name": string; drv: string } }[];
  const node = blocks.find(({ inserted }) => inserted?.drv === "qcow2")!.inserted!["node-name"];
  await qmp.execute("block-dirty-bitmap-add", { node, name: "nightly", persistent: true, granularity: 512 });
  move.startSend(flags);
  expect(await move.failure()).toEqual({ code: 0, error: undefined });
  const there = await (await move.state.watchThere()).execute("query-block");
  const bitmaps = (there as { inserted?: { "dirty-bitmaps"?: object[] } }[]).flatMap(
    ({ inserted }) => inserted?.["dirty-bitmaps"] ?? [],
  );
  expect(bitmaps).toMatchObject([{ name: "nightly", persistent: true, recording: true }]);
  await move.state.expectMoved();
  await runChild(["qemu-img", "check", "-q", join(move.hosts.hosts.store, "web1", "system.qcow2")]);
});
