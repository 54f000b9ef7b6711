/**
 * One move of a libvirt domain between two libvirt hosts, what is done to it at a certain moment, and what must be so
 * afterwards: one end, one place that runs it, and nothing left behind.
 */
import { expect } from "bun:test";
import { existsSync, mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import type { FrameName } from "../../../src/protocol/frames.ts";
import { ticksIn } from "../guests/serial-line.ts";
import { ticksOnDisk } from "../guests/tick-disk.ts";
import type { Direction } from "../moves/cutting-proxy.ts";
import { type SeenSession, sessionsIn } from "../moves/ownership.ts";
import { TwoHosts } from "../moves/two-hosts.ts";
import { countArrived } from "../runner/lost-guests.ts";
import { withDeadline } from "../system/deadline.ts";
import { builtBinary, type MigrateProcess, runMigrate } from "../system/process.ts";
import { until } from "../system/until.ts";
import type { MoveConfig } from "./dying-move.ts";
import { type FrozenDomain, frozenDisks, tpmFolder, wordsOf } from "./frozen-domain.ts";
import type { LibvirtHost } from "./libvirt-host.ts";
import { printedOn, type TickDomain } from "./tick-domain.ts";

/** Known by the `number`th of such frames that is about to pass; of a stream by `stream`, its data either way. */
export interface AtFrame {
  direction: Direction;
  frame: FrameName;
  number?: number;
  stream?: number;
}

/** Known by a call of a journal's hook, as "after released", of send or of serve. */
export interface AtWrite {
  of: "send" | "serve";
  write: string;
}

export type DomainMoment = AtFrame | AtWrite;

/** Whom the kill is for. */
export type Victim =
  | "send"
  | "serve"
  | "the source's libvirtd"
  | "the destination's libvirtd"
  | "the source's QEMU"
  | "the destination's QEMU";

const endMs = 90_000;
const settleMs = 60_000;
const program = join(import.meta.dir, "dying-move.ts");

export interface DisturbedOptions {
  autostart?: boolean;
  live?: boolean;
}

export class DisturbedDomain {
  serve!: MigrateProcess;
  send!: MigrateProcess;
  /** Its definition at the source, before the move. */
  #definition = "";
  readonly #started: MigrateProcess[] = [];
  /** What serves or sends anew is the binary again. */
  #plan: { of: "send" | "serve"; config: Pick<MoveConfig, "at" | "victim" | "signal"> } | undefined;

  private constructor(
    readonly hosts: TwoHosts,
    readonly source: LibvirtHost,
    readonly destination: LibvirtHost,
    /** At the source, and at the destination. */
    readonly here: TickDomain,
    readonly there: TickDomain,
    private readonly textBefore: string,
    private readonly options: DisturbedOptions,
  ) {}

  /** Prepares one in `folder`, does `work` with it, and looks at last whether a tick is missing or came twice. */
  static async with(
    frozen: FrozenDomain,
    folder: string,
    options: DisturbedOptions,
    work: (move: DisturbedDomain) => Promise<void>,
  ): Promise<void> {
    const { source, destination } = frozen;
    const hosts = await TwoHosts.make(folder, { insecure: true });
    let move: DisturbedDomain | undefined;
    try {
      const here = await frozen.thaw(options);
      move = new DisturbedDomain(
        hosts,
        source,
        destination,
        here,
        here.at(destination),
        frozen.textBefore,
        options,
      );
      move.#definition = await here.xml("--inactive", "--security-info");
      await work(move);
    } catch (thrown) {
      throw new Error(`${thrown instanceof Error ? thrown.stack : thrown}\n${move?.story() ?? ""}`);
    } finally {
      await move?.end();
      await hosts.close();
    }
  }

  /** All that was said. */
  story(): string {
    return this.#started
      .map((process) => {
        const events = process.events.filter(({ event }) => event !== "progress" && event !== "ram");
        return `--- ${events.map((event) => JSON.stringify(event)).join("\n")}${process.stderr()}`;
      })
      .join("\n");
  }

  async end(): Promise<void> {
    await Promise.all(this.#started.map((process) => process.kill()));
    const printed = this.there.text();
    if (printed !== "") countArrived(printed);
  }

  /** Serves, again on the same home and store where that was done before. */
  async startServe(): Promise<void> {
    const planned = this.#plan?.of === "serve" ? this.#plan.config : undefined;
    const { destinationHome: home, store } = this.hosts;
    this.serve =
      planned === undefined
        ? this.#track(
            this.hosts.startServe({
              flags: ["--libvirt"],
              binary: this.destination.command([builtBinary]),
            }),
          )
        : this.#program("serve", { ...planned, home, store });
    this.hosts.reach(await this.serve.waitFor("listening"));
  }

  startSend(flags: string[] = []): MigrateProcess {
    const planned = this.#plan?.of === "send" ? this.#plan.config : undefined;
    const { sourceHome: home, proxy } = this.hosts;
    const { live = true } = this.options;
    if (planned !== undefined) {
      this.send = this.#program("send", {
        ...planned,
        home,
        live,
        port: proxy.address.port,
        guard: builtBinary,
      });
    } else {
      this.send = this.#track(
        this.hosts.send("libvirt:web1", [...(live ? [] : ["--mode", "stop"]), ...flags], {
          binary: this.source.command([builtBinary]),
        }),
      );
    }
    return this.send;
  }

  /** `migrate resolve` of the session, on either side. */
  resolve(side: "source" | "destination" = "source", flags: string[] = []): MigrateProcess {
    const session = this.sessionHere?.session ?? "none";
    const binary = this[side].command([builtBinary]);
    const insecure = side === "source" ? ["--insecure"] : [];
    return this.#track(this.hosts[side](["resolve", session, ...insecure, ...flags], { binary }));
  }

  /**
   * Serves, starts the move and does `act` at that moment; at a frame this is before it passes, and where `act` gives
   * "break" it does not pass, and every connection is reset. Resolves after it.
   */
  async at(moment: AtFrame, act: () => unknown, flags: string[] = []): Promise<void> {
    await this.startServe();
    const { proxy } = this.hosts;
    const { direction, frame, number = 1, stream } = moment;
    const done = Promise.withResolvers<void>();
    let left = number;
    proxy.breakBefore = (passing, name, of) => {
      const isIt = name === frame || (frame === "data" && name === "dataZstd");
      if (passing !== direction || !isIt || (stream !== undefined && of !== stream) || --left !== 0)
        return false;
      try {
        const answer = act();
        done.resolve();
        return answer === "break";
      } catch (thrown) {
        done.reject(thrown);
        return false;
      }
    };
    this.startSend(flags);
    try {
      await withDeadline(done.promise, endMs, () => `${frame} ${direction}`);
    } finally {
      proxy.breakBefore = undefined;
    }
  }

  /** Serves and starts the move; at that moment the victim gets the signal. Resolves after it. */
  async strike(moment: DomainMoment, victim: Victim, signal: NodeJS.Signals = "SIGKILL"): Promise<void> {
    if ("frame" in moment) {
      await this.at(moment, () => process.kill(this.#pidOf(victim), signal));
      return;
    }
    const isOther = victim !== moment.of;
    // What the other one is has to be known first.
    if (isOther && victim === "serve") await this.startServe();
    if (isOther && victim === "send") this.startSend();
    const isQemu = victim === "the destination's QEMU";
    const pidFile = join(this.destination.folder, "run", "qemu", "web1.pid");
    const whom = !isOther ? "self" : isQemu ? pidFile : this.#pidOf(victim);
    this.#plan = { of: moment.of, config: { at: moment.write, victim: whom, signal } };
    if (!(isOther && victim === "serve")) await this.startServe();
    if (!(isOther && victim === "send")) this.startSend();
    const dying = moment.of === "send" ? this.send : this.serve;
    await dying.waitFor("dies", { deadlineMs: endMs });
    this.#plan = undefined;
  }

  #pidOf(victim: Victim): number {
    const pid = {
      send: () => this.send.pid,
      serve: () => this.serve.pid,
      "the source's libvirtd": () => this.source.libvirtdPid(),
      "the destination's libvirtd": () => this.destination.libvirtdPid(),
      "the source's QEMU": () => this.here.qemuPid(),
      "the destination's QEMU": () => this.there.qemuPid(),
    }[victim]();
    if (pid === undefined) throw new Error(`there is no ${victim}`);
    return pid;
  }

  /** What was killed comes again, but for a QEMU and a send: what a host does by itself. */
  async revive(victim: Victim): Promise<void> {
    if (victim === "serve") {
      await this.serve.exit;
      await this.startServe();
    }
    const host =
      victim === "the source's libvirtd"
        ? this.source
        : victim === "the destination's libvirtd"
          ? this.destination
          : undefined;
    if (host === undefined) return;
    await until(() => host.libvirtdPid() === undefined, "the end of libvirtd");
    await host.startLibvirtd();
  }

  /** The end of a process, with its last error. */
  async failure(
    process = this.send,
  ): Promise<{ code: number | null; error: Record<string, unknown> | undefined }> {
    const { code } = await withDeadline(process.exit, endMs, "the end of a process");
    return { code, error: process.events.findLast(({ event }) => event === "error") };
  }

  get sessionHere(): SeenSession | undefined {
    return seen(this.hosts.sourceHome, "source");
  }

  get sessionThere(): SeenSession | undefined {
    return seen(this.hosts.destinationHome, "destination");
  }

  /** Every tick that was printed on either host, in order; throws (by `expect`) if one is missing or came twice. */
  expectGapless(context = ""): number[] {
    const text = this.textBefore + printedOn([this.source, this.destination], "web1");
    const ticks = ticksIn(text);
    expect(ticks, `${context}: ticks`).toEqual(ticks.map((_, n) => n + 1));
    return ticks;
  }

  /** Waits until the domain is at the source as it was, and nothing of it is at the destination. */
  async expectStays(context = ""): Promise<void> {
    await until(
      async () => (await this.here.state()) === "running",
      `${context}: it runs at the source`,
      settleMs,
    );
    await this.here.waitForTicks(3);
    const { autostart = true } = this.options;
    const info = await this.source.virsh("dominfo", "web1");
    expect(info, context).toMatch(/Persistent:\s+yes/);
    expect(info, context).toMatch(autostart ? /Autostart:\s+enable/ : /Autostart:\s+disable/);
    expect(info, context).toMatch(/Managed save:\s+no/);
    expect(await this.here.xml("--inactive", "--security-info"), context).toBe(this.#definition);
    expect(await this.source.virsh("domjobinfo", "web1"), context).toMatch(/Job type:\s+None/);
    expect(await this.source.virsh("blockjob", "web1", "vda", "--info"), context).toMatch(
      /^\s*$|No current block job/,
    );
    for (const { path } of frozenDisks) expect(existsSync(this.source.outside(path)), context).toBe(true);
    expect(this.#tpms(this.source), context).toEqual(["tpm2-00.permall"]);
    await this.#expectClean(context, (left) => {
      left.push(...this.#inStore().map((name) => `${name} in the store`));
      left.push(...this.#vmProcesses(this.destination));
    });
    await until(async () => (await this.there.state()) === undefined, `${context}: no domain there`);
    expect(existsSync(this.destination.outside(`${tpmFolder}/${this.#uuid}`)), context).toBe(false);
    await until(
      () => this.sessionHere === undefined || this.sessionHere.settled === 1,
      `${context}: the source's record is settled`,
    );
    expect(this.sessionHere?.state ?? "cancelled", context).toBe("cancelled");
    expect(this.sessionThere?.state ?? "cancelled", context).toBe("cancelled");
    this.expectGapless(context);
  }

  /** Waits until the domain is at the destination, whole, and runs; nothing of it can be started at the source. */
  async expectMoved(context = ""): Promise<void> {
    await until(
      () => this.sessionHere?.state === "confirmed" && this.sessionHere.settled === 1,
      `${context}: confirmed`,
      settleMs,
    );
    await until(
      async () => (await this.there.state()) === "running",
      `${context}: it runs at the destination`,
      settleMs,
    );
    await this.there.waitForTicks(3);
    expect(await this.here.state(), context).toBeUndefined();
    const { autostart = true } = this.options;
    const info = await this.destination.virsh("dominfo", "web1");
    expect(info, context).toMatch(/Persistent:\s+yes/);
    expect(info, context).toMatch(autostart ? /Autostart:\s+enable/ : /Autostart:\s+disable/);
    expect(this.sessionThere, context).toMatchObject({
      session: this.sessionHere!.session,
      state: "closed",
      settled: 1,
    });
    expect(this.#tpms(this.destination), context).toEqual(["tpm2-00.permall"]);
    await this.#expectClean(context, (left) => {
      for (const { path } of frozenDisks) {
        if (existsSync(this.source.outside(path))) left.push(path);
        if (!existsSync(this.source.outside(`${path}.migrated`))) left.push(`no ${path}.migrated`);
      }
      left.push(...this.#inStore().filter((name) => name !== "web1" && !name.startsWith(".migrate-vm-")));
      left.push(...this.#vmProcesses(this.source));
    });
    this.expectGapless(context);
    await this.expectWholeDisks(context);
  }

  /** Ends the domain at the destination, as a power cut would: on each of its disks is every tick that was printed. */
  async expectWholeDisks(context = ""): Promise<void> {
    await this.there.kill();
    const printed = this.expectGapless(context);
    for (const { path, format } of frozenDisks) {
      const written = await ticksOnDisk({
        path: join(this.hosts.store, "web1", basename(path)),
        format,
      });
      expect(written, context).toEqual(written.map((_, n) => n + 1));
      expect(written.length - printed.length, `${context}: ticks on a disk`).toBeOneOf([0, 1]);
    }
  }

  get #uuid(): string {
    return /<uuid>([^<]+)/.exec(this.#definition)![1]!;
  }

  #tpms(host: LibvirtHost): string[] {
    const folder = host.outside(`${tpmFolder}/${this.#uuid}/tpm2`);
    return existsSync(folder) ? readdirSync(folder).filter((name) => name !== ".lock") : [];
  }

  #inStore(): string[] {
    const { store } = this.hosts;
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
      for (const host of [this.source, this.destination]) {
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
    await until(() => look().length === 0, "", settleMs).catch(() => {});
    expect(look(), `${context}: left behind`).toEqual([]);
  }

  #program(what: "send" | "serve", config: MoveConfig): MigrateProcess {
    mkdirSync(this.hosts.folder, { recursive: true });
    const path = join(this.hosts.folder, `${what}.json`);
    writeFileSync(path, JSON.stringify(config));
    const host = what === "send" ? this.source : this.destination;
    return this.#track(
      runMigrate([what, path], {
        home: config.home,
        binary: host.command([process.execPath, program]),
      }),
    );
  }

  #track(process: MigrateProcess): MigrateProcess {
    this.#started.push(process);
    return process;
  }
}

/** The last session; after a death the next one to open the journal has it alone for a moment. */
function seen(home: string, side: "source" | "destination"): SeenSession | undefined {
  for (let triesLeft = 100; ; triesLeft--) {
    try {
      return sessionsIn(home, side).at(-1);
    } catch (thrown) {
      if (triesLeft === 0 || !String((thrown as { code?: unknown }).code).startsWith("SQLITE_BUSY"))
        throw thrown;
      Bun.sleepSync(10);
    }
  }
}
