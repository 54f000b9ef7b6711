import { expect, test } from "bun:test";
import { threadCpuNs } from "../../../../src/platform/clocks.ts";
import { calibrateClock, OperationMeter } from "../../../../src/profiler/engine/account/operation-meter.ts";

/** A clock that is set by hand. */
function meterByHand(readingNs: number) {
  const clock = { ns: 0, reads: 0 };
  const read = () => {
    clock.reads++;
    return clock.ns;
  };
  return { clock, meter: new OperationMeter(read, readingNs) };
}

test("adds up by operation, and takes off what reading the clock cost", () => {
  const { clock, meter } = meterByHand(100);
  meter.start("rest");
  for (const [ns, operation] of [
    [1_000_100, "encrypt"],
    [4_000_200, "mac"],
    [5_000_300, "encrypt"],
  ] as const) {
    clock.ns = ns;
    meter.to(operation);
  }
  clock.ns = 7_000_400;
  const { operationsMs, clockMs, clockReads } = meter.stop();
  expect(operationsMs).toMatchObject({ rest: 1, encrypt: 5, mac: 1, decrypt: 0 });
  expect(clockMs).toBeCloseTo(0.0004, 9);
  expect(clockReads).toBe(4);
});

test("staying with an operation reads no clock", () => {
  const { clock, meter } = meterByHand(100);
  meter.start("file-read");
  for (let i = 0; i < 10; i++) meter.to("file-read");
  expect(clock.reads).toBe(1);
});

test("an operation shorter than a reading is nothing, never less", () => {
  const { clock, meter } = meterByHand(1000);
  meter.start("rest");
  clock.ns = 300;
  meter.to("mac");
  clock.ns = 5300;
  const { operationsMs, clockMs } = meter.stop();
  expect(operationsMs.rest).toBe(0);
  expect(operationsMs.mac).toBeCloseTo(0.004, 9);
  // What is told as the clock's is no more than what there was.
  expect(clockMs).toBeCloseTo(0.0013, 9);
});

test("starting again forgets what was", () => {
  const { clock, meter } = meterByHand(0);
  meter.start("mac");
  clock.ns = 9e6;
  meter.to("rest");
  meter.start("encrypt");
  clock.ns = 10e6;
  expect(meter.stop().operationsMs).toMatchObject({ mac: 0, encrypt: 1, rest: 0 });
});

test("the thread's clock counts work and not waiting, and a reading costs something", async () => {
  const cost = calibrateClock();
  expect(cost).toBeWithin(20, 100_000);
  const before = threadCpuNs();
  await Bun.sleep(50);
  const slept = threadCpuNs() - before;
  expect(slept).toBeLessThan(40e6);
  const from = threadCpuNs();
  while (threadCpuNs() - from < 5e6);
  expect(threadCpuNs() - from).toBeGreaterThanOrEqual(5e6);
});
