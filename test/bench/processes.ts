/** What Linux tells about running processes and the loopback device; see proc(5). */
import { readFileSync } from "node:fs";

/** The processes below one, at any depth. One whose parent has more than one thread may be missed. */
export function descendants(pid: number): number[] {
  const children = readOrEmpty(`/proc/${pid}/task/${pid}/children`).split(" ").map(Number).filter(Boolean);
  return children.flatMap((child) => [child, ...descendants(child)]);
}

/** Bytes that went through the loopback device since the machine started, headers included. */
export function loopbackBytes(): number {
  const received = /^\s*lo:\s*(\d+)/m.exec(readFileSync("/proc/net/dev", "utf8"))?.[1];
  if (received === undefined) throw new Error("/proc/net/dev has no loopback device");
  return Number(received);
}

/**
 * Watches how much memory a process and those below it take. getrusage(2) will not do: a child's
 * maximum there starts from the memory of the process that forked it, here a whole Bun.
 */
export class MemoryWatch {
  readonly #peakBytes = new Map<number, number>();
  readonly #timer: Timer;

  constructor(private readonly pid: number) {
    this.#look();
    this.#timer = setInterval(() => this.#look(), 20);
  }

  /** Stops watching. Gives the sum of each process's own peak (VmHWM), in bytes. */
  stop(): number {
    clearInterval(this.#timer);
    return [...this.#peakBytes.values()].reduce((sum, bytes) => sum + bytes, 0);
  }

  #look(): void {
    for (const pid of [this.pid, ...descendants(this.pid)]) {
      const kib = /^VmHWM:\s*(\d+) kB/m.exec(readOrEmpty(`/proc/${pid}/status`))?.[1];
      if (kib !== undefined) this.#peakBytes.set(pid, Number(kib) * 1024);
    }
  }
}

/** A process may be gone at any moment. */
function readOrEmpty(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}

/** Watches over several processes, which all end together. */
export class MemoryWatches {
  readonly #all: MemoryWatch[] = [];

  watch(pid: number): MemoryWatch {
    const memory = new MemoryWatch(pid);
    this.#all.push(memory);
    return memory;
  }

  stop(): void {
    for (const memory of this.#all) memory.stop();
  }
}

/** User and system CPU time of a process that has ended, in milliseconds. Throws an Error if it has not. */
export function cpuMsOfEnded(process: { cpuMs(): { userMs: number; systemMs: number } | undefined }): number {
  const cpu = process.cpuMs();
  if (cpu === undefined) throw new Error("a process's CPU time is not known before it has ended");
  return cpu.userMs + cpu.systemMs;
}
