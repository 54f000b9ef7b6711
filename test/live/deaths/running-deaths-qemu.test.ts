/** The QEMU at the destination, or the one at the source, is killed at each moment of a running VM's move. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { existsSync } from "node:fs";
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
    test(
      `at ${moment}`,
      async () => {
        await withMove(async (move) => {
          await move.at(moment, () => killThere(move));
          const failure = await move.failure();
          expect(failure).toMatchObject({ code: 6 });
          expect(failure.error?.code).toBeOneOf(["qemu-failed", "cancelled"]);
          await move.state.expectStays();
        });
      },
      limitMs,
    );
  }

  test(
    "at RELEASE, which the source had recorded: the destination gives the VM back",
    async () => {
      await withMove(async (move) => {
        await move.at("RELEASE", () => killThere(move));
        const { code, error } = await move.failure();
        expect({ code, error }).toMatchObject({ code: 6, error: { code: "cancelled" } });
        await move.state.expectStays();
      });
    },
    limitMs,
  );
});

describe("the destination's QEMU dies once the VM ran in it: that is a crash of the destination's own VM", () => {
  for (const moment of afterRelease.filter((name) => name !== "RELEASE")) {
    test(
      `at ${moment}`,
      async () => {
        await withMove(async (move) => {
          await move.at(moment, () => killThere(move));
          expect(await move.failure()).toEqual({ code: 0, error: undefined });
          await move.guest.ended();
          expect([move.state.source?.state, move.state.destination?.state]).toEqual(["confirmed", "closed"]);
          expect(move.state.pidThere).toBeUndefined();
          await move.state.expectWholeDisks();
        });
      },
      limitMs,
    );
  }
});

describe("the source's QEMU dies before all of the VM has left it: the VM is gone, that is said, and its disks are here", () => {
  for (const moment of beforeRelease.filter((name) => name !== "SEAL" && name !== "READY")) {
    test(
      `at ${moment}`,
      async () => {
        await withMove(async (move) => {
          await move.at(moment, () => killHere(move));
          const { code, error } = await move.failure();
          expect({ code, error }).toMatchObject({ code: 6, error: { code: "qemu-failed" } });
          await move.guest.ended();
          await move.state.expectNothingThere();
          for (const { path } of move.guest.options.disks) expect(existsSync(path)).toBe(true);
          expect(move.state.source).toMatchObject({ state: "cancelled", settled: 1 });
        });
      },
      limitMs,
    );
  }
});

describe("the source's QEMU dies once all of the VM has left it: the VM runs at the destination", () => {
  for (const moment of ["SEAL", "READY", ...afterRelease.slice(0, 2)] as MomentName[]) {
    test(
      `at ${moment}`,
      async () => {
        await withMove(async (move) => {
          await move.at(moment, () => killHere(move));
          expect(await move.failure()).toEqual({ code: 0, error: undefined });
          await move.state.expectMoved();
        });
      },
      limitMs,
    );
  }
});
