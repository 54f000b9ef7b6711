/**
 * What of a VM's RAM being sent follows the person's word and the link: QEMU's downtime limit, how fast it may send, and
 * whether it slows the guest down. All of it may change on the way (qapi/migration.json, migrate-set-parameters), but
 * auto-converge, a capability, which QEMU switches at no time while it sends: it is told to slow the guest by no more
 * than the least that it knows.
 */
import { MigrateError } from "../../../protocol/errors.ts";
import type { MigrationSettings } from "../../../vm/qemu/outgoing/migration-settings.ts";
import { throttleParameters, unthrottled } from "../../../vm/qemu/outgoing/migration-settings.ts";
import type { RamMigration } from "../../../vm/qemu/outgoing/ram-migration.ts";
import { qmpFailure } from "../../../vm/qemu/qmp/qmp-error.ts";
import type { Tuning } from "../../report/tuning.ts";
import { requireBandwidthAlone } from "../bandwidth-alone.ts";
import { RamPace } from "./ram-pace.ts";

type Settings = Required<Tuning>;

export class RamTuning {
  readonly #ram: RamMigration;
  #settings: Settings;
  #pace: RamPace | undefined;
  /** QEMU's settings before the move, and whether its migration was begun with auto-converge; undefined until it is. */
  #begun: { before: MigrationSettings; autoConverge: boolean } | undefined;

  constructor(ram: RamMigration, { bandwidthBytesPerSec, downtimeLimitMs, autoConverge }: Settings) {
    this.#ram = ram;
    this.#settings = { bandwidthBytesPerSec, downtimeLimitMs, autoConverge };
    this.#pace = paceOf(this.#settings);
  }

  /** What all streams together may send in a second; null for as much as the link carries. */
  get bandwidthBytesPerSec(): number | null {
    return this.#settings.bandwidthBytesPerSec;
  }

  /** To be called as QEMU's migration is begun, with QEMU's settings as they were: returns what it is begun with. */
  begin(before: MigrationSettings): Settings {
    this.#begun = { before, autoConverge: this.#settings.autoConverge };
    return this.#settings;
  }

  /**
   * Takes how many bytes of the RAM have arrived so far, and how many crossed the link for them: the bandwidth that
   * compression saves is available for more of the RAM.
   */
  look(carriedBytes: number, sentBytes: number): void {
    const bandwidthBytesPerSec = this.#pace?.look(carriedBytes, sentBytes);
    // If QEMU is gone, whatever waits for it reports that.
    if (bandwidthBytesPerSec != null) this.#ram.pace(bandwidthBytesPerSec).catch(() => {});
  }

  /**
   * Changes what was begun, or is about to be; `standsStill` says why the guest does not run any more, as a sentence,
   * or is null. Throws MigrateError "policy" if any of it cannot be changed, and "qemu-failed".
   */
  async change(tuning: Tuning, standsStill: string | null): Promise<void> {
    if (standsStill !== null) requireBandwidthAlone(tuning, standsStill);
    const begun = this.#begun;
    if (tuning.autoConverge === true && begun?.autoConverge === false) {
      throw new MigrateError("policy", "auto-converge cannot be switched on while QEMU sends the RAM", {
        side: "source",
        hint: "It was off when that began. Raise the bandwidth or the downtime limit, or give the move up and send it again.",
      });
    }
    this.#settings = { ...this.#settings, ...tuning };
    if (tuning.bandwidthBytesPerSec !== undefined) this.#pace = paceOf(this.#settings);
    if (begun === undefined) return;
    const { bandwidthBytesPerSec, downtimeLimitMs, autoConverge } = tuning;
    try {
      const told = this.#ram.tune({
        ...(bandwidthBytesPerSec === undefined ? {} : { bandwidthBytesPerSec }),
        ...(downtimeLimitMs === undefined ? {} : { downtimeLimitMs }),
        ...(autoConverge === undefined
          ? {}
          : { throttle: autoConverge ? throttleParameters(begun.before) : unthrottled }),
      });
      // Once the guest stands still for the last part, QEMU answers when that is sent.
      await (standsStill === null ? told : Promise.race([told, Bun.sleep(0)]));
      told.catch(() => {});
    } catch (thrown) {
      throw qmpFailure(thrown, "source");
    }
  }
}

function paceOf({ bandwidthBytesPerSec }: Settings): RamPace | undefined {
  return bandwidthBytesPerSec === null ? undefined : new RamPace(bandwidthBytesPerSec);
}
