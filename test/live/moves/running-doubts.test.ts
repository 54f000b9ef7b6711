/** More than one process of a running VM's move dies, or a death meets a cut: what is in doubt is said, and a command settles it. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { FrozenGuest } from "../../support/guests/frozen-guest.ts";
import { DisturbedMove } from "../../support/moves/disturbed-move.ts";

let frozen: FrozenGuest;

// The first run of all builds the guest.
beforeAll(async () => {
  frozen = await FrozenGuest.make();
}, 300_000);
afterAll(() => frozen.remove());

const limitMs = 60_000;
const withMove = (work: (move: DisturbedMove) => Promise<void>) => DisturbedMove.with(frozen, work);

/** The VM stands still at the source, and its host says that nobody owns it for now. */
async function expectInDoubt(move: DisturbedMove): Promise<void> {
  expect(await move.guest.status()).not.toBe("running");
  const status = move.hosts.hosts.source(["status"]);
  await status.exit;
  expect(status.events).toContainEqual(
    expect.objectContaining({ name: "web1", state: "released", owner: "nobody yet" }),
  );
}

describe("OWNED is lost", () => {
  test(
    "the destination's QEMU dies, in which the VM ran: serve knows that, and the VM never goes on at the source",
    async () => {
      await withMove(async (move) => {
        await move.at("OWNED", () => {
          process.kill(move.state.pidThere!, "SIGKILL");
          return "break";
        });
        expect(await move.failure()).toEqual({ code: 0, error: undefined });
        await move.guest.ended();
        await move.state.expectWholeDisks();
      });
    },
    limitMs,
  );

  test(
    "serve and that QEMU die: send says that it is in doubt, and --owner source lets the VM go on there",
    async () => {
      await withMove(async (move) => {
        await move.at("OWNED", () => {
          move.serve.signal("SIGKILL");
          process.kill(move.state.pidThere!, "SIGKILL");
          return "break";
        });
        await move.serve.exit;
        await move.startServe();
        expect(await move.failure()).toMatchObject({
          code: 7,
          error: { code: "in-doubt", hint: expect.stringContaining("migrate resolve") },
        });
        await expectInDoubt(move);
        // A person has looked: what the guest did there is to be forgotten.
        move.state.forgetThere();
        const resolved = move.resolve(["--owner", "source"]);
        expect(await move.failure(resolved)).toEqual({ code: 0, error: undefined });
        await move.state.ticksHere();
        await move.state.expectUntouchedHere();
      });
    },
    limitMs,
  );

  test(
    "serve dies and the guest ends by itself: that it stands still is not taken for a VM that never ran",
    async () => {
      await withMove(async (move) => {
        await move.at("OWNED", () => {
          move.serve.signal("SIGKILL");
          return "break";
        });
        await move.serve.exit;
        await move.state.ticksThere();
        // From such an end QEMU lets no guest go on.
        const there = await move.state.watchThere();
        await there.execute("set-action", { shutdown: "pause", reboot: "shutdown" });
        await there.execute("system_reset");
        await move.startServe();
        expect(await move.failure()).toMatchObject({ code: 7, error: { code: "in-doubt" } });
        await expectInDoubt(move);
      });
    },
    limitMs,
  );
});

test(
  "send, its guard and serve die before the release: the next serve ends what is there, and a word here lets the VM go on",
  async () => {
    await withMove(async (move) => {
      await move.at("SEAL", () => {
        process.kill(move.guardPid(), "SIGKILL");
        move.send.signal("SIGKILL");
        move.serve.signal("SIGKILL");
        return "break";
      });
      await Promise.all([move.send.exit, move.serve.exit]);
      await move.startServe();
      await move.state.expectNothingThere();
      expect(await move.failure(move.resolve(["--cancel"]))).toEqual({ code: 0, error: undefined });
      await move.state.expectStays();
    });
  },
  limitMs,
);

describe("RELEASE is lost", () => {
  test(
    "send and serve die: the VM runs nowhere, and migrate resolve has it go on at the destination",
    async () => {
      await withMove(async (move) => {
        await move.at("RELEASE", () => {
          move.send.signal("SIGKILL");
          move.serve.signal("SIGKILL");
          return "break";
        });
        await Promise.all([move.send.exit, move.serve.exit]);
        await expectInDoubt(move);
        await move.startServe();
        expect(await move.failure(move.resolve())).toEqual({ code: 0, error: undefined });
        await move.state.expectMoved();
      });
    },
    limitMs,
  );

  test(
    "send dies: a word at the destination has the VM go on there, under a serve that holds its QEMU",
    async () => {
      await withMove(async (move) => {
        await move.at("RELEASE", () => {
          move.send.signal("SIGKILL");
          return "break";
        });
        await move.send.exit;
        await expectInDoubt(move);
        expect(await move.failure(move.resolveThere(["--owner", "destination"]))).toEqual({
          code: 0,
          error: undefined,
        });
        // The source hears of it by asking.
        expect(await move.failure(move.resolve())).toEqual({ code: 0, error: undefined });
        await move.state.expectMoved();
      });
    },
    limitMs,
  );

  test(
    "send and the destination's QEMU die: migrate resolve has the VM go on at the source",
    async () => {
      await withMove(async (move) => {
        await move.at("RELEASE", () => {
          move.send.signal("SIGKILL");
          process.kill(move.state.pidThere!, "SIGKILL");
          return "break";
        });
        await move.send.exit;
        await expectInDoubt(move);
        await move.failure(move.resolve());
        await move.state.expectStays();
      });
    },
    limitMs,
  );

  test(
    "send and the destination's QEMU die: the same send moves the VM after all",
    async () => {
      await withMove(async (move) => {
        await move.at("RELEASE", () => {
          move.send.signal("SIGKILL");
          process.kill(move.state.pidThere!, "SIGKILL");
          return "break";
        });
        await move.send.exit;
        expect(await move.failure(move.startSend())).toMatchObject({ code: 6, error: { code: "cancelled" } });
        await move.state.expectStays();
      });
    },
    limitMs,
  );
});
