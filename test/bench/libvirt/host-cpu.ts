/**
 * The CPU time that all processes of a libvirt host take for a while: libvirtd, virtlogd, QEMU with the guest in it,
 * and whatever else comes (proc(5)). What ends is in the time of whoever has waited for it, which on a host that reaps
 * is one of its processes as well; a command that this process started there is not.
 */
import type { LibvirtHost } from "../../support/libvirt/libvirt-host.ts";
import { cpuMsWithChildrenOf } from "../qemu/cpu-time.ts";

export class HostCpu {
  readonly #beforeMs: number;

  /** Counts from now on; `leftOut` are processes that do not count, and go on. */
  constructor(
    private readonly host: Pick<LibvirtHost, "processes">,
    private readonly leftOut: readonly number[],
  ) {
    this.#beforeMs = this.#nowMs();
  }

  /** What they took since, in milliseconds. A command that has ended and was not theirs is its caller's to add. */
  sinceMs(): number {
    return this.#nowMs() - this.#beforeMs;
  }

  #nowMs(): number {
    const pids = this.host.processes().filter((pid) => !this.leftOut.includes(pid));
    return pids.reduce((sum, pid) => sum + timeOf(pid), 0);
  }
}

/** Nothing if it has just ended: then somebody else has it. */
function timeOf(pid: number): number {
  try {
    return cpuMsWithChildrenOf(pid);
  } catch {
    return 0;
  }
}
