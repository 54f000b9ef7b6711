/** What a source keeps across all links of a session: its record, the tags of its files, and its meter. */

import type { Address } from "../../channel/address.ts";
import type { HeartbeatTiming } from "../../channel/control-link.ts";
import type { Identity } from "../../channel/identity.ts";
import type { Ticket } from "../../channel/ticket.ts";
import type { Way } from "../../channel/transport/made-way.ts";
import { MigrateError } from "../../protocol/errors.ts";
import type { ReadBack, VerifyKind } from "../../protocol/offer.ts";
import { rulesOf } from "../../protocol/vm-policy.ts";
import { SourceTags } from "../../transfer/chunks/source-tags.ts";
import { streamParts, vmDigest } from "../../transfer/chunks/tag-table.ts";
import type { Compression } from "../../transfer/compression/compression.ts";
import type { Change, Journal, SessionRecord } from "../journal/journal.ts";
import type { Departure } from "../providers/departure.ts";
import { providerOf } from "../providers/providers.ts";
import { ekAtSource } from "../providers/tpm-at-source.ts";
import { ReceiptKeeper } from "../receipts/receipt-keeper.ts";
import { TpmWitness } from "../receipts/tpm-witness.ts";
import type { Observer } from "../report/events.ts";
import { ProgressMeter } from "../report/progress-meter.ts";
import { type Report, reportOf } from "../report/report.ts";
import type { Tuning } from "../report/tuning.ts";
import { policyOf } from "./gate/own-policy.ts";

export interface SourceOptions {
  home: string;
  journal: Journal;
  session: string;
  /** Null if the session was released before, and only has to end. */
  departure: Departure | null;
  identity: Identity | null;
  address: Address;
  ticket?: Ticket | undefined;
  /** Makes the way to the destination before each connection, if one has to be made. */
  way?: Way | undefined;
  lanes: number;
  bandwidthBytesPerSec?: number | undefined;
  compression: Compression;
  /** Name of a VM in the destination's store that has much in common with this one. */
  base?: string | undefined;
  /** Whether the destination reads back what it has written. */
  verify?: VerifyKind | undefined;
  retryForMs: number;
  /** Retry for as long also if no link has ever stood. */
  waitsForFirst?: boolean | undefined;
  /** A move that is not at the handover after so long is given up, in milliseconds. */
  timeoutMs?: number | undefined;
  /** Then the guest is stopped instead, so that the move gets done, if that is possible. */
  forces?: boolean | undefined;
  /** As in GateOptions. */
  attests?: boolean | undefined;
  proves?: boolean | undefined;
  env?: Record<string, string | undefined> | undefined;
  signal: AbortSignal;
  timing?: HeartbeatTiming | undefined;
  observe: Observer;
  now: () => number;
}

export class SourceSession {
  readonly options: SourceOptions;
  readonly meter: ProgressMeter;
  /** The tags of each file that have been computed so far. */
  readonly tags: SourceTags[];
  chunksSent = 0;
  /** Bytes of data that the destination found in its store. */
  foundBytes = 0;
  /** Bytes of data that were sent as references to data which the destination had received. */
  repeatedBytes = 0;
  /** True once a link has stood in this process. */
  linked = false;
  /** True from the second link on: the destination may be another process than the one that began to take it in. */
  linkedAgain = false;
  /** True once the person has asked to stop. */
  interrupted = false;
  /** True once `timeoutMs` are over. */
  isLate = false;
  /** What a person has changed on the way; undefined if nothing. */
  tuned: Tuning | undefined;
  /**
   * How long the VM ran nowhere, in milliseconds; undefined until the destination answers that it runs there.
   */
  downtimeMs: number | undefined;
  /** Signs this host's words of the handover; null on an insecure link. */
  readonly receipts: ReceiptKeeper | null;
  /** The digest of its virtual TPM's endorsement key, once that is known. */
  ek: string | undefined;
  #finding: Promise<void> | undefined;
  #found = false;
  /** As READY told it. */
  readBack: ReadBack | undefined;

  constructor(options: SourceOptions) {
    this.options = { ...options };
    this.receipts = ReceiptKeeper.of({ ...options, tpm: TpmWitness.of(options) });
    this.meter = new ProgressMeter(this.record, options.observe, options.journal, options.now);
    this.tags = this.record.files.map(({ bytes }) => new SourceTags(bytes));
    // The VM's own policy is nothing that its provider knows of.
    options.departure?.onKept((kept) => {
      const vmPolicy = policyOf(this.record);
      this.write("kept", { kept: rulesOf(vmPolicy).length === 0 ? kept : { ...kept, vmPolicy } });
    });
  }

  /** What all lanes together may send in a second; null for as much as the link carries. */
  get bandwidthBytesPerSec(): number | null {
    const { tuned, options } = this;
    const { bandwidthBytesPerSec = options.bandwidthBytesPerSec ?? null } = tuned ?? {};
    return bandwidthBytesPerSec;
  }

