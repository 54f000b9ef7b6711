/** What a source keeps over all links of a session: its record, what it knows of its files, its meter. */
import type { HeartbeatTiming } from "../channel/control-link.ts";
import type { Identity } from "../channel/identity.ts";
import type { Ticket } from "../channel/ticket.ts";
import { MigrateError } from "../protocol/errors.ts";
import { SourceTags } from "../transfer/source-tags.ts";
import { vmDigest } from "../transfer/tag-table.ts";
import type { Vm } from "../vm/folder.ts";
import type { QuietFiles } from "../vm/quiet.ts";
import type { Observer } from "./events.ts";
import type { Journal, SessionRecord } from "./journal.ts";
import { ProgressMeter } from "./progress-meter.ts";
import { type Report, reportOf } from "./report.ts";
import type { Address } from "./source-link.ts";

export interface SourceOptions {
  home: string;
  journal: Journal;
  session: string;
  /** Null where the session was released before: only its end is left. */
  vm: Vm | null;
  quiet: QuietFiles | null;
  identity: Identity | null;
  address: Address;
  ticket?: Ticket | undefined;
  streams: number;
  bandwidthBytesPerSec?: number | undefined;
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
  readonly tags: readonly SourceTags[];
  chunksSent = 0;
  /** True once a link has stood in this process. */
  linked = false;
  /** True once the person wants to stop. */
  interrupted = false;

  constructor(options: SourceOptions) {
    this.options = options;
    this.meter = new ProgressMeter(this.record, options.observe, options.journal, options.now);
    this.tags = this.record.files.map(({ bytes }) => new SourceTags(bytes));
  }

  /** As the journal has it now. */
  get record(): SessionRecord {
    return this.options.journal.find(this.options.session)!;
  }

  /** One durable step. */
  write(label: string, change: Partial<SessionRecord>): void {
    const { journal, session, now } = this.options;
    journal.write(label, () => journal.update(session, { ...change, updatedAtMs: now() }));
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
    return { files: digests, vm: vmDigest(name, parts) };
  }

  /** Ends the session in the journal where it has ended, and says so. */
  report(ended: boolean): Report {
    const { observe, now } = this.options;
    const { wireBytes } = this.meter;
    if (ended) this.write("ended", { endedAtMs: now(), wireBytes });
    this.meter.finish();
    const { chunksSent } = this;
    const report = reportOf(this.record, { wireBytes, chunksSent, seconds: this.meter.seconds });
    observe(report);
    return report;
  }
}

export function interrupted(session: string): MigrateError {
  return new MigrateError("interrupted", "interrupted; the VM stays here", {
    side: "source",
    hint: `the same command goes on where this one stopped; migrate resolve ${session.slice(0, 12)} --cancel gives it up`,
  });
}
