/** What a source keeps over all links of a session: its record, what it knows of its files, its meter. */

import type { Address } from "../../channel/address.ts";
import type { HeartbeatTiming } from "../../channel/control-link.ts";
import type { Identity } from "../../channel/identity.ts";
import type { Ticket } from "../../channel/ticket.ts";
import { MigrateError } from "../../protocol/errors.ts";
import { SourceTags } from "../../transfer/chunks/source-tags.ts";
import { streamParts, vmDigest } from "../../transfer/chunks/tag-table.ts";
import type { Compression } from "../../transfer/compression/compression.ts";
import type { Change, Journal, SessionRecord } from "../journal/journal.ts";
import type { Departure } from "../providers/departure.ts";
import { providerOf } from "../providers/providers.ts";
import type { Observer } from "../report/events.ts";
import { ProgressMeter } from "../report/progress-meter.ts";
import { type Report, reportOf } from "../report/report.ts";

export interface SourceOptions {
  home: string;
  journal: Journal;
  session: string;
  /** Null if the session was released before: only its end is left. */
  departure: Departure | null;
  identity: Identity | null;
  address: Address;
  ticket?: Ticket | undefined;
  lanes: number;
  bandwidthBytesPerSec?: number | undefined;
  compression: Compression;
  /** A VM of the destination's store from which much of this one may be taken. */
  base?: string | undefined;
  retryForMs: number;
  signal: AbortSignal;
  timing?: HeartbeatTiming | undefined;
  observe: Observer;
  now: () => number;
}

export class SourceSession {
  readonly options: SourceOptions;
  readonly meter: ProgressMeter;
  /** The tags of each file, as far as they have been computed. */
  readonly tags: SourceTags[];
  chunksSent = 0;
  /** Bytes of data that the destination had in its store. */
  foundBytes = 0;
  /** Bytes of data that were sent as copies of what it had received. */
  repeatedBytes = 0;
  /** True once a link has stood in this process. */
  linked = false;
  /** True once the person wants to stop. */
  interrupted = false;
  /** How long the VM ran nowhere, once the destination has said that it runs there. */
  downtimeMs: number | undefined;

  constructor(options: SourceOptions) {
    this.options = options;
    this.meter = new ProgressMeter(this.record, options.observe, options.journal, options.now);
    this.tags = this.record.files.map(({ bytes }) => new SourceTags(bytes));
  }

  /** As the journal has it now. */
  get record(): SessionRecord {
    return this.options.journal.find(this.options.session)!;
  }

  /** How long the destination may take over an answer, in milliseconds; undefined for as long as it likes. */
  get answerMs(): number | undefined {
    return providerOf(this.record).answerMs(this.record);
  }

  /** One durable write that leaves the state as it is. */
  write(label: string, change: Change): void {
    const { journal, session, now } = this.options;
    journal.write(label, () => journal.update(session, { ...change, updatedAtMs: now() }));
  }

  /** What a person hears whose wish to stop was met. */
  interruption(): MigrateError {
    return new MigrateError("interrupted", "interrupted; the VM stays here", {
      side: "source",
      hint:
        this.options.departure?.isResumable === false
          ? "it goes on here as before, and nothing of it stays at the destination"
          : `the same command goes on where this one stopped; migrate resolve ${this.record.session.slice(0, 12)} --cancel gives it up`,
    });
  }

  /** True where the person's wish to stop can be met: nothing has been released. */
  get mayStop(): boolean {
    return this.interrupted && this.record.state === "sending";
  }

  /** No destination has heard of the session: then there is nothing to take up again. */
  forgetUnlessLinked(): void {
    const { journal, session } = this.options;
    if (this.record.state !== "sending" || this.record.peer !== "") return;
    journal.write("forgotten", () => journal.remove(session));
  }

  /** The digests of the files and of the VM, once every tag is known. */
  digests(): { files: string[]; vm: string } {
    const { name, files } = this.record;
    const digests = this.tags.map((tags) => tags.digest());
    const parts = files.map((file, i) => ({ kind: file.kind, name: file.name, digest: digests[i]! }));
    const streams = this.options.departure?.streams ?? [];
    return { files: digests, vm: vmDigest(name, [...parts, ...streamParts(streams)]) };
  }

  /** The destination says that a VM that ran runs there now. */
  resumedThere(): void {
    const stoppedAtMs = this.options.departure?.stoppedAtMs;
    if (stoppedAtMs !== undefined) this.downtimeMs ??= performance.now() - stoppedAtMs;
  }

  /** Ends the session in the journal where it has ended, and says so. */
  report(ended: boolean): Report {
    const { observe, now } = this.options;
    const { wireBytes } = this.meter;
    if (ended) this.write("ended", { endedAtMs: now(), wireBytes });
    this.meter.finish();
    const { chunksSent, foundBytes, repeatedBytes, downtimeMs } = this;
    const { seconds } = this.meter;
    const runs = providerOf(this.record).runsThere(this.record);
    const figures = { wireBytes, chunksSent, foundBytes, repeatedBytes, seconds, downtimeMs, runs };
    const report = reportOf(this.record, figures);
    observe(report);
    return report;
  }
}
