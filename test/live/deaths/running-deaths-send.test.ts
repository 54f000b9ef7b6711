/** The source's `migrate send` is killed at each moment of a running VM's move: the VM runs once, and nowhere twice. */
import { describe, expect, test } from "bun:test";
import { phases } from "../../../src/migration/ownership/phases.ts";
import {
  afterRelease,
  beforeRelease,
  type MomentName,
  momentNames,
  moments,
} from "../../support/moves/move-moments.ts";
import { disturbedMoves } from "../../support/moves/running-hosts-of-tests.ts";

const killed = { code: null, signal: "SIGKILL" };

const { moveTest } = disturbedMoves();

test("every phase of a move has a moment at which something is killed", () => {
  const covered = new Set<string>(momentNames.map((name) => moments[name].phase));
  expect(phases.filter((phase) => !covered.has(phase))).toEqual([]);
});

describe("send dies before the release: its guard lets the VM go on, and the destination hears of it", () => {
  for (const moment of beforeRelease) {
    moveTest(`at ${moment}`, async (move) => {
      await move.at(moment, () => move.send.signal("SIGKILL"));
      expect(await move.send.exit).toMatchObject(killed);
      await move.state.expectStays();
    });
  }
});

moveTest("the guard alone dies: the move ends well", async (move) => {
  await move.at("a piece of the mirrored disks", () => process.kill(move.guardPid(), "SIGKILL"));
  expect(await move.failure()).toEqual({ code: 0, error: undefined });
  await move.state.expectMoved();
});

const settledBy: Partial<Record<MomentName, "the same send" | "migrate resolve">> = {
  RELEASE: "the same send",
  OWNED: "migrate resolve",
  CONFIRM: "migrate resolve",
  CLOSED: "the same send",
};
describe("send dies after the release: the VM runs nowhere but there, and a command settles the rest", () => {
  for (const moment of afterRelease) {
    moveTest(`at ${moment}, settled by ${settledBy[moment]}`, async (move) => {
      await move.at(moment, () => move.send.signal("SIGKILL"));
      expect(await move.send.exit).toMatchObject(killed);
      expect(move.state.source?.state).toBeOneOf(["released", "confirmed"]);
      if (move.guest.isRunning()) expect(await move.guest.status()).not.toBe("running");
      const settled = settledBy[moment] === "the same send" ? move.startSend() : move.resolve();
      expect(await move.failure(settled)).toEqual({ code: 0, error: undefined });
      await move.state.expectMoved();
    });
  }
});

const unguarded: [MomentName, "moves it" | "lets it go on"][] = [
  ["a piece of the mirrored disks", "lets it go on"],
  ["the RAM's first pass", "lets it go on"],
  ["the RAM's last pass, with the VM stopped", "moves it"],
  ["the RAM's last pass, with the VM stopped", "lets it go on"],
  ["SEAL", "lets it go on"],
  ["READY", "moves it"],
];
describe("send and its guard die before the release, and a command settles the rest", () => {
  for (const [moment, end] of unguarded) {
    moveTest(
      `at ${moment}: ${end === "moves it" ? "the same send" : "migrate resolve --cancel"} ${end}`,
      async (move) => {
        await move.at(moment, () => {
          process.kill(move.guardPid(), "SIGKILL");
          move.send.signal("SIGKILL");
        });
        expect(await move.send.exit).toMatchObject(killed);
        const settled = end === "moves it" ? move.startSend() : move.resolve(["--cancel"]);
        expect(await move.failure(settled)).toEqual({ code: 0, error: undefined });
        if (end === "moves it") await move.state.expectMoved();
        else await move.state.expectStays();
      },
    );
  }
});
