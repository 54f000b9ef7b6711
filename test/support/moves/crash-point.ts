/**
 * What is to happen to a process of the crash tests at one of its journal writes. The plan is a file,
 * so that a process that is up already can be given a new one.
 */
import { readFileSync, writeFileSync, writeSync } from "node:fs";
import type { WriteHook } from "../../../src/migration/journal/journal.ts";
import { fillDisk } from "../files/ballast.ts";

export interface CrashPoint {
  /** At the Nth call of the journal's hook since the plan was made, or */
  call?: number;
  /** at a call by its name, as "before released". */
  at?: string;
  /** The disk of this folder is filled; where it is absent the process dies. */
  fill?: string;
}

let plans = 0;

/** Puts a plan into the file at `path`; an empty one lets the process live. */
export function planCrash(path: string, point: CrashPoint): void {
  writeFileSync(path, JSON.stringify({ plan: ++plans, ...point }));
}

/** The hook of a process whose plan is at `path`: says each call on standard output, and follows the plan. */
export function crashingHook(path: string): WriteHook {
  let plan = "";
  let calls = 0;
  return (when, label) => {
    const now = readFileSync(path, "utf8");
    if (now !== plan) {
      plan = now;
      calls = 0;
    }
    calls++;
    const { call, at, fill } = JSON.parse(now) as CrashPoint;
    const here = calls === call || `${when} ${label}` === at;
    const dies = here && fill === undefined;
    // Not console.log, which may still hold it when the process is gone.
    writeSync(1, `${JSON.stringify({ event: dies ? "dies" : "write", when, label })}\n`);
    if (here && fill !== undefined) fillDisk(fill);
    // No handler, no finally, no flush: as a power cut, but for what the kernel has.
    if (dies) process.kill(process.pid, "SIGKILL");
  };
}
