/** One move of a libvirt domain between two libvirt hosts, and what is done to it at a certain moment. */
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { FrameName } from "../../../src/protocol/frames.ts";
import type { Direction } from "../moves/cutting-proxy.ts";
import { type SeenSession, sessionsIn } from "../moves/ownership.ts";
import { TwoHosts } from "../moves/two-hosts.ts";
import { countArrived } from "../runner/lost-guests.ts";
import { withDeadline } from "../system/deadline.ts";
import { builtBinary, type MigrateProcess, runMigrate } from "../system/process.ts";
import { until } from "../system/until.ts";
import { DomainEnds } from "./domain-ends.ts";
import type { MoveConfig } from "./dying-move.ts";
import type { FrozenDomain } from "./frozen-domain.ts";
import type { LibvirtHost } from "./libvirt-host.ts";
import type { TickDomain } from "./tick-domain.ts";

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

/** Known by a file that appears: of the source's libvirt, or in the destination's store. */
export interface AtFile {
  appears: { saved: string } | { stored: string };
}

export type DomainMoment = AtFrame | AtWrite | AtFile;

/** Whom the kill is for. */
export type Victim =
  | "send"
  | "serve"
  | "the source's libvirtd"
  | "the destination's libvirtd"
  | "the source's QEMU"
  | "the destination's QEMU";

const endMs = 90_000;
const program = join(import.meta.dir, "dying-move.ts");

export interface DisturbedOptions {
  autostart?: boolean;
  live?: boolean;
  /** Its guest boots while it moves. QEMU without KVM loses pages of such a one, which says nothing of others. */
  boots?: boolean;
}

export class DisturbedDomain {
  readonly ends: DomainEnds;
  serve!: MigrateProcess;
  send!: MigrateProcess;
  /** Its definition at the source, before the move. */
  definition = "";
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
    readonly textBefore: string,
    readonly options: DisturbedOptions,
  ) {
    this.ends = new DomainEnds(this);
  }

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
      move.definition = await here.xml("--inactive", "--security-info");
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
    const printed = this.options.boots === true ? "" : this.there.text();
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

  /** `migrate status` at the source. */
  status(): MigrateProcess {
    return this.#track(this.hosts.source(["status"], { binary: this.source.command([builtBinary]) }));
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
    if ("appears" in moment) {
      await this.startServe();
      this.startSend();
      const { appears } = moment;
      const path =
        "saved" in appears ? this.source.outside(appears.saved) : join(this.hosts.store, appears.stored);
      await until(() => existsSync(path), path, endMs);
      process.kill(this.#pidOf(victim), signal);
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

  /** Nothing but the destination, or a person, can end the source's session. */
  get isReleased(): boolean {
    return ["released", "confirmed"].includes(this.sessionHere?.state ?? "");
  }

  get sessionThere(): SeenSession | undefined {
    return seen(this.hosts.destinationHome, "destination");
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
