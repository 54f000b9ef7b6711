/** How much CPU time a running process has taken, all its threads together; proc(5), /proc/PID/stat. */
import { readFileSync } from "node:fs";

/** USER_HZ, in which the kernel counts here: 100 on every machine that this runs on. */
const msPerTick = 10;

/**
 * User and system time since its start, in milliseconds, to the nearest hundredth of a second.
 * Throws where the process is gone.
 */
export function cpuMsOf(pid: number): number {
  const [user = 0, system = 0] = timesOf(pid);
  return (user + system) * msPerTick;
}

/** The same, with that of its children that have ended and of theirs, as far as they were waited for. */
export function cpuMsWithChildrenOf(pid: number): number {
  return timesOf(pid).reduce((sum, ticks) => sum + ticks, 0) * msPerTick;
}

/** User and system time, and the same of its children. */
function timesOf(pid: number): number[] {
  const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
  // The second field is a name in parentheses, which may hold anything; what follows has no spaces.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  // Fields 14 to 17 of the line are 11 to 14 from the third on.
  return fields.slice(11, 15).map(Number);
}