  /**
   * Records the sizes of the files as the departure has them now. Returns false if they are those of the record: of
   * a VM that stood still from the beginning they are.
   */
  takeSizes(): boolean {
    const { files, bytes } = this.record;
    const now = files.map((_, i) => this.options.departure!.files.bytes(i));
    if (files.every((file, i) => file.bytes === now[i])) return false;
    for (const [i, file] of files.entries()) {
      if (file.bytes !== now[i]) this.tags[i] = new SourceTags(now[i]!);
    }
    this.write("sizes", {
      files: files.map((file, i) => ({ ...file, bytes: now[i]! })),
      bytes: files.reduce((sum, file, i) => sum + now[i]! - file.bytes, bytes),
    });
    return true;
  }

  /** Makes the way to the destination, where one has to be made. Throws as `Way.open`. */
  async reach(): Promise<void> {
    const { way } = this.options;
    if (way === undefined) return;
    Object.assign(this.options, await way.open());
    if (!this.linked) this.meter.restart();
  }

  /** The session's record as it is in the journal now. */
  get record(): SessionRecord {
    return this.options.journal.find(this.options.session)!;
  }

  /** How long the destination may take to answer, in milliseconds; undefined if there is no limit. */
  get answerMs(): number | undefined {
    return providerOf(this.record).answerMs(this.record);
  }

  /** One durable write that leaves the state as it is. */
  write(label: string, change: Change): void {
    const { journal, session, now } = this.options;
    journal.write(label, () => journal.update(session, { ...change, updatedAtMs: now() }));
  }

  /** Returns the error that ends this process because the person asked it to stop, now or by `timeoutMs`. */
  interruption(): MigrateError {
    const { departure, timeoutMs = 0 } = this.options;
    const hint =
      departure?.isResumable === false
        ? "it goes on here as before, and nothing of it stays at the destination"
        : `the same command goes on where this one stopped; migrate resolve ${this.record.session.slice(0, 12)} --cancel gives it up`;
    return this.interrupted
      ? new MigrateError("interrupted", "interrupted; the VM stays here", { side: "source", hint })
      : new MigrateError(
          "network",
          `not at the handover after ${timeoutMs / 1000} s (--timeout); the VM stays here`,
          { side: "source", hint },
        );
  }

  /** True if the person has asked to stop, or the time is over, and nothing has been released, so that it is possible. */
  get mayStop(): boolean {
    return (this.interrupted || this.isLate) && this.record.state === "sending";
  }

  /** Forgets a session of which no destination has learned: there is nothing to resume. */
  forgetUnlessLinked(): void {
    const { journal, session } = this.options;
    if (this.record.state !== "sending" || this.record.peer !== "") return;
    journal.write("forgotten", () => journal.remove(session));
  }

  /** Looks, once, which virtual TPM the VM has; what cannot be told is said. Never rejects. */
  findEk(): Promise<void> {
    const { record } = this;
    this.#finding ??= ekAtSource(providerOf(record).tpmHere(record)).then((found) => {
      this.#found = true;
      if (found !== null && "ek" in found) this.ek = found.ek;
      else if (found !== null)
        this.options.observe({
          event: "notice",
          message: `which virtual TPM ${record.name} has is not sealed with it: ${found.unknown}`,
        });
    });
    return this.#finding;
  }

  /** Says so if which virtual TPM the VM has is still being looked for, as it is sealed. */
  sealWithoutEk(): void {
    if (this.#finding === undefined || this.#found) return;
    const message = `which virtual TPM ${this.record.name} has is not sealed with it: that was not known in time`;
    this.options.observe({ event: "notice", message });
  }

  /** Returns the digests of the files and of the VM, with `bound` of more; every tag must be known. */
  digests(bound?: { ek?: string }): { files: string[]; vm: string } {
    const { name, vm, files } = this.record;
    const digests = this.tags.map((tags) => tags.digest());
    const parts = files.map((file, i) => ({ kind: file.kind, name: file.name, digest: digests[i]! }));
    const streams = this.options.departure?.streams ?? [];
    const all = [...parts, ...streamParts(streams)];
    return { files: digests, vm: vmDigest(name, all, bound && { vm, ...bound }) };
  }

  /** Notes the downtime: the destination has answered that a VM which ran runs there now. */
  resumedThere(): void {
    const stoppedAtMs = this.options.departure?.stoppedAtMs;
    if (stoppedAtMs !== undefined) this.downtimeMs ??= performance.now() - stoppedAtMs;
  }

  /**
   * Records the end of the session, if it has ended, and reports to the observer. Returns the "done" event.
   */
  report(ended: boolean): Report {
    const { observe, now } = this.options;
    const { wireBytes } = this.meter;
    if (ended) this.write("ended", { endedAtMs: now(), wireBytes });
    this.meter.finish();
    const { chunksSent, foundBytes, repeatedBytes, downtimeMs, readBack } = this;
    const { seconds } = this.meter;
    const { record } = this;
    const provider = providerOf(record);
    const figures = { wireBytes, chunksSent, foundBytes, repeatedBytes, seconds, downtimeMs, readBack };
    const report = reportOf(record, {
      ...figures,
      runs: provider.runsThere(record),
      proven: provider.provenOf(record),
      leftBehind: provider.leftBehind(record).map(({ what }) => what),
      tuned: this.tuned,
    });
    observe(report);
    return report;
  }
}
