/**
 * The figures of R. Jayaram Masti, "On the Security of Virtual Machine Migration and Related Topics",
 * Master thesis, ETH Zurich, 2010, chapter 6: seconds of CPU time, means, for a guest with 128 to
 * 1024 MB of RAM between two laptops (Lenovo T60 and T60p) on a local network. The thesis calls the
 * source "client" and the destination "server". The numbers of its table 6.5 (total migration times)
 * and of section 6.2.1 (connection set-up) are not known here, but for
 * what the constants below hold. Beside them the ratios to its insecure protocol, to compare ours with. Pure.
 */
import { type SideName, sideNames } from "../statistics/cells.ts";
import type { SuiteName } from "../statistics/samples.ts";
import { fitLine, type Interval, type LineFit } from "../statistics/statistics.ts";

/** The order of the columns of both tables. */
export const thesisSuites = ["insecure", "aes-128", "rc4", "3des"] as const;

/** A table's rows by RAM size in MB, the values in the order of `thesisSuites`. */
type ThesisRows = Readonly<Record<string, readonly [number, number, number, number]>>;

export const thesisSource =
  "R. Jayaram Masti, On the Security of Virtual Machine Migration and Related Topics, Master thesis, ETH Zurich, 2010, chapter 6";

/** Table 6.3: the RAM alone. A line a RAM size in MB, then the source's suites, then the destination's. */
export const table63 = thesisTable(`
   128   1.69  3.42  2.58  10.13    2.07  4.1   3.43  11.08
   256   2.89  6.68  5.25  19.8     4.67  8.33  7.58  21.93
   512   5.97 13.12 10.25  39.85    9.25 17.44 15.47  43.25
   768  10.11 19.57 15.3   59.54   13.7  25.84 22.88  64.72
  1024  13.08 25.76 19.64  78.67   18.31 36.45 30.06  88.28`);

/** Table 6.4: the RAM and a disk, whose size is not known here. */
export const table64 = thesisTable(`
   128  13.62 32.52 24.57  95.79   22.73 40.35 37.4  109.12
   256  16.13 35.68 26.99 108.96   25.47 47.02 39.48 120.31
   512  20.03 41.6  31.99 127.56   29.97 54.72 46.91 143.18
   768  23.5  47.79 37.27 147.66   35.33 62.09 56.29 166.41
  1024  26.71 54.23 42.07 167.64   39.94 76.58 63.12 183.68`);

function thesisTable(text: string): Readonly<Record<SideName, ThesisRows>> {
  const lines = text.trim().split("\n");
  const rows = lines.map((line) => line.trim().split(/\s+/).map(Number));
  const side = (first: number): ThesisRows =>
    Object.fromEntries(
      rows.map((row) => [
        row[0]!,
        row.slice(first, first + thesisSuites.length) as [number, number, number, number],
      ]),
    );
  return { source: side(1), destination: side(1 + thesisSuites.length) };
}

/** How much RC4 adds to insecure's total time by the thesis, in seconds, at every size. */
export const thesisAddedSeconds = { low: 8, high: 13 } as const;

/** What RC4 adds to the total time, as a part of insecure's, by RAM size in MB ("about"). */
export const thesisAddedPart = {
  withoutDisk: { 128: 0.32, 1024: 0.1 },
  withDisk: { 128: 0.2, 1024: 0.07 },
} as const;

export type ThesisSuite = (typeof thesisSuites)[number];

/** Which of the thesis's tables a run belongs to, and whose column. */
export interface ThesisPlace {
  side: SideName;
  withDisk: boolean;
}

/** The suite of the thesis that a suite of ours is to be held against: `tls` stands where AES-128 stood. */
export function thesisTwin(suite: SuiteName): ThesisSuite | undefined {
  const name = suite === "tls" ? "aes-128" : suite;
  return thesisSuites.find((known) => known === name);
}

/** Seconds of CPU that the thesis measured; undefined for a size or a suite that it has not. */
export function thesisCpuSec(place: ThesisPlace, suite: ThesisSuite, ramMiB: number): number | undefined {
  return rowsOf(place)[String(ramMiB)]?.[thesisSuites.indexOf(suite)];
}

/** The thesis's ratio to insecure at one of its sizes; undefined elsewhere. */
export function thesisRatio(place: ThesisPlace, suite: ThesisSuite, ramMiB: number): number | undefined {
  const over = thesisCpuSec(place, suite, ramMiB);
  const under = thesisCpuSec(place, "insecure", ramMiB);
  return over === undefined || under === undefined ? undefined : over / under;
}

/** The least and the largest of a suite's ratios over a table's sizes; over all four tables without a place. */
export function thesisRatioRange(suite: ThesisSuite, place?: ThesisPlace): Interval {
  const places: readonly ThesisPlace[] =
    place === undefined
      ? [false, true].flatMap((withDisk) => sideNames.map((side) => ({ side, withDisk })))
      : [place];
  const ratios = places.flatMap((one) =>
    Object.keys(rowsOf(one)).flatMap((ramMiB) => thesisRatio(one, suite, Number(ramMiB)) ?? []),
  );
  return { low: Math.min(...ratios), high: Math.max(...ratios) };
}

/** The straight line through the thesis's means: seconds of CPU against GiB of RAM. */
export function thesisFit(place: ThesisPlace, suite: ThesisSuite): LineFit | undefined {
  return fitLine(
    Object.keys(rowsOf(place)).flatMap((ramMiB) => {
      const y = thesisCpuSec(place, suite, Number(ramMiB));
      return y === undefined ? [] : [{ x: Number(ramMiB) / 1024, y }];
    }),
  );
}

function rowsOf(place: ThesisPlace): ThesisRows {
  return (place.withDisk ? table64 : table63)[place.side];
}
