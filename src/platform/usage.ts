/** What this process has used: processor time and memory. */
import { getrusage, systemError } from "./libc.ts";

export interface CpuTime {
  /** Processor time in user mode. */
  userMs: number;
  /** Processor time in the kernel on our behalf. */
  systemMs: number;
}

export interface Usage extends CpuTime {
  /** Largest resident memory so far; for `children`, that of the largest one. */
  maxRssBytes: number;
}

/** getrusage(2): this process, its children that have ended and been waited for, this thread. */
const whose = { self: 0, children: -1, thread: 1 } as const;

/** musl's struct rusage, the larger one; 64-bit Linux fills the first 144 bytes alike in both. */
const rusageBytes = 272;

/** Processor time and memory, since the process (thread) began: getrusage(2). Resolution 1 µs. */
export function usage(who: keyof typeof whose): Usage {
  const structure = new Uint8Array(rusageBytes);
  const answer = getrusage(whose[who], structure);
  if (answer < 0) throw systemError("getrusage", answer);
  const view = new DataView(structure.buffer);
  return {
    userMs: timevalMs(view, 0),
    systemMs: timevalMs(view, 16),
    // ru_maxrss is in KiB on Linux.
    maxRssBytes: Number(view.getBigInt64(32, true)) * 1024,
  };
}

/**
 * The processor time between two readings, never below 0: the kernel corrects its division into user and system
 * time after the fact, so that either may seem to fall a little.
 */
export function cpuBetween(from: CpuTime, to: CpuTime): CpuTime {
  return {
    userMs: Math.max(0, to.userMs - from.userMs),
    systemMs: Math.max(0, to.systemMs - from.systemMs),
  };
}

/** struct timeval: seconds i64, microseconds i64. */
function timevalMs(view: DataView, at: number): number {
  return Number(view.getBigInt64(at, true)) * 1000 + Number(view.getBigInt64(at + 8, true)) / 1000;
}
