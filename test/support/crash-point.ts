/**
 * Where a process of the crash tests is to die: at the Nth call of the journal's hook from now on. The
 * plan is a file, so that a process that is up already can be given a new one: "ID N", or empty.
 */
import { readFileSync, writeSync } from "node:fs";
import type { WriteHook } from "../../src/migration/journal.ts";

/** The hook of a process whose plan is at `path`: says each call on standard output, and dies at the planned one. */
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
    const at = Number(now.split(" ")[1] ?? 0);
    const dies = calls === at;
    // Not console.log, which may still hold it when the process is gone.
    writeSync(1, `${JSON.stringify({ event: dies ? "dies" : "write", when, label })}\n`);
    // No handler, no finally, no flush: as a power cut, but for what the kernel has.
    if (dies) process.kill(process.pid, "SIGKILL");
  };
}
