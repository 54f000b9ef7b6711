/** The two hosts of a libvirt domain's move cannot speak any more, and a person says whose it is, on each: by processes that saw none of it. */
import { describe, expect } from "bun:test";
import type { DisturbedDomain } from "../../../support/libvirt/disturbed-domain.ts";
import { disturbedDomains } from "../../../support/libvirt/disturbed-domains.ts";
import { liveMoments, stopMoments } from "../../../support/libvirt/domain-moments.ts";
import { until } from "../../../support/system/until.ts";

const { moveTest } = disturbedDomains();

const well = { code: 0, error: undefined };

/** What the source's host tells a person who is to show it at the destination. */
async function releaseCode(move: DisturbedDomain): Promise<string> {
  const status = move.status();
  await status.exit;
  return String(status.events.find(({ session }) => session === move.sessionHere!.session)?.releaseCode);
}

describe("released, and both programs die: the destination's, on the source's code", () => {
  for (const live of [true, false]) {
    moveTest(
      live ? "as it ran" : "saved",
      async (move) => {
        await move.strike(live ? liveMoments.withdrawn : stopMoments.RELEASE, "send");
        await move.send.exit;
        await move.serve.kill();
        expect(move.sessionThere?.state).toBe("ready");
        const code = await releaseCode(move);
        const there = move.resolve("destination", ["--owner", "destination", "--code", code]);
        expect(await move.failure(there)).toEqual(well);
        await until(async () => (await move.there.state()) === "running", "it runs at the destination");
        expect(await move.failure(move.resolve("source", ["--owner", "destination"]))).toEqual(well);
        await move.there.waitForTicks(3);
        expect([await move.here.state(), move.here.qemuPid()]).toEqual([undefined, undefined]);
        expect(move.sessionThere).toMatchObject({ state: "owner", settled: 1 });
        await move.ends.expectWholeDisks();
      },
      { live },
    );
  }
});

moveTest("not released, and both programs die: the source's, whose libvirt has it go on", async (move) => {
  await move.strike(liveMoments["READY, with FINISH held"], "serve");
  move.send.signal("SIGKILL");
  await move.send.exit;
  await move.serve.exit;
  await until(() => move.sessionHere?.settled === 1, "the guard's end");
  expect(move.sessionThere?.state).toBe("ready");
  expect(await move.failure(move.resolve("destination", ["--owner", "source"]))).toEqual(well);
  await move.ends.expectStays();
});
