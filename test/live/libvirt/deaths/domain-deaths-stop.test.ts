/**
 * A libvirt domain is saved, sent and restored (--mode stop), and something dies meanwhile: it goes on at the source from
 * where it was saved, or at the destination, and nothing is left behind.
 */
import { describe, expect } from "bun:test";
import type { Victim } from "../../../support/libvirt/disturbed-domain.ts";
import { disturbedDomains } from "../../../support/libvirt/disturbed-domains.ts";
import { type StopMoment, stopMoments } from "../../../support/libvirt/domain-moments.ts";

const { moveTest } = disturbedDomains();

interface Row {
  victim: Victim;
  at: StopMoment;
  /** Where libvirtd may have done it just before, either. */
  end: "stays" | "moves" | "moves or stays";
  code?: number;
}

const row = (victim: Victim, at: StopMoment, end: Row["end"], code = 0): Row => ({ victim, at, end, code });

const rows: readonly Row[] = [
  row("send", "its saving", "stays"),
  row("send", "a chunk, with the domain saved", "stays"),
  row("send", "the time between released and withdrawn", "moves"),
  row("send", "RELEASE", "moves"),
  row("serve", "a chunk, with the domain saved", "moves"),
  row("serve", "the time between owner and published", "moves"),
  row("serve", "its restoring", "moves"),
  row("the source's libvirtd", "its saving", "stays", 6),
  row("the source's libvirtd", "a chunk, with the domain saved", "moves"),
  row("the source's libvirtd", "the time between released and withdrawn", "moves"),
  row("the destination's libvirtd", "the time between owner and published", "moves"),
  row("the destination's libvirtd", "its restoring", "moves or stays"),
];

for (const victim of new Set(rows.map((each) => each.victim))) {
  describe(`${victim} is killed`, () => {
    for (const { at, end, code = 0 } of rows.filter((each) => each.victim === victim)) {
      moveTest(
        `at ${at}: the domain ${end}`,
        async (move) => {
          await move.strike(stopMoments[at], victim);
          await move.revive(victim);
          const said = await move.failure();
          const isEither = end === "moves or stays";
          if (victim !== "send" && !isEither) expect(said).toMatchObject({ code });
          if (victim === "send" && end === "moves") {
            move.startSend();
            expect(await move.failure()).toEqual({ code: 0, error: undefined });
          }
          if (end === "moves" || (isEither && said.code === 0)) await move.ends.expectMoved();
          else await move.ends.expectStays();
        },
        { live: false },
      );
    }
  });
}
