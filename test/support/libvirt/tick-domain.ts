/** A libvirt domain that counts ticks, as it is seen on one host: defined, started, moved there, or not there at all. */
import { existsSync, readFileSync } from "node:fs";
import { ticksIn } from "../guests/serial-line.ts";
import { until } from "../system/until.ts";
import type { LibvirtHost, SerialLogFile } from "./libvirt-host.ts";
import { type TickDomainOptions, tickDomain } from "./tick-xml.ts";

export class TickDomain {
  /** It need not be there yet. */
  constructor(
    readonly host: LibvirtHost,
    readonly name: string,
  ) {}

  /** Defines it on the host. Throws what virsh said. */
  static async define(host: LibvirtHost, options: TickDomainOptions): Promise<TickDomain> {
    const path = `${host.folder}/${options.name}.xml`;
    await Bun.write(path, tickDomain(options));
    await host.virsh("define", path);
    return new TickDomain(host, options.name);
  }

  /** The same domain as another host sees it. */
  at(host: LibvirtHost): TickDomain {
    return new TickDomain(host, this.name);
  }

  async start(): Promise<void> {
    await this.host.virsh("start", this.name);
  }

  /** All that guests of its name printed on this host, however many QEMUs that took. */
  text(): string {
    return this.host
      .serialLogs(this.name)
      .map(({ path }) => readFileSync(path, "latin1"))
      .join("");
  }

  /** The ticks that were printed on this host so far, in order. */
  ticks(): number[] {
    return ticksIn(this.text());
  }

  /** Waits for tick N or a later one on this host. Throws, with the end of the text, when the deadline passes. */
  async waitForTick(n: number, deadlineMs = 60_000): Promise<void> {
    await this.waitUntil((text) => ticksIn(text).some((tick) => tick >= n), `tick ${n}`, deadlineMs);
  }

  /** Waits until that many more ticks were printed here than now. */
  async waitForTicks(count: number, deadlineMs = 60_000): Promise<void> {
    const wanted = this.ticks().length + count;
    await this.waitUntil((text) => ticksIn(text).length >= wanted, `${count} more ticks`, deadlineMs);
  }

  async waitUntil(holds: (text: string) => boolean, what: string, deadlineMs = 60_000): Promise<void> {
    try {
      await until(() => holds(this.text()), what, deadlineMs);
    } catch (error) {
      const tail = this.text().slice(-2000);
      throw new Error(
        `${error instanceof Error ? error.message : error} of ${this.name} on ${this.host.name}; its serial line ends with:\n${tail}`,
      );
    }
  }

  /** The state as virsh has it ("running", "paused", "shut off", …); undefined where there is no such domain. */
  async state(): Promise<string | undefined> {
    const { code, stdout } = await this.host.tryVirsh("domstate", this.name);
    return code === 0 ? stdout.trim() : undefined;
  }

  /** The state with its reason, for instance "shut off (migrated)". */
  async reason(): Promise<string | undefined> {
    const { code, stdout } = await this.host.tryVirsh("domstate", "--reason", this.name);
    return code === 0 ? stdout.trim() : undefined;
  }

  /** Waits until libvirtd says that it is in that state. */
  async waitForState(state: string, deadlineMs = 60_000): Promise<void> {
    const what = `${this.name} on ${this.host.name} to be ${state}`;
    await until(async () => (await this.state()) === state, what, deadlineMs);
  }

  /** Its definition: the live one, or the one that it will be started with. Throws what virsh said. */
  async xml(...flags: ("--inactive" | "--migratable" | "--security-info")[]): Promise<string> {
    return await this.host.virsh("dumpxml", ...flags, this.name);
  }

  qemuPid(): number | undefined {
    return this.host.qemuPid(this.name);
  }

  /** Kills its QEMU as a crash would, and waits for its end; libvirtd sees it a moment later. Harmless where it has none. */
  async kill(): Promise<void> {
    const pid = this.qemuPid();
    if (pid === undefined) return;
    process.kill(pid, "SIGKILL");
    // Its first thread may be gone before the others, which hold its disks for a moment.
    await until(() => !existsSync(`/proc/${pid}/task`), `the end of QEMU of ${this.name}`);
  }
}

/**
 * All that guests of that name printed on the hosts, one after another as their QEMUs began: a line that a move cut is
 * whole in it, and a guest that ran on two hosts at once has ticks in it twice.
 */
export function printedOn(hosts: readonly LibvirtHost[], name: string): string {
  const files: SerialLogFile[] = hosts.flatMap((host) => host.serialLogs(name));
  files.sort((a, b) => (a.begunNs < b.begunNs ? -1 : 1));
  return files.map(({ path }) => readFileSync(path, "latin1")).join("");
}
