/** The network goes away during the move of a running VM: for seconds, in silence, or for longer than the person would wait. */
import { describe, expect, test } from "bun:test";
import { isRunning } from "../../../src/platform/process-id.ts";
import type { DisturbedMove } from "../../support/moves/disturbed-move.ts";
import type { MomentName } from "../../support/moves/move-moments.ts";
import { disturbedMoves } from "../../support/moves/running-hosts-of-tests.ts";
import { until } from "../../support/system/until.ts";

const limitMs = 90_000;
/** How long the network is away: what this is about, and no wait for something to happen. */
const cutMs = 5_000;
const { withMove, moveTest } = disturbedMoves();

/** Resets every connection at that moment, and lets none in from then on. */
async function cut(move: DisturbedMove, moment: MomentName, flags: string[] = []): Promise<void> {
  const { proxy } = move.hosts.hosts;
  const act = () => {
    proxy.refusing = true;
    proxy.breakAll("reset");
    return "break";
  };
  await move.at(moment, act, flags);
}

/** The VM goes on at the source while the network is away. */
const running: readonly MomentName[] = ["a piece of the mirrored disks", "the RAM's first pass"];

async function cutForSeconds(moment: MomentName): Promise<void> {
  await withMove(async (move) => {
    await cut(move, moment);
    const ticks = move.guest.ticks().at(-1)!;
    await Bun.sleep(cutMs);
    if (running.includes(moment)) expect(move.guest.ticks().at(-1)!).toBeGreaterThan(ticks);
    move.hosts.hosts.proxy.refusing = false;
    expect(await move.failure()).toEqual({ code: 0, error: undefined });
    const { downtimeMs } = await move.send.waitFor("done");
    if (running.includes(moment)) expect(downtimeMs).toBeLessThan(cutMs);
    else expect(downtimeMs).toBeGreaterThan(cutMs * 0.9);
    await move.state.expectMoved(moment);
  });
}

// What these do is wait: two or three of them at once.
describe("a cut of 5 s, every connection reset and none let in: the move ends well", () => {
  test(
    "while the VM runs: at the mirror of its disks and at the RAM's first pass",
    async () => {
      await Promise.all(running.map(cutForSeconds));
    },
    limitMs,
  );

  test(
    "while it stands still and is the source's: at the RAM's last pass, at SEAL and at READY",
    async () => {
      const moments = ["the RAM's last pass, with the VM stopped", "SEAL", "READY"] as const;
      await Promise.all(moments.map(cutForSeconds));
    },
    limitMs,
  );

  test(
    "between released and owned: at RELEASE and at OWNED",
    async () => {
      await Promise.all((["RELEASE", "OWNED"] as const).map(cutForSeconds));
    },
    limitMs,
  );
});

test(
  "a link that falls silent and never speaks again is given up and replaced, and the move ends well",
  async () => {
    const moments = ["a piece of the mirrored disks", "SEAL", "RELEASE"] as const;
    const silenced = moments.map((moment) =>
      withMove(async (move) => {
        await move.at(moment, () => move.hosts.hosts.proxy.breakAll("silence"));
        expect(await move.failure()).toEqual({ code: 0, error: undefined });
        await move.state.expectMoved(moment);
      }),
    );
    await Promise.all(silenced);
  },
  limitMs,
);

describe("a cut that outlasts --retry-for", () => {
  for (const moment of running) {
    moveTest(
      `at ${moment}: send says so, the VM goes on, and the next send tells the destination first`,
      async (move) => {
        await cut(move, moment, ["--retry-for", "2s"]);
        expect(await move.failure()).toMatchObject({ code: 4, error: { code: "network" } });
        await move.state.ticksHere();
        await move.state.expectUntouchedHere();
        expect(move.state.source).toMatchObject({ state: "cancelled", settled: 1 });
        const left = move.state.processThere()!;
        expect(isRunning(left)).toBe(true);
        move.hosts.hosts.proxy.refusing = false;
        move.startSend();
        expect(await move.failure()).toEqual({ code: 0, error: undefined });
        expect(isRunning(left)).toBe(false);
        await move.state.expectMoved();
      },
    );
  }

  moveTest("the destination ends what waits there by itself once its patience is over", async (move) => {
    // The patience is the source's wish plus a minute; here the offer says half a second, in as many bytes.
    move.hosts.hosts.proxy.rewrite = (_direction, name, frame) => {
      if (name !== "offer") return;
      const at = frame.indexOf('"patienceMs":') + '"patienceMs":'.length;
      const digits = /^\d+/.exec(frame.toString("latin1", at, at + 20))![0].length;
      frame.write("500".padStart(digits), at, "latin1");
    };
    await cut(move, "the RAM's first pass", ["--retry-for", "2s"]);
    expect(await move.failure()).toMatchObject({ code: 4 });
    await until(() => move.state.destination?.state === "cancelled", "the destination's patience to end");
    await move.state.ticksHere();
    await move.state.expectNothingThere();
  });
});
