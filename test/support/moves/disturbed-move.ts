/** One move of a running VM, and what is done to it at a certain moment of it. */
import { readdirSync, readFileSync } from "node:fs";
import type { FrozenGuest } from "../guests/frozen-guest.ts";
import type { RunningGuest } from "../guests/running-guest.ts";
import { RunningState } from "../guests/running-state.ts";
import { withDeadline } from "../system/deadline.ts";
import type { MigrateProcess } from "../system/process.ts";
import { type AtEvent, type AtFrame, type Moment, type MomentName, moments } from "./move-moments.ts";
import { RunningHosts } from "./running-hosts.ts";

export class DisturbedMove {
  serve!: MigrateProcess;
  send!: MigrateProcess;

  private constructor(
    readonly hosts: RunningHosts,
    readonly guest: RunningGuest,
    readonly state: RunningState,
  ) {}

  /** Prepares one, does `work` with it, and looks at last whether what must never be has not been. */
  static async with(frozen: FrozenGuest, work: (move: DisturbedMove) => Promise<void>): Promise<void> {
    const move = await DisturbedMove.prepare(frozen);
    try {
      await work(move);
      await move.state.stop();
    } finally {
      await move.state.stop().catch(() => {});
      await move.hosts.close();
    }
  }

  /** A guest that runs, a destination that serves, and a link without encryption, whose frames are known. */
  private static async prepare(frozen: FrozenGuest): Promise<DisturbedMove> {
    const hosts = await RunningHosts.make({ insecure: true });
    try {
      const guest = await frozen.thaw(hosts);
      const state = new RunningState(hosts, guest, frozen.serialText);
      const move = new DisturbedMove(hosts, guest, state);
      await move.startServe();
      return move;
    } catch (thrown) {
      await hosts.close();
      throw thrown;
    }
  }

  /** Serves, again on the same home and store where that was done before. */
  async startServe(): Promise<void> {
    this.serve = await this.hosts.serve();
  }

  startSend(flags: string[] = []): MigrateProcess {
    this.send = this.hosts.send(this.guest, flags);
    return this.send;
  }

  /** `migrate resolve` of the session, at the source. */
  resolve(flags: string[] = []): MigrateProcess {
    const session = this.state.source?.session ?? "none";
    return this.hosts.hosts.source(["resolve", session, "--insecure", ...flags]);
  }

  /** `migrate resolve` of the session, at the destination. */
  resolveThere(flags: string[] = []): MigrateProcess {
    const session = this.state.source?.session ?? "none";
    return this.hosts.hosts.destination(["resolve", session, ...flags]);
  }

  /**
   * Starts the move and does `act` at that moment; at a frame this is before it passes, and where `act` gives
   * "break" it does not pass, and every connection is reset. Resolves after it.
   */
  async at(at: MomentName | Moment, act: () => unknown, flags: string[] = []): Promise<void> {
    const moment: Moment = typeof at === "string" ? moments[at] : at;
    if ("event" in moment) await this.#atEvent(moment, act, flags);
    else await this.#atFrame(moment, act, flags);
  }

  async #atFrame({ direction, frame, number }: AtFrame, act: () => unknown, flags: string[]): Promise<void> {
    const { proxy } = this.hosts.hosts;
    const done = Promise.withResolvers<void>();
    let left = number;
    proxy.breakBefore = (passing, name) => {
      if (passing !== direction || name !== frame || --left !== 0) return false;
      const answer = act();
      done.resolve();
      return answer === "break";
    };
    this.startSend(flags);
    const what = () => `${frame} ${direction}; ${this.send.stdout()}${this.send.stderr()}`;
    try {
      await withDeadline(done.promise, 30_000, what);
    } finally {
      proxy.breakBefore = undefined;
    }
  }

  async #atEvent({ event, flags }: AtEvent, act: () => unknown, more: string[]): Promise<void> {
    const stopped = (await this.guest.watch()).nextEvent("STOP");
    stopped.catch(() => {});
    this.startSend([...flags, ...more]);
    if (event === "VM stopped") await stopped;
    else await this.send.waitFor("ram", { where: ({ transferredBytes }) => transferredBytes > 0 });
    act();
  }

  /** The process that watches over the send that runs now. */
  guardPid(): number {
    const pid = guardOf(this.send.pid);
    if (pid === undefined) throw new Error("send has no guard");
    return pid;
  }

  /** The last `error` event of a process, once it has ended, and its exit code. */
  async failure(
    process = this.send,
  ): Promise<{ code: number | null; error: Record<string, unknown> | undefined }> {
    const { code } = await withDeadline(process.exit, 60_000, () => `the end; ${process.stdout()}`);
    return { code, error: process.events.findLast(({ event }) => event === "error") };
  }
}

function guardOf(parent: number): number | undefined {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .find((pid) => {
      try {
        const isChild =
          readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1]?.split(" ")[1] === String(parent);
        return isChild && readFileSync(`/proc/${pid}/cmdline`, "utf8").includes("send-guard");
      } catch {
        return false;
      }
    });
}
