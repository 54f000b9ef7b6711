/**
 * What must be so once a libvirt domain's move has ended, in one way or another: looked at from outside, at both libvirtd,
 * the processes, the files and the journals.
 */
import { expect } from "bun:test";
import { existsSync, readdirSync } from "node:fs";
import { basename, join } from "node:path";
import { ticksIn } from "../guests/serial-line.ts";
import { ticksOnDisk } from "../guests/tick-disk.ts";
import type { SeenSession } from "../moves/ownership.ts";
import type { TwoHosts } from "../moves/two-hosts.ts";
import { until } from "../system/until.ts";
import { frozenDisks, tpmFolder, wordsOf } from "./frozen-domain.ts";
import type { LibvirtHost } from "./libvirt-host.ts";
import { printedOn, type TickDomain } from "./tick-domain.ts";

const settleMs = 60_000;

/** A move, as far as its end is looked at. */
export interface EndedMove {
  readonly hosts: TwoHosts;
  readonly source: LibvirtHost;
  readonly destination: LibvirtHost;
  /** At the source, and at the destination. */
  readonly here: TickDomain;
  readonly there: TickDomain;
  /** What the guest printed before. */
  readonly textBefore: string;
  readonly options: { autostart?: boolean };
  /** At the source, before the move. */
  readonly definition: string;
  readonly sessionHere: SeenSession | undefined;
  readonly sessionThere: SeenSession | undefined;
}

export class DomainEnds {
  readonly #at: EndedMove;

  constructor(move: EndedMove) {
    this.#at = move;
  }

  /** Every tick that was printed on either host, in order; throws (by `expect`) if one is missing or came twice. */
  expectGapless(context = ""): number[] {
    const text = this.#at.textBefore + printedOn([this.#at.source, this.#at.destination], "web1");
    const ticks = ticksIn(text);
    expect(ticks, `${context}: ticks`).toEqual(ticks.map((_, n) => n + 1));
    return ticks;
  }

  /** Waits until the domain is at the source as it was, and nothing of it is at the destination. */
  async expectStays(context = ""): Promise<void> {
    await this.#expectRunsHere(context);
    await this.#at.here.waitForTicks(3);
    expect(await this.#at.source.virsh("domjobinfo", "web1"), context).toMatch(/Job type:\s+None/);
    for (const { path } of frozenDisks) {
      const job = await this.#at.source.virsh("blockjob", "web1", path, "--info");
      expect(job, context).toMatch(/^\s*$|No current block job/);
    }
    await this.#expectOnlyHere(context);
    this.expectGapless(context);
  }

  /** The same, but it was started anew: what it had in memory is lost, and that was said. */
  async expectBegunAnew(context = ""): Promise<void> {
    await this.#expectRunsHere(context);
    const begun = () => this.#at.source.serialLogs("web1").length;
    // Once as it was thawed, and once more.
    expect(begun(), context).toBe(2);
    await this.#at.here.waitUntil(
      (text) => ticksIn(text).filter((tick) => tick === 1).length === 1,
      "a boot",
    );
    await this.#expectOnlyHere(context);
  }

