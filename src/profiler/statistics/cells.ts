/**
 * Samples by cells, that is runs that differ by nothing but chance, and what one run cost. Pure.
 */
import {
  type Operation,
  operations,
  type Sample,
  type SideFigures,
  type SuiteName,
  suiteNames,
} from "./samples.ts";

export type SideName = "source" | "destination";
export const sideNames: readonly SideName[] = ["source", "destination"];

/** The operations that have a name of their own; "rest" has none. */
export const namedOperations: readonly Operation[] = operations.filter((operation) => operation !== "rest");

const mebibyte = 1024 * 1024;

export interface Cell {
  engine: Sample["engine"];
  diskBytes: number;
  ramBytes: number;
  suite: SuiteName;
  /** In the order in which they were measured. */
  samples: readonly Sample[];
}

/** What makes a table: one engine, and with or without a disk of one size. */
export interface Setting {
  engine: Sample["engine"];
  diskBytes: number;
  /** Ascending. */
  ramBytes: readonly number[];
  /** Those that were measured, in the order of `suiteNames`. */
  suites: readonly SuiteName[];
  cells: readonly Cell[];
}

/** All cells that hold a sample, by engine ("thesis" first), disk, RAM and suite. */
export function cellsOf(samples: readonly Sample[]): Cell[] {
  const cells = new Map<string, Cell & { samples: Sample[] }>();
  for (const sample of samples.toSorted((a, b) => a.order - b.order)) {
    const { engine, diskBytes, ramBytes, suite } = sample;
    const key = cellKey(sample);
    const cell = cells.get(key);
    if (cell === undefined) cells.set(key, { engine, diskBytes, ramBytes, suite, samples: [sample] });
    else cell.samples.push(sample);
  }
  return [...cells.values()].sort(
    (a, b) =>
      Number(a.engine === "full") - Number(b.engine === "full") ||
      a.diskBytes - b.diskBytes ||
      a.ramBytes - b.ramBytes ||
      suiteNames.indexOf(a.suite) - suiteNames.indexOf(b.suite),
  );
}

/** Names a cell: equal for a cell and its samples, and for no other cell. */
export function cellKey({
  engine,
  diskBytes,
  ramBytes,
  suite,
}: Pick<Cell, "engine" | "diskBytes" | "ramBytes" | "suite">): string {
  return [engine, diskBytes, ramBytes, suite].join(" ");
}

/** The cells by engine and disk, in the order of `cellsOf`. */
export function settingsOf(samples: readonly Sample[]): Setting[] {
  const bySetting = Map.groupBy(cellsOf(samples), (cell) => `${cell.engine} ${cell.diskBytes}`);
  return [...bySetting.values()].map((cells) => ({
    engine: cells[0]!.engine,
    diskBytes: cells[0]!.diskBytes,
    ramBytes: [...new Set(cells.map((cell) => cell.ramBytes))],
    suites: suiteNames.filter((suite) => cells.some((cell) => cell.suite === suite)),
    cells,
  }));
}

/** The cell of a setting for one RAM size and suite; undefined if nothing was measured. */
export function cellAt(setting: Setting, ramBytes: number, suite: SuiteName): Cell | undefined {
  return setting.cells.find((cell) => cell.ramBytes === ramBytes && cell.suite === suite);
}

/** "without disk", "with a disk of 1024 MiB"; the product's own engine is named, the thesis's is not. */
export function settingWords({ engine, diskBytes }: Setting): string {
  const disk = diskBytes > 0 ? `with a disk of ${inMiB(diskBytes)} MiB` : "without disk";
  return engine === "full" ? `${disk} (the product's own engine)` : disk;
}

/** The same for an identifier: "", "-1024", "-full", "-1024-full". */
export function settingSuffix({ engine, diskBytes }: Setting): string {
  return `${diskBytes > 0 ? `-${inMiB(diskBytes)}` : ""}${engine === "full" ? "-full" : ""}`;
}

/** CPU milliseconds of one side of one run, user and system, without what reading the clock cost. */
export function cpuMs(side: SideFigures): number {
  return Math.max(0, side.userMs + side.systemMs - side.clockMs);
}

/** CPU milliseconds of one operation; "rest" is what the named ones leave of `cpuMs`, never below 0. */
export function operationMs(side: SideFigures, operation: Operation): number {
  if (operation !== "rest") return side.operationsMs[operation];
  return Math.max(0, cpuMs(side) - namedMs(side));
}

/** The part (0 to 1) of a run's CPU time that some operations took; 0 of a run that took none. */
export function shareOf(side: SideFigures, of: readonly Operation[]): number {
  const whole = Math.max(cpuMs(side), namedMs(side));
  return whole === 0 ? 0 : of.reduce((sum, operation) => sum + operationMs(side, operation), 0) / whole;
}

/** RAM or disk in MiB as tables write it: "128", "0.5". */
export function inMiB(bytes: number): string {
  return String(Number((bytes / mebibyte).toFixed(2)));
}

function namedMs(side: SideFigures): number {
  return namedOperations.reduce((sum, operation) => sum + side.operationsMs[operation], 0);
}
