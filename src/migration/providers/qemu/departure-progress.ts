/** How far a running VM has come on its way, told to the meter and to whoever watches: QEMU is asked for it. */
import type { DiskMirror } from "../../../vm/qemu/disk-mirror.ts";
import type { RamMigration } from "../../../vm/qemu/ram-migration.ts";
import type { RunningVm } from "../../../vm/qemu/running-vm.ts";
import type { Observer } from "../../report/events.ts";
import type { ProgressMeter } from "../../report/progress-meter.ts";

export class DepartureProgress {
  readonly #vm: RunningVm;
  readonly #ram: RamMigration;
  readonly #mirrors: readonly DiskMirror[];
  /** The meter's rows behind those of the files that go as chunks: mirrored disks, then the RAM. */
  readonly #firstRow: number;
  /** QEMU may be slow to answer: it is asked once at a time. */
  #telling: Promise<void> | undefined;

  /** `mirrors` are those of the disks that do not go as chunks. */
  constructor(vm: RunningVm, ram: RamMigration, mirrors: readonly DiskMirror[]) {
    this.#vm = vm;
    this.#ram = ram;
    this.#mirrors = mirrors;
    this.#firstRow = vm.boot.length + vm.disks.length - mirrors.length;
  }

  /** Asks, unless that is still under way, and tells `sentBytes`, the bytes on the wire, beside it. */
  tell(meter: ProgressMeter, observe: Observer, sentBytes: number): void {
    this.#telling ??= this.#tell(meter, observe, sentBytes).finally(() => {
      this.#telling = undefined;
    });
  }

  /** The same when all has gone: what was asked before that is waited for, and asked anew. Never rejects. */
  async tellLast(meter: ProgressMeter, observe: Observer, sentBytes: number): Promise<void> {
    await this.#telling;
    await this.#tell(meter, observe, sentBytes);
  }

  async #tell(meter: ProgressMeter, observe: Observer, sentBytes: number): Promise<void> {
    try {
      const { session, name } = meter.session;
      meter.streams(sentBytes);
      for (const mirror of this.#mirrors) {
        const progress = await mirror.progress();
        // QEMU counts what it has to copy, of which holes are no part; before it has looked there is nothing.
        if (progress === null || progress.bytes === 0) continue;
        const { bytes } = this.#vm.disks[mirror.number]!;
        const leftBytes = progress.bytes - progress.doneBytes;
        meter.reached(this.#firstRow + mirror.number, Math.max(0, bytes - leftBytes));
      }
      const ram = await this.#ram.progress();
      if (ram === null) return;
      meter.reached(this.#firstRow + this.#mirrors.length, ram.totalBytes - ram.remainingBytes);
      observe({ event: "ram", session, name, ...ram });
    } catch {
      // QEMU is gone: what waits for it says so.
    }
  }
}
