/**
 * What a move does to the VM's QEMU at the source, and what others do to it meanwhile: what it was before is noted
 * durably, it is looked at again once it stands still, and whatever others make of it counts.
 */
import { waitForEnd } from "../../../platform/process-id.ts";
import { MigrateError } from "../../../protocol/errors.ts";
import { GuestWatch } from "../../../vm/qemu/outgoing/guest-watch.ts";
import {
  changeOf,
  devicesOf,
  type Hardware,
  hardwareOf,
  mediaOf,
  type Parts,
} from "../../../vm/qemu/outgoing/hardware.ts";
import { type MigrationSettings, readSettings } from "../../../vm/qemu/outgoing/migration-settings.ts";
import { QmpError } from "../../../vm/qemu/qmp/qmp-error.ts";
import type { RunningVm } from "../../../vm/qemu/running-vm.ts";
import type { SourceQemuRecord } from "./qemu-records.ts";

/** How long a QEMU that no longer answers may take to end, in milliseconds. */
const endingMs = 2_000;

export class GuestHold {
  /** Called whenever the journal is to keep something else of the VM. */
  onKept: (kept: SourceQemuRecord) => void = () => {};
  readonly #vm: RunningVm;
  readonly #watch: GuestWatch;
  #kept: SourceQemuRecord;
  /** QEMU's settings before this move changed them; undefined until then. */
  #settings: MigrationSettings | undefined;
  #stoppedAtMs: number | undefined;

  constructor(vm: RunningVm, kept: SourceQemuRecord) {
    this.#vm = vm;
    this.#kept = kept;
    this.#watch = new GuestWatch(vm.qmp, vm.running, (wasRunning) => this.#note({ wasRunning }));
  }

  /** True if the guest would run now if the move did not hold it. */
  get runs(): boolean {
    return this.#watch.runs;
  }

  /** Rejects with MigrateError once the VM cannot be moved any more. */
  get failed(): Promise<never> {
    return this.#watch.failed;
  }

  /** When `stop` stopped the VM, in milliseconds on the monotonic clock. */
  get stoppedAtMs(): number | undefined {
    return this.#stoppedAtMs;
  }

  /** Durably notes how QEMU is before this program changes anything of it, and returns its settings. Throws QmpError. */
  async begin(): Promise<MigrationSettings> {
    if (this.#settings === undefined) {
      const settings = await readSettings(this.#vm.qmp);
      this.#note({ before: settings });
      this.#settings = settings;
    }
    return this.#settings;
  }

  /**
   * Stops the VM, and looks at it once more: what it was before may have changed. Throws QmpError, and MigrateError
   * "source-changed" if it is another VM now.
   */
  async stop(): Promise<void> {
    await this.begin();
    const nowMs = performance.now();
    await this.#watch.stop();
    this.#stoppedAtMs = nowMs;
    const { media, devices } = await hardwareOf(this.#vm.qmp);
    this.#requireSame("media", media);
    this.#requireSame("devices", devices);
  }

  /**
   * To be called once QEMU's migration has begun: from then on QEMU plugs nothing in or out (docs/devel/migration).
   * Throws as `stop`.
   */
  async checkDevices(): Promise<void> {
    this.#requireSame("devices", await devicesOf(this.#vm.qmp));
  }

  /** To be called when QEMU has stopped the VM for the last part: it must not run again. Throws as `stop`. */
  async switchOver(): Promise<void> {
    await this.#watch.hold();
    this.#requireSame("media", await mediaOf(this.#vm.qmp));
  }

  /** Throws MigrateError if the VM does not stand still any more; and QmpError. A QEMU that has ended runs nothing. */
  async requireHeld(): Promise<void> {
    try {
      await this.#watch.requireHeld();
    } catch (thrown) {
      if (thrown instanceof QmpError && (await waitForEnd(this.#vm.process, endingMs))) return;
      throw thrown;
    }
  }

  close(): void {
    this.#watch.close();
  }

  #note(change: Partial<SourceQemuRecord>): void {
    this.#kept = { ...this.#kept, ...change };
    this.onKept(this.#kept);
  }

  #requireSame(what: keyof Hardware, now: Parts): void {
    const change = changeOf(this.#vm.hardware[what], now);
    if (change === null) return;
    throw new MigrateError("source-changed", `The VM is another one than when the move began: ${change}`, {
      side: "source",
      hint: "Send it again as it is now.",
    });
  }
}
