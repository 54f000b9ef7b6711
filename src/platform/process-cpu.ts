/** The processor time of another process, finer than the clock ticks of /proc/PID/stat. */
import { readdirSync, readFileSync } from "node:fs";

/**
 * Processor time of all threads of a process that live, in milliseconds: the first number of each
 * /proc/PID/task/TID/schedstat is nanoseconds on a processor (Linux, Documentation/scheduler/sched-stats). Null where
 * the kernel does not tell, or the process is gone. Never throws.
 */
export function processCpuMs(pid: number): number | null {
  try {
    const tasks = `/proc/${pid}/task`;
    const ofTask = (task: string) =>
      Number(readFileSync(`${tasks}/${task}/schedstat`, "utf8").split(" ", 1)[0]);
    const ns = readdirSync(tasks).reduce((sum, task) => sum + ofTask(task), 0);
    return Number.isFinite(ns) ? ns / 1e6 : null;
  } catch {
    return null;
  }
}
