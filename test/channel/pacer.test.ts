import { afterEach, beforeEach, describe, expect, mock, spyOn, test } from "bun:test";
import { Pacer } from "../../src/channel/pacer.ts";
import { seeded } from "../support/system/random.ts";

/** The process's monotonic clock, which only a timer moves here. */
let nowMs = 0;
/** How late timers are, in milliseconds. */
let lateMs = () => 0;

beforeEach(() => {
  nowMs = 1000;
  lateMs = () => 0;
  spyOn(performance, "now").mockImplementation(() => nowMs);
  spyOn(Bun, "sleep").mockImplementation(async (ms) => {
    nowMs += Number(ms) + lateMs();
  });
});
afterEach(() => mock.restore());

/** Sends `bytes` in the pacer's slices; gives the rate that it came to, in bytes per second. */
async function rateOf(pacer: Pacer, bytes: number): Promise<number> {
  const startMs = nowMs;
  for (let left = bytes; left > 0; left -= pacer.sliceBytes)
    await pacer.admit(Math.min(left, pacer.sliceBytes));
  return (bytes / (nowMs - startMs)) * 1000;
}

const rates = [1, 1000, 64 * 1024, 1_000_000, 200_000_000, 10_000_000_000];

describe("a pacer", () => {
  for (const rate of rates) {
    test(`keeps to ${rate} bytes a second`, async () => {
      const real = await rateOf(new Pacer(rate), rate * 10);
      expect(real / rate).toBeCloseTo(1, 6);
    });
  }

  test("keeps to it although timers are late", async () => {
    const random = seeded("late timers");
    lateMs = () => random.below(4);
    const rate = 50_000_000;
    const real = await rateOf(new Pacer(rate), rate * 10);
    expect(real / rate).toBeGreaterThan(0.98);
    expect(real / rate).toBeLessThanOrEqual(1.001);
  });

  test("never makes up for a time in which nothing was sent by more than a moment's worth", async () => {
    const rate = 10_000_000;
    const pacer = new Pacer(rate);
    await pacer.admit(pacer.sliceBytes);
    nowMs += 60_000;
    const startMs = nowMs;
    for (let sent = 0; sent < rate; sent += pacer.sliceBytes) await pacer.admit(pacer.sliceBytes);
    expect(nowMs - startMs).toBeGreaterThan(900);
  });

  test("admits small pieces at small rates, and never pieces of nothing", () => {
    for (const rate of rates) {
      const { sliceBytes } = new Pacer(rate);
      expect(sliceBytes).toBeGreaterThanOrEqual(1024);
      expect(sliceBytes).toBeLessThanOrEqual(128 * 1024);
      if (rate >= 64 * 1024 && rate < 6_000_000) expect(sliceBytes / rate).toBeCloseTo(0.02, 2);
    }
  });
});
