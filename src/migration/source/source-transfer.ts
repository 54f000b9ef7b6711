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

  /**
   * Resolves once everything is at the destination. Throws what ended the link before that, or the error of
   * `abort`.
   */
  async run(): Promise<void> {
    const { meter, record } = this.#session;
    const departure = this.#departure;
    meter.begin([...record.files, ...departure.streamed], []);
    await departure.standStill();
    // What was written before the VM stood still is read and sent below: it is not a change since then.
    departure.rewritten();
    if (!departure.isLive) meter.phase("stop-and-copy");
    await this.#sendFiles();
    await this.#carry();
    // When QEMU closes the VM's images, it may write their last metadata: those files are sent again.
    const again = departure.rewritten();
    if (again.length === 0) return;
    this.#files.again(again);
    await this.#sendFiles();
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
    const pool = this.#files.lanes(peer, laneToken);
    this.#pool = pool;
    // If the control connection ends, the lanes end as well.
    link.onClosed((error) => pool.abort(error));
    if (this.#aborted) pool.abort(this.#aborted);
    await pool.run();
    this.#pool = undefined;
  }

  async #carry(): Promise<void> {
    const { address, identity, observe, retryForMs, compression } = this.#session.options;
    const { record, meter } = this.#session;
    const { link, peer } = this.#to;
    const route = {
      callee: calleeOf(address, identity, peer),
      session: record.session,
      tagKey: Buffer.from(record.tagKey, "hex"),
      compression,
      retryForMs,
    };
    await Promise.race([this.#departure.carry(link, route, meter, observe), this.#abortion.promise]);
  }
}
