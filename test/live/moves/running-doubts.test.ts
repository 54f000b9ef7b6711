/** More than one process of a running VM's move dies, or a death meets a cut: what is in doubt is said, and a command settles it. */
import { describe, expect } from "bun:test";
import type { DisturbedMove } from "../../support/moves/disturbed-move.ts";
import type { MomentName } from "../../support/moves/move-moments.ts";
import { disturbedMoves } from "../../support/moves/running-hosts-of-tests.ts";

const { moveTest } = disturbedMoves();

const killers = {
  guard: (move: DisturbedMove) => process.kill(move.guardPid(), "SIGKILL"),
  send: (move: DisturbedMove) => move.send.signal("SIGKILL"),
  serve: (move: DisturbedMove) => move.serve.signal("SIGKILL"),
  "QEMU there": (move: DisturbedMove) => process.kill(move.state.pidThere!, "SIGKILL"),
};

/** Moves until that frame, which is lost with every connection; these die at that moment, in this order. */
async function dieAt(
  move: DisturbedMove,
  frame: MomentName,
  ...who: (keyof typeof killers)[]
): Promise<void> {
  await move.at(frame, () => {
    for (const victim of who) killers[victim](move);
    return "break";
  });
}

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
  moveTest(
    "the destination's QEMU dies, in which the VM ran: serve knows that, and the VM never goes on at the source",
    async (move) => {
      await dieAt(move, "OWNED", "QEMU there");
      expect(await move.failure()).toEqual({ code: 0, error: undefined });
      await move.guest.ended();
      await move.state.expectWholeDisks();
    },
  );

  moveTest(
    "serve and that QEMU die: send says that it is in doubt, and --owner source lets the VM go on there",
    async (move) => {
      await dieAt(move, "OWNED", "serve", "QEMU there");
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
    },
  );

  moveTest(
    "serve dies and the guest ends by itself: that it stands still is not taken for a VM that never ran",
    async (move) => {
      await dieAt(move, "OWNED", "serve");
      await move.serve.exit;
      await move.state.ticksThere();
      // From such an end QEMU lets no guest go on.
      const there = await move.state.watchThere();
      await there.execute("set-action", { shutdown: "pause", reboot: "shutdown" });
      await there.execute("system_reset");
      await move.startServe();
      expect(await move.failure()).toMatchObject({ code: 7, error: { code: "in-doubt" } });
      await expectInDoubt(move);
    },
  );
});

moveTest(
  "send, its guard and serve die before the release: the next serve ends what is there, and a word here lets the VM go on",
  async (move) => {
    await dieAt(move, "SEAL", "guard", "send", "serve");
    await Promise.all([move.send.exit, move.serve.exit]);
    await move.startServe();
    await move.state.expectNothingThere();
    expect(await move.failure(move.resolve(["--cancel"]))).toEqual({ code: 0, error: undefined });
    await move.state.expectStays();
  },
);

describe("RELEASE is lost", () => {
  moveTest(
    "send and serve die: the VM runs nowhere, and migrate resolve has it go on at the destination",
    async (move) => {
      await dieAt(move, "RELEASE", "send", "serve");
      await Promise.all([move.send.exit, move.serve.exit]);
      await expectInDoubt(move);
      await move.startServe();
      expect(await move.failure(move.resolve())).toEqual({ code: 0, error: undefined });
      await move.state.expectMoved();
    },
  );

  /** The code that a person reads at the source. */
  async function codeOf(move: DisturbedMove): Promise<string> {
    const status = move.hosts.hosts.source(["status"]);
    await status.exit;
    return String(status.events[0]!.releaseCode);
  }

  moveTest(
    "send dies: a word at the destination has the VM go on there, under a serve that holds its QEMU",
    async (move) => {
      await dieAt(move, "RELEASE", "send");
      await move.send.exit;
      await expectInDoubt(move);
      expect(
        await move.failure(move.resolveThere(["--owner", "destination", "--code", await codeOf(move)])),
      ).toEqual({
        code: 0,
        error: undefined,
      });
      // The source hears of it by asking.
      expect(await move.failure(move.resolve())).toEqual({ code: 0, error: undefined });
      await move.state.expectMoved();
    },
  );

  moveTest(
    "send and the destination's QEMU die: migrate resolve has the VM go on at the source",
    async (move) => {
      await dieAt(move, "RELEASE", "send", "QEMU there");
      await move.send.exit;
      await expectInDoubt(move);
      await move.failure(move.resolve());
      await move.state.expectStays();
    },
  );

  moveTest("send and the destination's QEMU die: the same send moves the VM after all", async (move) => {
    await dieAt(move, "RELEASE", "send", "QEMU there");
    await move.send.exit;
    expect(await move.failure(move.startSend())).toMatchObject({ code: 6, error: { code: "cancelled" } });
    await move.state.expectStays();
  });
});
