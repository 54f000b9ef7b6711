/**
 * Looks at a VM that is on its way between two hosts from outside, at its QEMUs, its ticks, the files and the
 * journals alone, and says what must never be: two that run, or a tick that is missing or comes twice.
 */
import { expect } from "bun:test";
import { existsSync, readdirSync } from "node:fs";
import { basename, join } from "node:path";
import type { ProcessId } from "../../../src/platform/process-id.ts";
import { type SeenSession, sessionsIn } from "../moves/ownership.ts";
import type { RunningHosts } from "../moves/running-hosts.ts";
import { until } from "../system/until.ts";
import type { ArrivedGuest } from "./arrived-guest.ts";
import type { Qmp } from "./qmp.ts";
import type { RunningGuest } from "./running-guest.ts";
import { ticksIn } from "./serial-line.ts";
import { ticksOnDisk } from "./tick-disk.ts";

const lookEveryMs = 20;
/** Ticks that must come for a VM to be said to go on. */
const ticksToSee = 3;

export class RunningState {
  readonly #hosts: RunningHosts;
  readonly #guest: RunningGuest;
  readonly #textBefore: string;
  readonly #loop: Promise<void>;
  #there: { pid: number; guest: ArrivedGuest } | undefined;
  #over = false;
  #twice = 0;
  #isForgotten = false;

  /** Looks from now on, again and again. `textBefore` is what the guest printed in an earlier life. */
  constructor(hosts: RunningHosts, guest: RunningGuest, textBefore = "") {
    this.#hosts = hosts;
    this.#guest = guest;
    this.#textBefore = textBefore;
    this.#loop = this.#watch();
  }

  /** The destination's QEMU, if there is one now. */
  get pidThere(): number | undefined {
    const arrived = this.#arrived;
    return arrived.isRunning() ? arrived.pid : undefined;
  }

  /** The monitor of the VM at the destination that this watches it on; it serves one client alone. */
  async watchThere(): Promise<Qmp> {
    await until(
      () => this.#there !== undefined && this.#there.pid === this.pidThere,
      "a QEMU at the destination",
    );
    return await this.#there!.guest.watch();
  }

  /** The same, with what tells it from a later process of its number. */
  processThere(): ProcessId | undefined {
    return this.#arrived.noted()?.qemu ?? undefined;
  }

