/**
 * The CPU time that all processes of a libvirt host take for a while: libvirtd, virtlogd, QEMU with the guest in it,
 * and whatever else comes (proc(5)). Children that end are in their parent's time once it has waited for them; a QEMU
 * is nobody's child, so it is looked at until it ends.
 */
import type { LibvirtHost } from "../../support/libvirt/libvirt-host.ts";
import { cpuMsWithChildrenOf } from "../qemu/cpu-time.ts";

const betweenLooksMs = 20;

export class HostCpu {
  readonly #before: ReadonlyMap<number, number>;
  readonly #last = new Map<number, number>();
  readonly #timer: Timer;

  /** Counts from now on; `leftOut` are processes that do not count, `mayEnd` those that nobody waits for. */
  constructor(
    private readonly host: LibvirtHost,
    private readonly leftOut: readonly number[],
    mayEnd: readonly number[],
  ) {
    this.#before = this.#now();
    this.#timer = setInterval(() => {
      for (const pid of mayEnd) {
        const ms = timeOf(pid);
        if (ms !== undefined) this.#last.set(pid, ms);
      }
    }, betweenLooksMs);
  }

  /**
   * What they took since, in milliseconds: of those that run and of those that may end. A command that this process
   * started there and that has ended is its caller's to add.
   */
  stop(): number {
    clearInterval(this.#timer);
    const total = new Map([...this.#last, ...this.#now()]);
    return [...total].reduce((sum, [pid, ms]) => sum + ms - (this.#before.get(pid) ?? 0), 0);
  }

  #now(): Map<number, number> {
    const pids = this.host.processes().filter((pid) => !this.leftOut.includes(pid));
    return new Map(pids.map((pid) => [pid, timeOf(pid) ?? this.#last.get(pid) ?? 0]));
  }
}

/** Undefined if it has ended. */
function timeOf(pid: number): number | undefined {
  try {
    return cpuMsWithChildrenOf(pid);
  } catch {
    return undefined;
  }
}
