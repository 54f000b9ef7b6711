import { describe, expect, test } from "bun:test";
import {
  formatAge,
  formatBytes,
  formatBytesExactly,
  formatDuration,
  formatPercent,
  formatRate,
  formatTimeLeft,
  parseDuration,
  parseSize,
} from "../../src/terminal/format.ts";

const MiB = 1024 ** 2;

describe("formatting", () => {
  test("bytes are shown in binary units, and never as 1024 of the smaller one", () => {
    const shown = [0, 1, 1023, 1024, 1536, MiB - 1, MiB, 1.3 * 1024 * MiB, 8 * 1024 ** 4].map(formatBytes);
    expect(shown).toEqual([
      "0 B",
      "1 B",
      "1023 B",
      "1.0 KiB",
      "1.5 KiB",
      "1.0 MiB",
      "1.0 MiB",
      "1.3 GiB",
      "8.0 TiB",
    ]);
  });

  test("the exact count stands beside the rounded one", () => {
    expect(formatBytesExactly(1_342_177_280)).toBe("1.3 GiB (1,342,177,280 bytes)");
    expect(formatBytesExactly(7)).toBe("7 bytes");
  });

  test("durations use two units and carry at their ends", () => {
    const shown = [-5, 0, 450, 999.6, 3200, 59_949, 59_960, 65_000, 3_599_600, 7_380_000, 273_600_000].map(
      formatDuration,
    );
    expect(shown).toEqual([
      "0 ms",
      "0 ms",
      "450 ms",
      "1.0 s",
      "3.2 s",
      "59.9 s",
      "1 m 00 s",
      "1 m 05 s",
      "1 h 00 m",
      "2 h 03 m",
      "3 d 04 h",
    ]);
  });

  test("rates, time left and ages", () => {
    expect(formatRate(210.3 * MiB)).toBe("210.3 MiB/s");
    expect([1, 11_400, 64_100].map(formatTimeLeft)).toEqual(["1 s left", "12 s left", "1 m 05 s left"]);
    expect([10_000, 8_000, -80_000].map((then) => formatAge(then, 10_000))).toEqual([
      "just now",
      "2 s ago",
      "1 m 30 s ago",
    ]);
    expect(formatAge(20_000, 10_000)).toBe("just now");
  });

  test("100 % is said only when nothing is left", () => {
    expect([formatPercent(999, 1000), formatPercent(1000, 1000), formatPercent(0, 0)]).toEqual([
      " 99 %",
      "100 %",
      "100 %",
    ]);
  });
});

describe("reading sizes", () => {
  test("K, M, G and T are powers of 1024, in either case, with iB and /s let pass", () => {
    const given = ["1", "512B", "1k", "200M", "200MiB", "200 MiB/s", "1.5G", "2T"];
    expect(given.map(parseSize)).toEqual([
      1,
      512,
      1024,
      200 * MiB,
      200 * MiB,
      200 * MiB,
      1536 * MiB,
      2 * 1024 ** 4,
    ]);
  });

  test.each(["", "M", "0", "-1", "200MB", "1e9", "9999999T", "1 2", "0x10"])("refuses %p", (text) => {
    expect(() => parseSize(text)).toThrow(`"${text}" is not a size`);
  });
});

describe("reading durations", () => {
  test("numbers with units, largest first", () => {
    expect(["0", "500ms", "10s", "15m", "1h30m", "2d", "1.5h"].map(parseDuration)).toEqual([
      0, 500, 10_000, 900_000, 5_400_000, 172_800_000, 5_400_000,
    ]);
  });

  test.each(["", "10", "m", "-5s", "30m1h", "5s5s", "1w", "1h x", "ms"])("refuses %p", (text) => {
    expect(() => parseDuration(text)).toThrow(`"${text}" is not a duration`);
  });
});
