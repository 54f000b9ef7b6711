/** Deaths during `--mode stop`, in which the VM stands still from the beginning and its disks go as chunks. */
import { describe, expect } from "bun:test";
import type { DisturbedMove } from "../../support/moves/disturbed-move.ts";
import type { Moment } from "../../support/moves/move-moments.ts";
import { disturbedMoves } from "../../support/moves/running-hosts-of-tests.ts";

const { moveTest } = disturbedMoves();
const flags = ["--mode", "stop"];
const moments: Record<string, Moment> = {
  // The kernel and its initrd are fewer than that.
  "a chunk of a disk": { phase: "stop-and-copy", direction: "to-destination", frame: "chunk", number: 20 },
  "a piece of the RAM": { phase: "stop-and-copy", direction: "to-destination", frame: "data", number: 3 },
  SEAL: { phase: "seal", direction: "to-destination", frame: "seal", number: 1 },
};

/** A test that moves until that moment, at which the VM stands still, and does `act`. */
function disturbedTest(
  what: string,
  moment: string,
  act: (move: DisturbedMove) => void,
  then: (move: DisturbedMove) => Promise<void>,
): void {
  moveTest(what, async (move) => {
    await move.at(moments[moment]!, () => act(move), flags);
    await then(move);
    await move.state.expectStays();
  });
}

describe("a stopped VM goes on at the source", () => {
  for (const moment of Object.keys(moments)) {
    disturbedTest(
      `where send dies at ${moment}`,
      moment,
      (move) => move.send.signal("SIGKILL"),
      async (move) => {
        expect(await move.send.exit).toMatchObject({ signal: "SIGKILL" });
      },
    );

    disturbedTest(
      `where serve dies at ${moment}`,
      moment,
      (move) => move.serve.signal("SIGKILL"),
      async (move) => {
        await move.serve.exit;
        await move.startServe();
        expect(await move.failure()).toMatchObject({ code: 6 });
      },
    );
  }

  for (const moment of ["a piece of the RAM", "SEAL"]) {
    disturbedTest(
      `where the destination's QEMU dies at ${moment}`,
      moment,
      (move) => process.kill(move.state.pidThere!, "SIGKILL"),
      async (move) => {
        expect(await move.failure()).toMatchObject({ code: 6, error: { code: "qemu-failed" } });
      },
    );
  }
});

moveTest("a stopped VM whose send dies is moved by the next one after all", async (move) => {
  await move.at(moments["a chunk of a disk"]!, () => move.send.signal("SIGKILL"), flags);
  await move.send.exit;
  await move.state.ticksHere();
  move.startSend(flags);
  expect(await move.failure()).toEqual({ code: 0, error: undefined });
  await move.state.expectMoved();
});
