/** The destination's `migrate serve` is killed at each moment of a running VM's move, and started again. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { FrozenGuest } from "../../support/guests/frozen-guest.ts";
import { DisturbedMove } from "../../support/moves/disturbed-move.ts";
import { afterRelease, beforeRelease, type MomentName } from "../../support/moves/move-moments.ts";

let frozen: FrozenGuest;

// The first run of all builds the guest.
beforeAll(async () => {
  frozen = await FrozenGuest.make();
}, 300_000);
afterAll(() => frozen.remove());

const limitMs = 60_000;
const withMove = (work: (move: DisturbedMove) => Promise<void>) => DisturbedMove.with(frozen, work);

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
    test(
      `at ${moment}`,
      async () => {
        await withMove(async (move) => {
          await killServe(move, moment, "passes");
          expect(await move.failure()).toEqual({ code: 0, error: undefined });
          await move.state.expectMoved();
        });
      },
      limitMs,
    );
  }
});

describe("serve dies while it receives: what is there is ended by the next one, and the VM goes on at the source", () => {
  for (const moment of beforeRelease.filter((name) => !unknown.includes(name) && name !== "READY")) {
    test(
      `at ${moment}`,
      async () => {
        await withMove(async (move) => {
          await killServe(move, moment, "passes");
          const failure = await move.failure();
          expect(failure).toMatchObject({ code: 6 });
          // Whether a stream or the control connection hears first of it.
          expect(failure.error?.code).toBeOneOf(["cancelled", "qemu-failed", "policy"]);
          await move.state.expectStays();
        });
      },
      limitMs,
    );
  }

  test(
    "at READY, which is lost",
    async () => {
      await withMove(async (move) => {
        await killServe(move, "READY", "is lost");
        expect(await move.failure()).toMatchObject({ code: 6 });
        await move.state.expectStays();
      });
    },
    limitMs,
  );
});

describe("serve dies once the VM is whole: its QEMU goes on, the next serve takes it over, and the move ends well", () => {
  for (const moment of ["READY", ...afterRelease] as MomentName[]) {
    for (const frame of ["passes", "is lost"] as const) {
      if (moment === "READY" && frame === "is lost") continue;
      test(
        `at ${moment}, which ${frame}`,
        async () => {
          await withMove(async (move) => {
            const qemu = move.state.pidThere;
            await killServe(move, moment, frame);
            expect(await move.failure()).toEqual({ code: 0, error: undefined });
            if (qemu !== undefined) expect(move.state.pidThere).toBe(qemu);
            await move.state.expectMoved();
          });
        },
        limitMs,
      );
    }
  }
});
