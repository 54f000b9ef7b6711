/** The QEMU at the destination, or the one at the source, is killed at each moment of a running VM's move. */
import { describe, expect } from "bun:test";
import { existsSync } from "node:fs";
import type { DisturbedMove } from "../../support/moves/disturbed-move.ts";
import { afterRelease, beforeRelease, type MomentName } from "../../support/moves/move-moments.ts";
import { disturbedMoves } from "../../support/moves/running-hosts-of-tests.ts";
import { until } from "../../support/system/until.ts";

const { moveTest } = disturbedMoves();

function killThere(move: DisturbedMove): void {
  const { pidThere } = move.state;
  if (pidThere === undefined) throw new Error("there is no QEMU at the destination");
  process.kill(pidThere, "SIGKILL");
}

const killHere = (move: DisturbedMove) => process.kill(move.guest.pid, "SIGKILL");

const notThereYet: readonly MomentName[] = [
  "the first HELLO",
  "OFFER",
  "START, which starts the destination's QEMU",
];
describe("the destination's QEMU dies before the VM ran in it: the VM goes on at the source", () => {
  for (const moment of beforeRelease.filter((name) => !notThereYet.includes(name))) {
    moveTest(`at ${moment}`, async (move) => {
      await move.at(moment, () => killThere(move));
      const failure = await move.failure();
      expect(failure).toMatchObject({ code: 6 });
      expect(failure.error?.code).toBeOneOf(["qemu-failed", "cancelled"]);
      await move.state.expectStays();
    });
  }

  moveTest("at RELEASE, which the source had recorded: the destination gives the VM back", async (move) => {
    await move.at("RELEASE", () => killThere(move));
    const { code, error } = await move.failure();
    expect({ code, error }).toMatchObject({ code: 6, error: { code: "cancelled" } });
    await move.state.expectStays();
  });
});

describe("the destination's QEMU dies once the VM ran in it: that is a crash of the destination's own VM", () => {
  for (const moment of afterRelease.filter((name) => name !== "RELEASE")) {
    moveTest(`at ${moment}`, async (move) => {
      await move.at(moment, () => killThere(move));
      expect(await move.failure()).toEqual({ code: 0, error: undefined });
      await move.guest.ended();
      expect([move.state.source?.state, move.state.destination?.state]).toEqual(["confirmed", "closed"]);
      // Nobody of ours waits for a process that was killed.
      await until(() => move.state.pidThere === undefined, "the end of the QEMU that was killed");
      await move.state.expectWholeDisks();
    });
  }
});

describe("the source's QEMU dies before all of the VM has left it: the VM is gone, that is said, and its disks are here", () => {
  for (const moment of beforeRelease.filter((name) => name !== "SEAL" && name !== "READY")) {
    moveTest(`at ${moment}`, async (move) => {
      await move.at(moment, () => killHere(move));
      const { code, error } = await move.failure();
      expect({ code, error }).toMatchObject({ code: 6, error: { code: "qemu-failed" } });
      await move.guest.ended();
      await move.state.expectNothingThere();
      for (const { path } of move.guest.options.disks) expect(existsSync(path)).toBe(true);
      expect(move.state.source).toMatchObject({ state: "cancelled", settled: 1 });
    });
  }
});

describe("the source's QEMU dies once all of the VM has left it: the VM runs at the destination", () => {
  for (const moment of ["SEAL", "READY", ...afterRelease.slice(0, 2)] as MomentName[]) {
    moveTest(`at ${moment}`, async (move) => {
      await move.at(moment, () => killHere(move));
      expect(await move.failure()).toEqual({ code: 0, error: undefined });
      await move.state.expectMoved();
    });
  }
});
