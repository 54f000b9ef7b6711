/**
 * The RAM and the devices of a VM on their way, by QEMU's own migration (QEMU docs/devel/migration/main.rst,
 * qapi/migration.json) into unix sockets of ours.
 */
import * as v from "valibot";
import { MigrateError } from "../../../protocol/errors.ts";
import type { Qmp, QmpEvent } from "../qmp/qmp.ts";
import { type MigrationSettings, setCapabilities, type Throttle } from "./migration-settings.ts";

export interface RamOptions {
  /** What tells this migration from others (roll-back.ts). */
  mark: string;
  /** QEMU stops the guest once it expects to be done in this time. */
  downtimeLimitMs: number;
  /** Channels beside the main one (multifd). */
  channels: number;
  /** Null for as fast as it goes; QEMU's own default would be a throttle. */
  bandwidthBytesPerSec: number | null;
  /** Slow the guest down if it dirties memory faster than it can be sent. */
  autoConverge: boolean;
  /** Wait before the last part, with the guest stopped, until `proceed`. */
  pause: boolean;
}

/** QEMU's figures, as far as they are known. */
export interface RamProgress {
  /** Passes over the dirty memory so far, the first one counted. */
  iteration: number;
  remainingBytes: number;
  transferredBytes: number;
  totalBytes: number;
  dirtyBytesPerSec: number;
  bandwidthBytesPerSec: number;
  expectedDowntimeMs: number;
  /** How much of the guest's time auto-converge takes away; 0 if it does not. */
  throttlePercent: number;
}

const unlimitedBytesPerSec = 2 ** 50;
/**
 * QEMU answers nothing while it sends the last part, with the guest stopped: that takes as long as the
 * network does, which may be away. Whoever closes the socket gets an answer at once.
 */
const lastPartTimeoutMs = 15 * 60_000;
const pageBytes = 4096;

const count = v.optional(v.number(), 0);
const infoSchema = v.object({
  status: v.optional(v.string(), "none"),
  "error-desc": v.optional(v.string()),
  "expected-downtime": count,
  "cpu-throttle-percentage": count,
  ram: v.optional(
    v.object({
      remaining: count,
      transferred: count,
      total: count,
      "dirty-sync-count": count,
      "dirty-pages-rate": count,
      "page-size": v.optional(v.number(), pageBytes),
      mbps: count,
    }),
  ),
});
type Info = v.InferOutput<typeof infoSchema>;

export type RamStatus = "pre-switchover" | "completed";

export class RamMigration {
  readonly #qmp: Qmp;
  #status = "none";
  #watchers: (() => void)[] = [];
  /** When the guest stopped for the last part, on this process's monotonic clock. */
  #stoppedAtMs: number | undefined;

  constructor(qmp: Qmp) {
    this.#qmp = qmp;
  }

  get stoppedAtMs(): number | undefined {
    return this.#stoppedAtMs;
  }

  /**
   * Begins to send to a unix socket, on which somebody listens; `settings` are QEMU's as they are. Throws QmpError.
   */
  async begin(socketPath: string, settings: MigrationSettings, options: RamOptions): Promise<void> {
    const { mark, downtimeLimitMs, channels, bandwidthBytesPerSec, autoConverge, pause } = options;
    this.#qmp.onEvent((event) => this.#onEvent(event));
    void this.#qmp.closed.then(() => this.#wake());
    // The mark comes first: whatever else of the settings is ours carries it.
    await this.#qmp.execute("migrate-set-parameters", {
      "tls-hostname": mark,
      "tls-creds": "",
      "downtime-limit": downtimeLimitMs,
      "max-bandwidth": Math.ceil(bandwidthBytesPerSec ?? unlimitedBytesPerSec),
      ...(channels > 0 ? { "multifd-channels": channels, "multifd-compression": "none" } : {}),
    });
    await setCapabilities(this.#qmp, settings, {
      // Others may have left these switched on, and our streams cannot carry them.
      ...Object.fromEntries(Object.keys(settings.capabilities).map((capability) => [capability, false])),
      events: true,
      "pause-before-switchover": pause,
      "auto-converge": autoConverge,
      multifd: channels > 0,
    });
    await this.#qmp.execute("migrate", { uri: `unix:${socketPath}` });
  }

  /** From now on QEMU sends at most so many bytes a second. Throws QmpError. */
  pace(bandwidthBytesPerSec: number): Promise<void> {
    return this.tune({ bandwidthBytesPerSec });
  }

  /** Changes the migration on its way: nothing, or all that is given. Throws QmpError. */
  async tune({
    bandwidthBytesPerSec,
    downtimeLimitMs,
    throttle = {},
  }: Partial<
    Pick<RamOptions, "bandwidthBytesPerSec" | "downtimeLimitMs"> & { throttle: Partial<Throttle> }
  >): Promise<void> {
    await this.#qmp.execute("migrate-set-parameters", {
      ...(bandwidthBytesPerSec === undefined
        ? {}
        : { "max-bandwidth": Math.ceil(bandwidthBytesPerSec ?? unlimitedBytesPerSec) }),
      ...(downtimeLimitMs === undefined ? {} : { "downtime-limit": downtimeLimitMs }),
      ...throttle,
    });
  }

  /** Resolves once it has come to `status`. Throws MigrateError "qemu-failed" if it ends otherwise, and QmpError. */
  async reaches(status: RamStatus): Promise<void> {
    for (;;) {
      const changed = new Promise<void>((resolve) => this.#watchers.push(resolve));
      const info = await this.#info(lastPartTimeoutMs);
      if (info.status === status || info.status === "completed") return;
      if (info.status === "failed" || info.status === "cancelled" || info.status === "none") {
        throw new MigrateError("qemu-failed", "the source's QEMU broke off sending the VM", {
          side: "source",
          ...(info["error-desc"] === undefined ? {} : { hint: `QEMU says: ${info["error-desc"]}` }),
        });
      }
      await changed;
      if (this.#qmp.isClosed) throw await this.#qmp.closed;
    }
  }

  /** The guest is stopped: the last part may go. Throws QmpError. */
  async proceed(): Promise<void> {
    await this.#qmp.execute("migrate-continue", { state: "pre-switchover" });
  }

  /** Null if nothing is under way. Throws QmpError. */
  async progress(): Promise<RamProgress | null> {
    const { ram, ...info } = await this.#info();
    if (ram === undefined) return null;
    return {
      iteration: Math.max(1, ram["dirty-sync-count"]),
      remainingBytes: ram.remaining,
      transferredBytes: ram.transferred,
      totalBytes: ram.total,
      dirtyBytesPerSec: ram["dirty-pages-rate"] * ram["page-size"],
      bandwidthBytesPerSec: (ram.mbps * 1e6) / 8,
      expectedDowntimeMs: info["expected-downtime"],
      throttlePercent: info["cpu-throttle-percentage"],
    };
  }

  async #info(timeoutMs?: number): Promise<Info> {
    return await this.#qmp.ask(infoSchema, "query-migrate", undefined, { timeoutMs });
  }

  #onEvent({ event, data, atMs }: QmpEvent): void {
    if (event === "STOP") {
      // QEMU's clock is the wall clock of this same host; what lies between then and now is short.
      const lagMs = Math.max(0, Math.min(1000, Date.now() - atMs));
      this.#stoppedAtMs = performance.now() - lagMs;
    }
    if (event !== "MIGRATION" || data.status === this.#status) return;
    this.#status = String(data.status);
    this.#wake();
  }

  #wake(): void {
    const watchers = this.#watchers;
    this.#watchers = [];
    for (const wake of watchers) wake();
  }
}
