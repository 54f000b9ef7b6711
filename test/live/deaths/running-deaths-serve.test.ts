/** The destination's `migrate serve` is killed at each moment of a running VM's move, and started again. */
import { describe, expect } from "bun:test";
import type { DisturbedMove } from "../../support/moves/disturbed-move.ts";
import { afterRelease, beforeRelease, type MomentName } from "../../support/moves/move-moments.ts";
import { disturbedMoves } from "../../support/moves/running-hosts-of-tests.ts";

const { moveTest } = disturbedMoves();

/** Kills serve at that moment, with or without the frame that was about to pass, and starts another one. */
async function killServe(
  move: DisturbedMove,
  moment: MomentName,
  frame: "passes" | "is lost",
): Promise<void> {
  await move.at(moment, () => {
    move.serve.signal("SIGKILL");
    return frame === "passes" ? "pass" : "break";
  });
  await move.serve.exit;
  await move.startServe();
}

const unknown: readonly MomentName[] = ["the first HELLO", "OFFER"];
describe("serve dies before it knows of the session: the next one receives the VM", () => {
  for (const moment of unknown) {
    moveTest(`at ${moment}`, async (move) => {
      // A send that has never had a link tries three times in under a second: the next serve may take longer.
      const { proxy } = move.hosts.hosts;
      let letIn = () => {};
      await move.at(moment, () => {
        move.serve.signal("SIGKILL");
        letIn = proxy.hold();
      });
      await move.serve.exit;
      await move.startServe();
      letIn();
      expect(await move.failure()).toEqual({ code: 0, error: undefined });
      await move.state.expectMoved();
    });
  }
});

describe("serve dies while it receives: what is there is ended by the next one, and the VM goes on at the source", () => {
  for (const moment of beforeRelease.filter((name) => !unknown.includes(name) && name !== "READY")) {
    moveTest(`at ${moment}`, async (move) => {
      await killServe(move, moment, "passes");
      const failure = await move.failure();
      // Whether a stream, QEMU or the control connection hears first of it.
      expect(failure).toMatchObject({
        code: 6,
        error: {
          code: "cancelled",
          message: "migrate serve was started anew at the destination, and what had arrived of web1 is gone",
          hint: "the VM goes on here as before; run the same command again",
        },
      });
      await move.state.expectStays();
    });
  }

  moveTest("at READY, which is lost", async (move) => {
    await killServe(move, "READY", "is lost");
    expect(await move.failure()).toMatchObject({ code: 6 });
    await move.state.expectStays();
  });
});

describe("serve dies once the VM is whole: its QEMU goes on, the next serve takes it over, and the move ends well", () => {
  for (const moment of ["READY", ...afterRelease] as MomentName[]) {
    for (const frame of ["passes", "is lost"] as const) {
      if (moment === "READY" && frame === "is lost") continue;
      moveTest(`at ${moment}, which ${frame}`, async (move) => {
        const qemu = move.state.pidThere;
        await killServe(move, moment, frame);
        expect(await move.failure()).toEqual({ code: 0, error: undefined });
        if (qemu !== undefined) expect(move.state.pidThere).toBe(qemu);
        await move.state.expectMoved();
      });
    }
  }
});
