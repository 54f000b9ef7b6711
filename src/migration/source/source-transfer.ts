/** One link's transfer: the files go over lanes, and the other parts of a running VM over streams. */
import { calleeOf } from "../../channel/call.ts";
import type { ControlLink } from "../../channel/control-link.ts";
import { MigrateError } from "../../protocol/errors.ts";
import type { LanePool } from "../../transfer/lanes/lane-pool.ts";
import type { Departure } from "../providers/departure.ts";
import type { SourceFiles } from "./source-files.ts";
import type { SourceSession } from "./source-session.ts";

export interface TransferLink {
  link: ControlLink;
  /** The destination's fingerprint, or "insecure". */
  peer: string;
  laneToken: string;
  /** What has to be proven before the destination's program is started. */
  beforeStart: () => Promise<void>;
}

export class SourceTransfer {
  readonly #session: SourceSession;
  readonly #files: SourceFiles;
  readonly #to: TransferLink;
  readonly #abortion = Promise.withResolvers<never>();
  #pool: LanePool | undefined;
  #aborted: MigrateError | undefined;

  constructor(session: SourceSession, files: SourceFiles, to: TransferLink) {
    this.#session = session;
    this.#files = files;
    this.#to = to;
    this.#abortion.promise.catch(() => {});
  }

  abort(error: MigrateError): void {
    this.#aborted = error;
    this.#abortion.reject(error);
    this.#pool?.abort(error);
  }

  /** Lanes send no faster than this from now on, all together; null for as fast as it goes. */
  pace(bandwidthBytesPerSec: number | null): void {
    this.#pool?.pace(bandwidthBytesPerSec);
  }

  /**
   * Resolves with "transferred" once everything is at the destination, and with "grown" if files are longer now than
   * they were offered. Throws what ended the link before that, or the error of `abort`.
   */
  async run(): Promise<"transferred" | "grown"> {
    const { meter, record } = this.#session;
    const departure = this.#departure;
    meter.begin([...record.files, ...departure.streamed], []);
    if (!departure.isLive) meter.phase("stop-and-copy");
    // QEMU may have closed the VM's images while no link stood.
    if (this.#rewritten() === "grown") return "grown";
    await this.#sendFiles();
    await this.#carry();
    // As it closes them, it may write their last metadata: those files are sent again.
    const outcome = this.#rewritten();
    if (outcome === "grown") return "grown";
    if (outcome === "again") await this.#sendFiles();
    return "transferred";
  }

  /** Looks which files QEMU has written since they were sent; these are read again. */
  #rewritten(): "no" | "again" | "grown" {
    const again = this.#departure.rewritten();
    if (again.length === 0) return "no";
    if (this.#session.takeSizes()) return "grown";
    this.#files.again(again);
    return "again";
  }

  get #departure(): Departure {
    const { departure } = this.#session.options;
    if (departure === null) throw new MigrateError("bug", "there is nothing left to send");
    return departure;
  }

  async #sendFiles(): Promise<void> {
    this.#departure.files.verify();
    if (this.#session.record.files.length === 0) return;
    const { link, peer, laneToken } = this.#to;
    const pool = this.#files.lanes(peer, laneToken, () => link.alive());
    this.#pool = pool;
    // If the control connection ends, the lanes end as well.
    link.onClosed((error) => pool.abort(error));
    if (this.#aborted) pool.abort(this.#aborted);
    await pool.run();
    this.#pool = undefined;
  }

  async #carry(): Promise<void> {
    const { address, identity, observe, retryForMs, compression, timing } = this.#session.options;
    const { record, meter } = this.#session;
    const { link, peer } = this.#to;
    const route = {
      callee: calleeOf(address, identity, peer),
      session: record.session,
      tagKey: Buffer.from(record.tagKey, "hex"),
      compression,
      retryForMs,
      timing,
    };
    const carried = async () => {
      if (this.#departure.streamed.length > 0) await this.#to.beforeStart();
      await this.#departure.carry(link, route, meter, observe);
    };
    await Promise.race([carried(), this.#abortion.promise]);
  }
}
