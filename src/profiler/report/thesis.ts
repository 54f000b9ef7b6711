/** The thesis's CPU times as ratios to its insecure protocol, to stand beside ours. Pure. */
import type { SuiteName } from "../statistics/samples.ts";
import type { Interval, LineFit } from "../statistics/statistics.ts";
import { fitLine } from "../statistics/statistics.ts";
import { type ThesisRows, table63, table64, thesisSuites } from "./thesis-figures.ts";

export type ThesisSuite = (typeof thesisSuites)[number];

/** Which of the thesis's tables a run belongs to, and whose column. */
export interface ThesisPlace {
  side: "source" | "destination";
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
      ? [false, true].flatMap((withDisk) =>
          (["source", "destination"] as const).map((side) => ({ side, withDisk })),
        )
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
