/** What a test sees of a guest from outside: what it printed, and what its monitor says. */
import type { GuestLog } from "../guest-log.ts";
import type { Qmp } from "../qmp.ts";
import { callMonitor, statusOf } from "./monitor.ts";

export abstract class SeenGuest {
  /** What it prints on its serial line. */
  abstract readonly log: GuestLog;
  #watch: Promise<Qmp> | undefined;

  /** Takes the path of the test's own monitor. */
  protected constructor(private readonly watchPath: string) {}

  /** Whether its QEMU is there. */
  abstract isRunning(): boolean;

  /** All that the guest printed under this QEMU. */
  serialText(): string {
    return this.log.text();
  }

  ticks(): number[] {
    return this.log.ticks();
  }

  async waitForTick(n: number, deadlineMs = 60_000): Promise<void> {
    await this.log.waitForTick(n, deadlineMs);
  }

  /** The test's own monitor: one connection, the same each time. */
  watch(): Promise<Qmp> {
    this.#watch ??= callMonitor(this.watchPath, () => this.isRunning());
    return this.#watch;
  }

  /** What QEMU says of the VM: "inmigrate", "running", "paused", "postmigrate", … (QEMU, qapi/run-state.json). */
  async status(): Promise<string> {
    return await statusOf(await this.watch());
  }

  /** Hangs up the test's own monitor, if it was called. */
  protected async hangUp(): Promise<void> {
    await this.#watch?.then(
      (qmp) => qmp.close(),
      () => {},
    );
  }
}
