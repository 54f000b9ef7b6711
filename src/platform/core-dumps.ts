/** Keeps what this process has in memory, keys and VMs, out of files that the kernel writes when it dies. */
import { prctl, setrlimit } from "./libc.ts";

const RLIMIT_CORE = 4;
const PR_SET_DUMPABLE = 4;

/**
 * No core dump is written of this process (prctl(2), PR_SET_DUMPABLE), to a file or to a program; nobody but root
 * attaches to it or reads its memory. Programs that it starts write none to files either (setrlimit(2),
 * RLIMIT_CORE, which is inherited). If the kernel refuses, all stays as it was.
 */
export function forbidCoreDumps(): void {
  setrlimit(RLIMIT_CORE, BigUint64Array.of(0n, 0n));
  prctl(PR_SET_DUMPABLE, 0);
}
