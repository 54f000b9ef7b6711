/**
 * When QEMU stopped and resumed the guests of libvirt hosts, by its own clock (virsh(1), qemu-monitor-event; QEMU,
 * STOP and RESUME): no way of moving a domain has a word in it, and both hosts have one clock.
 */
import type { LibvirtHost } from "../../support/libvirt/libvirt-host.ts";
import { type Child, startChild } from "../../support/system/child.ts";
import { until } from "../../support/system/until.ts";

interface Stop {
  host: LibvirtHost;
  domain: string;
  kind: "STOP" | "RESUME";
  atMs: number;
}

export class QemuStops {
  readonly #seen: Stop[] = [];
  readonly #watchers: Child[] = [];

  /** Sees what happens on the host from now on. */
  async watch(host: LibvirtHost): Promise<void> {
    let rest = "";
    const words = ["virsh", "-c", "qemu:///system", "qemu-monitor-event", "--loop"];
    const watcher = startChild(host.command(words), {
      env: { ...process.env, LC_ALL: "C" },
      onStdout: (text) => {
        const lines = (rest + text).split("\n");
        rest = lines.pop() ?? "";
        for (const line of lines) this.#take(host, line);
      },
    });
    this.#watchers.push(watcher);
    watcher.exit.then(() => {
      if (this.#watchers.includes(watcher)) this.#broken = `virsh qemu-monitor-event: ${watcher.stderr()}`;
    });
  }

  #broken: string | undefined;

  /** Processes that watch, on the hosts: no part of what a move takes. */
  get pids(): number[] {
    return this.#watchers.map(({ pid }) => pid);
  }

  /** Waits until a guest has resumed on that host since then. Throws an Error when it is not seen in time. */
  async waitForResume(
    host: LibvirtHost,
    domain: string,
    sinceMs: number,
    deadlineMs = 30_000,
  ): Promise<void> {
    const resumed = () => {
      if (this.#broken !== undefined) throw new Error(this.#broken);
      return this.#when(host, domain, "RESUME", sinceMs).length > 0;
    };
    await until(resumed, `${domain} to resume on ${host.name}`, deadlineMs);
  }

  /**
   * How long a domain that has moved since then stood still: from its last stop at the source until it resumed at the
   * destination, in milliseconds. Undefined if one of them was not seen.
   */
  downtimeMs(
    source: LibvirtHost,
    destination: LibvirtHost,
    domain: string,
    sinceMs: number,
  ): number | undefined {
    const stopped = this.#when(source, domain, "STOP", sinceMs).at(-1);
    if (stopped === undefined) return undefined;
    const resumed = this.#when(destination, domain, "RESUME", stopped)[0];
    return resumed === undefined ? undefined : resumed - stopped;
  }

  async close(): Promise<void> {
    await Promise.all(this.#watchers.splice(0).map((watcher) => watcher.kill()));
  }

  #when(host: LibvirtHost, domain: string, kind: Stop["kind"], sinceMs: number): number[] {
    return this.#seen
      .filter((s) => s.host === host && s.domain === domain && s.kind === kind && s.atMs >= sinceMs)
      .map(({ atMs }) => atMs);
  }

  #take(host: LibvirtHost, line: string): void {
    const found = readStop(line);
    if (found !== undefined) this.#seen.push({ host, ...found });
  }
}

/** A line of `virsh qemu-monitor-event`; undefined if it tells of something else. */
export function readStop(line: string): Omit<Stop, "host"> | undefined {
  const [, kind, seconds, micros, domain] =
    /^event (STOP|RESUME) at (\d+)\.(\d{6}) for domain '?([^':]+)'?/.exec(line) ?? [];
  if (domain === undefined) return undefined;
  return { domain, kind: kind as Stop["kind"], atMs: Number(seconds) * 1000 + Number(micros) / 1000 };
}
