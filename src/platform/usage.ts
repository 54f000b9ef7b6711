/** What this process has used: processor time and memory. */
import { getrusage, systemError } from "./libc.ts";

export interface Usage {
  /** Processor time in user mode. */
  userMs: number;
  /** Processor time in the kernel on our behalf. */
  systemMs: number;
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

/** struct timeval: seconds i64, microseconds i64. */
function timevalMs(view: DataView, at: number): number {
  return Number(view.getBigInt64(at, true)) * 1000 + Number(view.getBigInt64(at + 8, true)) / 1000;
}
