/**
 * A libvirt domain moves while it runs, and something dies: migrate send or serve, either libvirtd, either QEMU. It comes to
 * one end, with one place that runs it and nothing left behind, by what a host does of itself and the same command.
 */
import { describe, expect } from "bun:test";
import type { DisturbedDomain, Victim } from "../../../support/libvirt/disturbed-domain.ts";
import { disturbedDomains } from "../../../support/libvirt/disturbed-domains.ts";
import { type LiveMoment, liveMoments } from "../../../support/libvirt/domain-moments.ts";
import { until } from "../../../support/system/until.ts";

const { moveTest } = disturbedDomains();

type By = "nobody" | "the same send" | "migrate resolve" | "the same send, twice";

/** What comes of it. That it is started anew is said, and so is that it is off. */
type End = "stays" | "moves" | "is off" | "begins anew" | "crashed there";

interface Row {
  victim: Victim;
  at: LiveMoment;
  end: End;
  /** The exit code of the send that lived, and what its error is about. */
  code?: number;
  error?: string;
  /** Who settles what a send that died has left. */
  by?: By;
  autostart?: boolean;
}

const row = (victim: Victim, at: LiveMoment, end: End, more: Partial<Row> = {}): Row => ({
  victim,
  at,
  end,
  ...more,
});

const rows: readonly Row[] = [
  row("send", "START", "stays"),
  row("send", "libvirt's PREPARE", "stays"),
  row("send", "a piece of the mirrored disks", "moves", { by: "the same send" }),
  row("send", "the end of the RAM, with the domain stopped", "stays"),
  row("send", "SEAL, with FINISH held", "stays"),
  row("send", "the time between released and withdrawn", "moves", { by: "the same send, twice" }),
  row("send", "withdrawn", "moves", { by: "migrate resolve" }),
  row("send", "RELEASE", "moves", { by: "the same send", autostart: false }),
  row("send", "CONFIRM", "moves", { by: "migrate resolve" }),

  row("serve", "a piece of the mirrored disks", "stays", { code: 6, error: "cancelled" }),
  row("serve", "SEAL, with FINISH held", "stays", { code: 6, error: "cancelled" }),
  row("serve", "the time between released and withdrawn", "moves"),
  row("serve", "the time between owner and published", "moves", { autostart: false }),
  row("serve", "OWNED", "moves"),

  row("the source's libvirtd", "the RAM's first pass", "stays", { code: 6 }),
  row("the source's libvirtd", "SEAL, with FINISH held", "stays", { code: 6, error: "libvirt-failed" }),
  row("the source's libvirtd", "the time between released and withdrawn", "stays", {
    code: 6,
    error: "cancelled",
  }),
  row("the source's libvirtd", "OWNED", "moves", { autostart: false }),

  row("the destination's libvirtd", "a piece of the mirrored disks", "stays", {
    code: 6,
    error: "libvirt-failed",
  }),
  row("the destination's libvirtd", "READY, with FINISH held", "moves"),
  row("the destination's libvirtd", "RELEASE", "moves"),

  row("the source's QEMU", "the RAM's first pass", "is off", { code: 6, error: "qemu-failed" }),
  row("the source's QEMU", "SEAL, with FINISH held", "moves"),
  row("the destination's QEMU", "the RAM's first pass", "stays", { code: 6 }),
  row("the destination's QEMU", "SEAL, with FINISH held", "stays", { code: 6, error: "libvirt-failed" }),
  row("the destination's QEMU", "RELEASE", "begins anew", { code: 6, error: "cancelled" }),
  row("the destination's QEMU", "OWNED", "crashed there"),
];

async function settle(move: DisturbedDomain, by: By): Promise<void> {
  if (by === "nobody") return;
  // Its guard is at it until then.
  if (!move.isReleased) await until(() => move.sessionHere?.settled === 1, "the guard's end");
  if (by === "the same send, twice") {
    // libvirt has let it go on: the first one says so, and the next one moves it.
    move.startSend();
    expect(await move.failure()).toMatchObject({ code: 6, error: { code: "cancelled" } });
  }
  const settled = by === "migrate resolve" ? move.resolve() : move.startSend();
  expect(await move.failure(settled)).toEqual({ code: 0, error: undefined });
}

async function expectEnd(move: DisturbedDomain, end: End): Promise<void> {
  switch (end) {
    case "stays":
      return await move.ends.expectStays();
    case "moves":
      return await move.ends.expectMoved();
    case "is off":
      await move.ends.expectOff();
      move.ends.expectGapless();
      return;
    case "begins anew":
      return await move.ends.expectBegunAnew();
    case "crashed there":
      return await move.ends.expectCrashedThere();
  }
}

for (const victim of new Set(rows.map((each) => each.victim))) {
  describe(`${victim} is killed`, () => {
    for (const { at, end, by = "nobody", code = 0, error, autostart = true } of rows.filter(
      (each) => each.victim === victim,
    )) {
      const how = by === "nobody" ? "" : ` by ${by}`;
      moveTest(
        `at ${at}: the domain ${end}${how}`,
        async (move) => {
          await move.strike(liveMoments[at], victim);
          await move.revive(victim);
          const said = await move.failure();
          if (victim !== "send") {
            expect(said.code).toBe(code);
            if (error !== undefined) expect(said.error).toMatchObject({ code: error });
            if (end === "begins anew")
              expect(said.error?.hint).toContain("it was started here anew from its disks");
          }
          await settle(move, by);
          await expectEnd(move, end);
        },
        { autostart },
      );
    }
  });
}
