/** The thesis's figures: carried over whole, and the ratios that its text states follow from them. */
import { describe, expect, test } from "bun:test";
import {
  table63,
  table64,
  thesisCpuSec,
  thesisFit,
  thesisRatio,
  thesisRatioRange,
  thesisSuites,
  thesisTwin,
} from "../../../src/profiler/report/thesis.ts";
import { suiteNames } from "../../../src/profiler/statistics/samples.ts";

const places = [false, true].flatMap((withDisk) =>
  (["source", "destination"] as const).map((side) => ({ side, withDisk })),
);
const sizes = [128, 256, 512, 768, 1024];

describe("the thesis's tables", () => {
  test("have four ciphers at five sizes on two sides, without and with disk", () => {
    for (const place of places) {
      for (const ramMiB of sizes)
        for (const suite of thesisSuites) expect(thesisCpuSec(place, suite, ramMiB)).toBeGreaterThan(0);
      expect(Object.keys((place.withDisk ? table64 : table63)[place.side])).toEqual(sizes.map(String));
    }
  });

  test("add up to what was copied out of the thesis", () => {
    const sum = (table: typeof table63) =>
      Number(
        [table.source, table.destination]
          .flatMap((rows) => Object.values(rows).flat())
          .reduce((total, value) => total + value, 0)
          .toFixed(2),
      );
    expect([sum(table63), sum(table64)]).toEqual([812.14, 2522.41]);
  });

  test("give the ratios of 1.97 and 1.99 for AES-128 at 1024 MB without disk", () => {
    expect(thesisRatio({ side: "source", withDisk: false }, "aes-128", 1024)).toBeCloseTo(1.97, 2);
    expect(thesisRatio({ side: "destination", withDisk: false }, "aes-128", 1024)).toBeCloseTo(1.99, 2);
    expect(thesisRatio({ side: "source", withDisk: false }, "aes-128", 64)).toBeUndefined();
  });

  test("bear out its claim that RC4 costs over 50 percent more, everywhere", () => {
    expect(thesisRatioRange("rc4").low).toBeGreaterThan(1.5);
    expect(thesisRatioRange("insecure")).toEqual({ low: 1, high: 1 });
  });

  test("grow in a straight line", () => {
    for (const place of places)
      for (const suite of thesisSuites) expect(thesisFit(place, suite)!.rSquared).toBeGreaterThan(0.97);
    expect(thesisFit({ side: "source", withDisk: false }, "aes-128")!.slope.value).toBeCloseTo(25.6, 1);
  });
});

test("tls stands beside the thesis's AES-128, and what the thesis had not stands alone", () => {
  expect(suiteNames.map((suite) => thesisTwin(suite))).toEqual([
    "insecure",
    "aes-128",
    "aes-128",
    "rc4",
    "3des",
    undefined,
    undefined,
  ]);
});
