/** A thread that works only while nothing else wants the processor or the disk. */
import { setIoPriority, setThreadPriority } from "./libc.ts";

/** nice(1) goes up to 19; at 10 a thread gets a tenth of what others get that all want the processor. */
const niceness = 10;

/** ioprio_set(2): class IOPRIO_CLASS_IDLE in the upper bits, which has no levels. */
const idleClass = 3 << 13;

/**
 * From here on the calling thread gives way to others: a higher nice value (setpriority(2), which on Linux
 * is a thread's own) and the idle class of I/O (ioprio_set(2), heeded by the BFQ scheduler). If the
 * kernel does not allow it, nothing changes. There is no way back without a privilege.
 */
export function runInBackground(): void {
  setThreadPriority(niceness);
  setIoPriority(idleClass);
}
