/** What a person sees of a running VM while it moves. */
import { describe, expect, test } from "bun:test";
import type { MigrationEvent } from "../../src/migration/report/events.ts";
import { plainStyle } from "../../src/terminal/line.ts";
import { drawProgress, summaryOf } from "../../src/terminal/progress.ts";
import { progressAfter } from "../../src/terminal/progress-state.ts";
import { after, ram } from "./events.ts";

const MiB = 1024 ** 2;
type EventOf<Name extends MigrationEvent["event"]> = Extract<MigrationEvent, { event: Name }>;

/** Progress of a VM with one mirrored disk of 1 GiB and 256 MiB of RAM. */
function progress(seconds: number, doneMiB: number, phase: "pre-copy" | "stop-and-copy" | "seal") {
  const [diskMiB, ramMiB] = [Math.min(1024, doneMiB), Math.max(0, doneMiB - 1024)];
  const event: EventOf<"progress"> = {
    event: "progress",
    session: "s1",
    name: "web1",
    phase,
    files: [
      { file: "system.qcow2", bytes: 1024 * MiB, doneBytes: diskMiB * MiB },
      { file: "RAM", bytes: 256 * MiB, doneBytes: ramMiB * MiB, atMost: true },
    ],
    bytes: 1280 * MiB,
    doneBytes: doneMiB * MiB,
    wireBytes: (doneMiB / 2) * MiB,
    savedBytes: 0,
    seconds,
  };
  return event;
}

const screen = { columns: 80, rows: 24, style: plainStyle };

describe("a running VM on its way", () => {
  const underWay = [progress(0, 1024, "pre-copy"), progress(1, 1124, "pre-copy")];

  test("in its first pass the RAM is one bar more, and what is left of it is said", () => {
    const lines = drawProgress(after(...underWay, ram({ iteration: 1, dirtyBytesPerSec: 0 })), screen, 0);
    expect(lines[2]).toStartWith("  RAM ");
    expect(lines.slice(-2)).toEqual(["  iteration 1, 12.3 MiB left", "  on the wire 50.0 MiB/s"]);
  });

  test("with a bandwidth that a person has set on the way, that is said, until there is none", () => {
    const tuned = { event: "tuned", session: "s1", name: "web1" } as const;
    const slower = after(...underWay, { ...tuned, bandwidthBytesPerSec: 10 * MiB });
    const last = (state: typeof slower) => drawProgress(state, screen, 0).at(-1);
    expect(last(slower)).toContain("on the wire 50.0 MiB/s, at most 10.0 MiB/s");
    const other = progressAfter(slower, { ...tuned, downtimeLimitMs: 5 }, 0);
    expect(last(other)).toContain("at most 10.0 MiB/s");
    expect(last(progressAfter(other, { ...tuned, bandwidthBytesPerSec: null }, 0))).not.toContain("at most");
  });

  test("before that its disks show how fast they come, and nobody says how long it will take", () => {
    const mirroring = after(progress(0, 100, "pre-copy"), progress(1, 200, "pre-copy"));
    expect(drawProgress(mirroring, screen, 0).at(-1)).toBe("  100.0 MiB/s, on the wire 50.0 MiB/s");
  });

  test("in later passes: how fast the guest writes, what downtime is expected, how much it is slowed", () => {
    const third = after(...underWay, ram());
    expect(drawProgress(third, screen, 0).slice(-2)).toEqual([
      "  iteration 3, 12.3 MiB left, dirtying 45.0 MiB/s, downtime expected 120 ms",
      "  on the wire 50.0 MiB/s",
    ]);
    const slowed = progressAfter(third, ram({ throttlePercent: 20 }), 0);
    expect(drawProgress(slowed, screen, 0).slice(-3, -1)).toEqual([
      "  iteration 3, 12.3 MiB left, dirtying 45.0 MiB/s, downtime expected 120 ms,",
      "  slowed by 20 %",
    ]);
    expect(summaryOf(slowed.get("s1")!, 0)).toEndWith(
      "iteration 3, 12.3 MiB left, dirtying 45.0 MiB/s, downtime expected 120 ms, slowed by 20 %",
    );
  });

  test("once it stands still, what QEMU expected while it ran is not said any more", () => {
    const stopped = after(progress(1, 1124, "stop-and-copy"), ram({ throttlePercent: 20 }));
    expect(drawProgress(stopped, screen, 0).at(-1)).toBe("  iteration 3, 12.3 MiB left");
    const sealed = progressAfter(stopped, progress(2, 1280, "seal"), 0);
    expect(drawProgress(sealed, screen, 0).join()).not.toContain("iteration");
  });
});
