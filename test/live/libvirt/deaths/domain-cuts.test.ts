/**
 * The link goes away for seconds while a libvirt domain moves, a person interrupts the move, or the destination's disk is
 * full: the move ends well, or the domain goes on at the source as it was.
 */
import { describe, expect } from "bun:test";
import { mkdirSync } from "node:fs";
import { fillDisk } from "../../../support/files/ballast.ts";
import type { DisturbedDomain } from "../../../support/libvirt/disturbed-domain.ts";
import { disturbedDomains } from "../../../support/libvirt/disturbed-domains.ts";
import { type LiveMoment, liveMoments } from "../../../support/libvirt/domain-moments.ts";
import { runChild } from "../../../support/system/child.ts";

const { moveTest } = disturbedDomains();

/** How long the network is away: what this is about, and no wait for something to happen. */
const cutMs = 5_000;

/** Moments that are known by a frame. */
type FrameMoment = {
  [Name in LiveMoment]: (typeof liveMoments)[Name] extends { frame: unknown } ? Name : never;
}[LiveMoment];

/** Resets every connection at that moment, and lets none in from then on. */
async function cut(move: DisturbedDomain, at: FrameMoment, flags: string[] = []): Promise<void> {
  const { proxy } = move.hosts;
  const act = () => {
    proxy.refusing = true;
    proxy.breakAll("reset");
    return "break";
  };
  await move.at(liveMoments[at], act, flags);
}

const moments = [
  "a piece of the mirrored disks",
  "the RAM's first pass",
  "the end of the RAM, with the domain stopped",
  "RELEASE",
] as const;

describe("a cut of 5 s, every connection reset and none let in: the move ends well", () => {
  for (const at of moments) {
    moveTest(`at ${at}`, async (move) => {
      await cut(move, at);
      await Bun.sleep(cutMs);
      move.hosts.proxy.refusing = false;
      expect(await move.failure()).toEqual({ code: 0, error: undefined });
      await move.ends.expectMoved();
    });
  }
});

moveTest("a cut that outlasts --retry-for: the domain goes on, and the next send moves it", async (move) => {
  await cut(move, "the end of the RAM, with the domain stopped", ["--retry-for", "2s"]);
  expect(await move.failure()).toMatchObject({ code: 4, error: { code: "network" } });
  await move.here.waitForTicks(3);
  expect(move.sessionHere).toMatchObject({ state: "cancelled", settled: 1 });
  move.hosts.proxy.refusing = false;
  move.startSend();
  expect(await move.failure()).toEqual({ code: 0, error: undefined });
  await move.ends.expectMoved();
});

describe("a person interrupts", () => {
  for (const at of [
    "a piece of the mirrored disks",
    "the end of the RAM, with the domain stopped",
    "SEAL, with FINISH held",
  ] as const) {
    moveTest(`at ${at}: the domain goes on at the source`, async (move) => {
      await move.strike(liveMoments[at], "send", "SIGINT");
      expect(await move.failure()).toMatchObject({ code: 130, error: { code: "interrupted" } });
      await move.ends.expectStays();
    });
  }

  moveTest("at RELEASE: the move ends well", async (move) => {
    await move.strike(liveMoments.RELEASE, "send", "SIGINT");
    expect(await move.failure()).toEqual({ code: 0, error: undefined });
    await move.ends.expectMoved();
  });
});

moveTest("the destination's disk is full: the source says so, and the domain goes on", async (move) => {
  const { store } = move.hosts;
  mkdirSync(store, { mode: 0o700 });
  const disk = ["mount", "-t", "tmpfs", "-o", "size=64m,mode=0711", "tmpfs", store];
  await runChild(move.destination.command(disk));
  try {
    const full = () => fillDisk(`/proc/${move.destination.pid}/root${store}`);
    await move.at({ ...liveMoments["a piece of the mirrored disks"], number: 9 }, full);
    const { code, error } = await move.failure();
    expect(code).toBe(6);
    expect(error).toMatchObject({ code: "no-room", side: "destination" });
    await move.ends.expectStays();
  } finally {
    await move.end();
    await runChild(move.destination.command(["umount", "--lazy", store]));
  }
});