  get source(): SeenSession | undefined {
    return lastSession(this.#hosts.hosts.sourceHome, "source");
  }

  get destination(): SeenSession | undefined {
    return lastSession(this.#hosts.hosts.destinationHome, "destination");
  }

  /** Waits until the VM ticks on at the source. */
  async ticksHere(): Promise<void> {
    await this.#guest.waitForTick((this.#guest.ticks().at(-1) ?? 0) + ticksToSee, 20_000);
  }

  /** Waits until the VM ticks on at the destination. */
  async ticksThere(): Promise<void> {
    const arrived = this.#arrived;
    await until(() => arrived.isRunning(), "a QEMU at the destination");
    await arrived.waitForTick((arrived.ticks().at(-1) ?? 0) + ticksToSee, 20_000);
  }

  /** What the guest did at the destination is lost, on a person's word: its ticks come again. */
  forgetThere(): void {
    this.#isForgotten = true;
  }

  /** What must hold at every moment; `stop` looks at it, too. */
  expectSound(context = ""): void {
    expect(this.#twice, `${context}: times that the VM was seen running on both hosts`).toBe(0);
    const ticks = ticksIn(this.#printed());
    expect(ticks, `${context}: ticks`).toEqual(ticks.map((_, index) => index + 1));
  }

  /** Waits until the move has ended well, and looks at all that belongs to that. */
  async expectMoved(context = ""): Promise<void> {
    await until(
      () => this.source?.state === "confirmed" && this.source.settled === 1,
      `${context}: confirmed`,
    );
    await this.#guest.ended();
    await this.ticksThere();
    const arrived = this.#arrived;
    expect(await this.#statusThere(), context).toBe("running");
    expect(this.destination, context).toMatchObject({
      session: this.source!.session,
      state: "closed",
      settled: 1,
    });
    expect(this.#inStore(), context).toEqual(["web1"]);
    for (const { path } of this.#guest.options.disks) {
      expect([existsSync(path), existsSync(`${path}.migrated`)], context).toEqual([false, true]);
    }
    await arrived.kill();
    await this.expectWholeDisks(context);
  }

  /** The VM is the destination's, and no QEMU has its disks: on each is every tick that was printed. */
  async expectWholeDisks(context = ""): Promise<void> {
    await this.stop();
    this.expectSound(context);
    const printed = ticksIn(this.#printed());
    const store = join(this.#hosts.hosts.store, "web1");
    for (const { path, format } of this.#guest.options.disks) {
      const written = await ticksOnDisk({ path: join(store, basename(path)), format });
      expect(written, context).toEqual(written.map((_, index) => index + 1));
      expect(written.length - printed.length, `${context}: ticks on a disk`).toBeOneOf([0, 1]);
    }
  }

  /** Waits until the VM goes on at the source and nothing of it is left at the destination. */
  async expectStays(context = ""): Promise<void> {
    await this.ticksHere();
    await this.expectNothingThere(context);
    await this.expectUntouchedHere(context);
    expect(this.#arrived.ticks(), context).toEqual([]);
    // Whoever sees to it may still be at it, where the VM never stood still.
    const isSettled = () => this.source === undefined || this.source.settled === 1;
    await until(isSettled, `${context}: the source's record to be settled`);
    expect(this.source?.state ?? "cancelled", context).toBe("cancelled");
    expect(this.destination?.state ?? "cancelled", context).toBe("cancelled");
    this.expectSound(context);
  }

  /** The VM runs at the source as before, with no trace of a move in its QEMU. */
  async expectUntouchedHere(context = ""): Promise<void> {
    const qmp = await this.#guest.watch();
    expect(await this.#guest.status(), context).toBe("running");
    expect(await qmp.execute("query-block-jobs"), context).toEqual([]);
    const nodes = (await qmp.execute("query-named-block-nodes")) as { "node-name": string }[];
    expect(
      nodes.filter((node) => node["node-name"].startsWith("migrate-")),
      context,
    ).toEqual([]);
    for (const { path } of this.#guest.options.disks) expect(existsSync(path), context).toBe(true);
  }

  /** Waits until no process, no file and no folder of the VM is left at the destination. */
  async expectNothingThere(context = ""): Promise<void> {
    const isEmpty = () => this.#leftThere().length === 0;
    await until(isEmpty, "").catch(() => {});
    expect(this.#leftThere(), `${context}: left at the destination`).toEqual([]);
  }

  /** Stops looking. Throws what must never be. */
  async stop(): Promise<void> {
    this.#over = true;
    await this.#loop;
    this.expectSound("at the end");
  }

  get #arrived(): ArrivedGuest {
    return this.#hosts.arrived();
  }

  #printed(): string {
    const there = this.#isForgotten ? "" : this.#arrived.serialText();
    return this.#textBefore + this.#guest.serialText() + there;
  }

  #inStore(): string[] {
    const { store } = this.#hosts.hosts;
    return existsSync(store) ? readdirSync(store).filter((name) => name !== ".migrate-lock") : [];
  }

  #leftThere(): string[] {
    const { folder } = this.#arrived;
    const processes = this.#hosts.processesAtDestination().map((pid) => `process ${pid}`);
    return [...this.#inStore(), ...(existsSync(folder) ? [folder] : []), ...processes];
  }

  async #watch(): Promise<void> {
    while (!this.#over) {
      // In this order: what runs there has ended here for good.
      if ((await this.#statusThere()) === "running" && (await this.#statusHere()) === "running")
        this.#twice++;
      await Bun.sleep(lookEveryMs);
    }
  }

  async #statusHere(): Promise<string> {
    return await this.#guest.status().catch(() => "gone");
  }

  async #statusThere(): Promise<string> {
    const pid = this.pidThere;
    if (pid === undefined) return "gone";
    if (this.#there?.pid !== pid) this.#there = { pid, guest: this.#arrived };
    const { guest } = this.#there;
    return await guest.status().catch(() => "gone");
  }
}

/** After a death the next one to open the journal has it alone for a moment. */
function lastSession(home: string, side: "source" | "destination"): SeenSession | undefined {
  for (let triesLeft = 100; ; triesLeft--) {
    try {
      return sessionsIn(home, side).at(-1);
    } catch (thrown) {
      if (triesLeft === 0 || !isBusy(thrown)) throw thrown;
      Bun.sleepSync(10);
    }
  }
}

/** SQLITE_BUSY, or one of its kinds. */
const isBusy = (thrown: unknown) => String((thrown as { code?: unknown }).code).startsWith("SQLITE_BUSY");
