/** The progress of a running VM, asked of QEMU and reported to the meter and the observer. */
import type { DiskMirror } from "../../../vm/qemu/outgoing/disk-mirror.ts";
import type { RamMigration } from "../../../vm/qemu/outgoing/ram-migration.ts";
import type { RunningVm } from "../../../vm/qemu/running-vm.ts";
import type { Observer } from "../../report/events.ts";
import type { ProgressMeter } from "../../report/progress-meter.ts";

export class DepartureProgress {
  readonly #vm: RunningVm;
  readonly #ram: RamMigration;
  readonly #mirrors: readonly DiskMirror[];
  /** The meter's rows behind those of the files that go as chunks: mirrored disks, then the RAM. */
  readonly #firstRow: number;
  /** The question in progress: QEMU may be slow to answer, so there is only one at a time. */
  #telling: Promise<void> | undefined;

  /** `mirrors` are the mirrors of the disks, which then do not go as chunks. */
  constructor(vm: RunningVm, ram: RamMigration, mirrors: readonly DiskMirror[]) {
    this.#vm = vm;
    this.#ram = ram;
    this.#mirrors = mirrors;
    this.#firstRow = vm.boot.length + vm.disks.length - mirrors.length;
  }

  /**
   * Asks QEMU, unless an earlier question is unanswered, and reports with `sentBytes`, the bytes sent on
   * streams.
   */
  tell(meter: ProgressMeter, observe: Observer, sentBytes: number): void {
    this.#telling ??= this.#tell(meter, observe, sentBytes).finally(() => {
      this.#telling = undefined;
    });
  }

  /** The same once everything is sent: waits for an unanswered question, and asks again. Never rejects. */
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
        // QEMU does not count holes among what it has to copy; the count is 0 until it has looked at the
        // disk.
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
      // QEMU is gone: whatever waits for it reports that.
    }
  }
}