  /** Waits until the domain is at the source, defined and not running, and nothing of it is at the destination. */
  async expectOff(context = ""): Promise<void> {
    await until(async () => (await this.#at.here.state()) === "shut off", `${context}: it is off`, settleMs);
    await this.#expectOnlyHere(context);
  }

  async #expectRunsHere(context: string): Promise<void> {
    const runs = async () => (await this.#at.here.state()) === "running";
    await until(runs, `${context}: it runs at the source`, settleMs);
  }

  /** Its definition, its files and its TPM are as they were; the sessions are cancelled; nothing is left over. */
  async #expectOnlyHere(context: string): Promise<void> {
    const { autostart = true } = this.#at.options;
    const info = await this.#at.source.virsh("dominfo", "web1");
    expect(info, context).toMatch(/Persistent:\s+yes/);
    expect(info, context).toMatch(autostart ? /Autostart:\s+enable/ : /Autostart:\s+disable/);
    expect(info, context).toMatch(/Managed save:\s+no/);
    expect(await this.#at.here.xml("--inactive", "--security-info"), context).toBe(this.#at.definition);
    for (const { path } of frozenDisks) expect(existsSync(this.#at.source.outside(path)), context).toBe(true);
    expect(this.#tpms(this.#at.source), context).toEqual(["tpm2-00.permall"]);
    await this.#expectClean(context, (left) => {
      left.push(...this.#inStore().map((name) => `${name} in the store`));
      left.push(...this.#vmProcesses(this.#at.destination));
    });
    await until(async () => (await this.#at.there.state()) === undefined, `${context}: no domain there`);
    expect(existsSync(this.#at.destination.outside(`${tpmFolder}/${this.#uuid}`)), context).toBe(false);
    const isSettled = () => this.#at.sessionHere === undefined || this.#at.sessionHere.settled === 1;
    await until(isSettled, `${context}: the source's record is settled`);
    expect(this.#at.sessionHere?.state ?? "cancelled", context).toBe("cancelled");
    expect(this.#at.sessionThere?.state ?? "cancelled", context).toBe("cancelled");
  }

  /** Waits until the domain is at the destination, whole, and runs; nothing of it can be started at the source. */
  async expectMoved(context = ""): Promise<void> {
    await this.#expectConfirmed(context);
    const runs = async () => (await this.#at.there.state()) === "running";
    await until(runs, `${context}: it runs at the destination`, settleMs);
    await this.#at.there.waitForTicks(3);
    await this.#expectOnlyThere(context);
    this.expectGapless(context);
    await this.expectWholeDisks(context);
  }

  /** The same of a domain that booted again on the way, whatever has become of its guest. */
  async expectMovedAnew(context = ""): Promise<void> {
    await this.#expectConfirmed(context);
    const runs = async () => (await this.#at.there.state()) === "running";
    await until(runs, `${context}: it runs at the destination`, settleMs);
    await this.#expectOnlyThere(context);
  }

  /** It is the destination's, and its QEMU died there once it ran. */
  async expectCrashedThere(context = ""): Promise<void> {
    await this.#expectConfirmed(context);
    const isOff = async () => (await this.#at.there.reason()) === "shut off (crashed)";
    await until(isOff, `${context}: it is off at the destination`, settleMs);
    await this.#expectOnlyThere(context);
    await this.expectWholeDisks(context);
  }

  async #expectConfirmed(context: string): Promise<void> {
    const isDone = () => this.#at.sessionHere?.state === "confirmed" && this.#at.sessionHere.settled === 1;
    await until(isDone, `${context}: confirmed`, settleMs);
  }

  async #expectOnlyThere(context: string): Promise<void> {
    expect(await this.#at.here.state(), context).toBeUndefined();
    const { autostart = true } = this.#at.options;
    const info = await this.#at.destination.virsh("dominfo", "web1");
    expect(info, context).toMatch(/Persistent:\s+yes/);
    expect(info, context).toMatch(autostart ? /Autostart:\s+enable/ : /Autostart:\s+disable/);
    const { session } = this.#at.sessionHere!;
    const isClosed = () => this.#at.sessionThere?.state === "closed" && this.#at.sessionThere.settled === 1;
    await until(isClosed, `${context}: closed`);
    expect(this.#at.sessionThere!.session, context).toBe(session);
    expect(this.#tpms(this.#at.destination), context).toEqual(["tpm2-00.permall"]);
    await this.#expectClean(context, (left) => {
      for (const { path } of frozenDisks) {
        if (existsSync(this.#at.source.outside(path))) left.push(path);
        if (!existsSync(this.#at.source.outside(`${path}.migrated`))) left.push(`no ${path}.migrated`);
      }
      left.push(...this.#inStore().filter((name) => name !== "web1" && !name.startsWith(".migrate-vm-")));
      left.push(...this.#vmProcesses(this.#at.source));
    });
  }

  /** Ends the domain at the destination, as a power cut would: on each of its disks is every tick that was printed. */
  async expectWholeDisks(context = ""): Promise<void> {
    await this.#at.there.kill();
    const printed = this.expectGapless(context);
    for (const { path, format } of frozenDisks) {
      const written = await ticksOnDisk({
        path: join(this.#at.hosts.store, "web1", basename(path)),
        format,
      });
      expect(written, context).toEqual(written.map((_, n) => n + 1));
      expect(written.length - printed.length, `${context}: ticks on a disk`).toBeOneOf([0, 1]);
    }
  }

  get #uuid(): string {
    return /<uuid>([^<]+)/.exec(this.#at.definition)![1]!;
  }

  #tpms(host: LibvirtHost): string[] {
    const folder = host.outside(`${tpmFolder}/${this.#uuid}/tpm2`);
    return existsSync(folder) ? readdirSync(folder).filter((name) => name !== ".lock") : [];
  }

  #inStore(): string[] {
    const { store } = this.#at.hosts;
    return existsSync(store) ? readdirSync(store).filter((name) => name !== ".migrate-lock") : [];
  }

  #vmProcesses(host: LibvirtHost): string[] {
    const isVm = (words: string) => /^\S*(qemu-system|swtpm)/.test(words);
    return host.processes().map(wordsOf).filter(isVm);
  }

  /** Waits until neither host has a process, a folder or a file of the move that is over; serves go on. */
  async #expectClean(context: string, more: (left: string[]) => void): Promise<void> {
    const look = () => {
      const left: string[] = [];
      for (const host of [this.#at.source, this.#at.destination]) {
        const folder = host.outside("/run/migrate");
        for (const name of existsSync(folder) ? readdirSync(folder) : [])
          left.push(`${host.name}: /run/migrate/${name}`);
        const saved = host.outside("/var/lib/libvirt/qemu/save");
        for (const name of existsSync(saved) ? readdirSync(saved) : []) left.push(`${host.name}: ${name}`);
        const tpms = host.outside(tpmFolder);
        for (const name of existsSync(tpms) ? readdirSync(tpms) : [])
          if (name.endsWith(".migrate")) left.push(`${host.name}: ${name}`);
        for (const words of host.processes().map(wordsOf))
          if (/\bvirsh\b|send-guard/.test(words)) left.push(`${host.name}: ${words}`);
      }
      more(left);
      return left;
    };
    // A serve that goes on may ask virsh something the next moment.
    let left: string[] = [];
    const isClean = () => {
      left = look();
      return left.length === 0;
    };
    await until(isClean, "", settleMs).catch(() => {});
    expect(left, `${context}: left behind`).toEqual([]);
  }
}
