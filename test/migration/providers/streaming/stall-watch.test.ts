import { describe, expect, test } from "bun:test";
import { type Carried, StallWatch } from "../../../../src/migration/providers/streaming/stall-watch.ts";

const still: Carried = { bytes: 7, stopped: true, linked: true };

/**
 * What the watch returns at each time; its limits are 100 ms while the VM is stopped and 1000 ms while it
 * runs.
 */
function looks(...seen: [nowMs: number, change: Partial<Carried>][]): (number | null)[] {
  const watch = new StallWatch({ stoppedMs: 100, runningMs: 1000 });
  return seen.map(([nowMs, change]) => watch.look({ ...still, ...change }, nowMs));
}

describe("nothing that goes forward is a stall", () => {
  test("after its time, and no sooner", () => {
    expect(looks([0, {}], [99, {}], [100, {}])).toEqual([null, null, 100]);
  });

  test("counted from the last byte", () => {
    expect(looks([0, {}], [90, { bytes: 8 }], [180, { bytes: 8 }], [190, { bytes: 8 }])).toEqual([
      ...[null, null, null, 100],
    ]);
  });

  test("later while the VM runs, and counted anew once it stands still", () => {
    expect(looks([0, { stopped: false }], [999, { stopped: false }], [1000, { stopped: false }])).toEqual([
      ...[null, null, 1000],
    ]);
    expect(looks([0, { stopped: false }], [900, {}], [999, {}], [1000, {}])).toEqual([null, null, null, 100]);
  });

  test("but not while the link is away", () => {
    expect(looks([0, {}], [500, { linked: false }], [599, {}], [600, {}])).toEqual([null, null, null, 100]);
  });
});
