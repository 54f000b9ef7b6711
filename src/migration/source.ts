/**
 * The source: carries out what the machine (source-machine.ts) decides over one link after another,
 * until the session has ended or the person's patience has.
 */
import type { HeartbeatTiming } from "../channel/control-link.ts";
import type { Identity } from "../channel/identity.ts";
import type { Ticket } from "../channel/ticket.ts";
import { asMigrateError, MigrateError } from "../protocol/errors.ts";
import { limits } from "../protocol/limits.ts";
import type { Message } from "../protocol/messages.ts";
import { LanePool, type TransferFile } from "../transfer/lane-pool.ts";
import { SourceTags } from "../transfer/source-tags.ts";
import { TagTable, vmDigest } from "../transfer/tag-table.ts";
import type { Vm } from "../vm/folder.ts";
import type { QuietFiles } from "../vm/quiet.ts";
import type { MigrationEvent, Observer } from "./events.ts";
import type { Journal, SessionRecord } from "./journal.ts";
import { ProgressMeter } from "./progress-meter.ts";
import { retireFiles } from "./retire.ts";
import { type Address, openSourceLink, type SourceLink } from "./source-link.ts";
import {
  type SourceAction,
  type SourceEvent,
  type SourceRecord,
  type SourceState,
  sourceStart,
  sourceStep,
} from "./source-machine.ts";

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

export type SendReport = Extract<MigrationEvent, { event: "done" }>;

/** How long the source tries to tell the destination that it knows: the VM has moved by then. */
const confirmForMs = 30_000;

const firstDelayMs = 200;
const mostDelayMs = 10_000;
/** Connections that may fail before a session has ever had one. */
const firstTries = 3;

export class Source {
  readonly #options: SourceOptions;
  readonly #meter: ProgressMeter;
  readonly #tags: SourceTags[];
  #state: SourceState;
  #current: SourceLink | undefined;
  #pool: LanePool | undefined;
  #theirs: (TagTable | null)[] = [];
  #laneToken = "";
  #chunksSent = 0;
  #linked = false;
  #interrupted = false;

  constructor(options: SourceOptions) {
    this.#options = options;
    const record = this.#record();
    this.#state = sourceStart(record.state as SourceRecord, record.mode);
    this.#meter = new ProgressMeter(record, options.observe, options.journal, options.now);
    this.#tags = record.files.map(({ bytes }) => new SourceTags(bytes));
  }

  /**
   * Works until the session has ended. Throws the MigrateError that ended it early; the session can
   * be taken up again after any of them, but for "cancelled".
   */
  async run(): Promise<SendReport> {
    const { signal } = this.#options;
    const interrupt = () => this.#interrupt();
    signal.addEventListener("abort", interrupt);
    try {
      if (signal.aborted) interrupt();
      return await this.#attempts();
    } catch (thrown) {
      throw asMigrateError(thrown).within({ side: "source", phase: this.#state.phase });
    } finally {
      signal.removeEventListener("abort", interrupt);
    }
  }

  async #attempts(): Promise<SendReport> {
    const { retryForMs, observe } = this.#options;
    let lostAtMs = performance.now();
    let delayMs = firstDelayMs;
    for (let attempt = 1; ; attempt++) {
      const bytesBefore = this.#meter.wireBytes;
      try {
        await this.#attempt();
        return this.#report();
      } catch (thrown) {
        const error = asMigrateError(thrown);
        const record = this.#record();
        if (
          record.state === "confirmed" &&
          performance.now() - lostAtMs > Math.min(confirmForMs, retryForMs)
        ) {
          observe({
            event: "warning",
            message: `the destination owns the VM; it was not told that we know: ${error.message}`,
          });
          return this.#report();
        }
        if (error.code !== "network" || this.#stoppedByPerson(record)) throw this.#final(error, record);
        if (this.#meter.wireBytes > bytesBefore) {
          lostAtMs = performance.now();
          delayMs = firstDelayMs;
        }
        const hopeless = !this.#linked && record.attempt <= firstTries && attempt >= firstTries;
        if (hopeless || performance.now() - lostAtMs + delayMs > retryForMs) throw this.#final(error, record);
        observe({
          event: "link",
          session: record.session,
          name: record.name,
          state: "lost",
          message: error.message,
          attempt,
          retryInMs: delayMs,
        });
        await this.#pause(delayMs);
        delayMs = Math.min(mostDelayMs, delayMs * 2);
      }
    }
  }

  /** One link, from the first word to the end of the session or of the link. */
  async #attempt(): Promise<void> {
    const { home, address, identity, ticket, timing, journal, observe } = this.#options;
    if (this.#interrupted && this.#record().state === "sending") throw interrupted();
    journal.write("attempt", () =>
      journal.update(this.#options.session, {
        attempt: this.#record().attempt + 1,
        updatedAtMs: this.#options.now(),
      }),
    );
    const record = this.#record();
    const current = await openSourceLink({
      home,
      address,
      identity,
      ticket,
      timing,
      knownPeer: record.peer === "" ? undefined : record.peer,
      session: { id: record.session, attempt: record.attempt },
    });
    this.#current = current;
    const { link, socket, peer } = current;
    let counted = 0;
    try {
      if (current.paired) observe({ event: "paired", peer });
      if (record.peer !== peer) journal.write("peer", () => journal.update(record.session, { peer }));
      if (this.#linked) {
        observe({
          event: "link",
          session: record.session,
          name: record.name,
          state: "restored",
          message: "connected again",
          attempt: record.attempt,
          retryInMs: 0,
        });
      } else {
        const { session, name, mode, bytes } = record;
        observe({
          event: "session",
          session,
          name,
          side: "source",
          mode,
          peer,
          bytes,
          resumed: record.attempt > 1,
        });
      }
      this.#linked = true;
      await this.#flushCancelled(peer);
      this.#state = sourceStart(record.state as SourceRecord, record.mode);
      await this.#step({ type: "linked" });
      while (this.#state.ended === undefined) {
        const message = await link.receive();
        const event = this.#eventOf(message);
        await this.#step(event);
      }
      if (this.#state.ended === "cancelled") {
        throw new MigrateError("cancelled", "the migration was cancelled at the destination", {
          side: "destination",
        });
      }
    } catch (thrown) {
      link.fail(thrown);
      throw thrown;
    } finally {
      this.#meter.wire(socket.bytesSent - counted);
      counted = socket.bytesSent;
      link.finish();
      this.#current = undefined;
    }
  }

  #eventOf(message: Message): SourceEvent {
    switch (message.name) {
      case "accept":
      case "inventoryEnd":
      case "ready":
      case "owned":
      case "published":
      case "closed":
        break;
      case "cancelled":
        return { type: "destination-cancelled" };
    }
    switch (message.name) {
      case "ready":
        if (message.body.digest !== this.#record().digest) {
          throw new MigrateError("integrity", "the destination has other bytes than were sent", {
            side: "source",
          });
        }
        return { type: "ready" };
      case "owned":
        return { type: "owned" };
      case "published":
        return { type: "published" };
      case "closed":
        return { type: "closed" };
      default:
        throw new MigrateError("protocol", `a ${message.name} message is not expected here`, {
          side: "destination",
        });
    }
  }

  async #step(event: SourceEvent): Promise<void> {
    const { state, actions } = sourceStep(this.#state, event);
    if (actions.includes("refuse")) throw this.#refusal(event);
    this.#state = state;
    for (const action of actions) await this.#perform(action);
  }

  async #perform(action: SourceAction): Promise<void> {
    const { journal, quiet, session } = this.#options;
    const link = this.#current!.link;
    switch (action) {
      case "send-offer":
        return this.#offer();
      case "transfer":
        return this.#transfer();
      case "send-seal":
        return this.#seal();
      case "record-released":
        // The last look: what was sent is what is there.
        quiet?.verify();
        if (this.#interrupted) throw interrupted();
        this.#meter.phase("handover");
        return this.#write("released", { state: "released", phase: "handover" });
      case "send-release":
        return link.send("release", {});
      case "send-publish":
        this.#meter.phase("handover");
        return link.send("publish", {});
      case "record-confirmed":
        this.#write("confirmed", { state: "confirmed", phase: "confirm", doneBytes: this.#record().bytes });
        return;
      case "retire-files":
        this.#meter.phase("confirm");
        quiet?.close();
        if (!this.#record().settled) {
          retireFiles(this.#record());
          this.#write("retired", { settled: true });
        }
        return;
      case "send-confirm":
        return link.send("confirm", {});
      case "record-cancelled":
        return this.#write("cancelled", {
          state: "cancelled",
          endedAtMs: this.#options.now(),
          acknowledged: true,
        });
      case "send-cancel":
        return link.send("cancel", {});
      case "refuse":
        return;
      default: {
        const never: never = action;
        throw new MigrateError("bug", `no such action: ${String(never)} (${journal}, ${session})`);
      }
    }
  }

  /** Says what there is to move, and hears what the destination has of it. */
  async #offer(): Promise<void> {
    const record = this.#record();
    const { link } = this.#current!;
    this.#meter.phase("prepare");
    this.#theirs = record.files.map(() => null);
    link.onInventory = (payload) => this.#inventory(payload);
    link.send("offer", {
      name: record.name,
      vm: record.vm,
      mode: record.mode,
      chunkBytes: limits.chunkBytes,
      tagKey: record.tagKey,
      files: record.files.map(({ kind, name, bytes }, i) => ({
        kind,
        name,
        bytes,
        allocatedBytes: this.#options.vm?.files[i]?.allocatedBytes ?? 0,
      })),
    });
    const { body } = await link.expect("accept");
    if (body.inventory) {
      this.#theirs = record.files.map(({ bytes }) => new TagTable(bytes));
      await link.expect("inventoryEnd");
    }
    link.onInventory = undefined;
    this.#laneToken = body.laneToken;
    await this.#step({ type: "accepted", state: body.state });
  }

  #inventory(payload: Buffer): void {
    const count = (payload.length - 8) / limits.tagBytes;
    const table =
      payload.length >= 8 ? (this.#theirs[payload.readUInt32BE(0)] ?? this.#makeTable(payload)) : undefined;
    const first = payload.length >= 8 ? payload.readUInt32BE(4) : 0;
    if (table === undefined || !Number.isInteger(count) || first + count > table.chunks) {
      throw new MigrateError("protocol", "tags came for chunks that the VM does not have", {
        side: "destination",
      });
    }
    for (let i = 0; i < count; i++) {
      table.set(first + i, payload.subarray(8 + i * limits.tagBytes, 8 + (i + 1) * limits.tagBytes));
    }
  }

  /** Tags may come before ACCEPT has been looked at: they follow it on the wire. */
  #makeTable(payload: Buffer): TagTable | undefined {
    const file = payload.readUInt32BE(0);
    const bytes = this.#record().files[file]?.bytes;
    if (bytes === undefined) return undefined;
    const table = new TagTable(bytes);
    this.#theirs[file] = table;
    return table;
  }

  async #transfer(): Promise<void> {
    const { address, identity, streams, bandwidthBytesPerSec, quiet, vm, observe } = this.#options;
    if (quiet === null || vm === null) throw new MigrateError("bug", "there are no files to send");
    const record = this.#record();
    const { link, peer } = this.#current!;
    quiet.verify();
    this.#meter.begin(record.files, []);
    this.#meter.phase("stop-and-copy");
    const files: TransferFile[] = record.files.map((file, i) => ({
      path: file.path!,
      fd: quiet.fd(i),
      tags: this.#tags[i]!,
      theirs: this.#theirs[i] ?? null,
    }));
    const pool = new LanePool({
      ...address,
      credentials: identity && {
        certificatePem: identity.certificatePem,
        privateKeyPem: identity.privateKeyPem,
      },
      peer: identity ? peer : null,
      session: record.session,
      laneToken: this.#laneToken,
      tagKey: Buffer.from(record.tagKey, "hex"),
      streams: Math.max(1, Math.min(streams, Math.ceil(record.bytes / (8 * limits.chunkBytes)))),
      bandwidthBytesPerSec: bandwidthBytesPerSec ?? null,
      files,
      progress: (file, bytes) => this.#meter.done(file, bytes),
      sent: (bytes, chunks) => {
        this.#meter.wire(bytes);
        this.#chunksSent += chunks;
      },
    });
    this.#pool = pool;
    link.onClosed((error) => pool.abort(error));
    if (this.#interrupted) pool.abort(interrupted());
    try {
      await pool.run();
    } finally {
      this.#pool = undefined;
      observe satisfies Observer;
    }
    await this.#step({ type: "transferred" });
  }

  #seal(): void {
    this.#options.quiet?.verify();
    this.#meter.phase("seal");
    const record = this.#record();
    const digests = this.#tags.map((tags) => tags.digest());
    const files = record.files.map(({ kind, name }, i) => ({ kind, name, digest: digests[i]! }));
    const digest = vmDigest(record.name, files);
    this.#write("sealed", { digest, phase: "seal" });
    this.#current!.link.send("seal", { digest, files: digests });
  }

  /** Sessions that were given up while this destination could not be told. */
  async #flushCancelled(peer: string): Promise<void> {
    const { journal, home, address, identity, timing } = this.#options;
    const untold = journal
      .ofPeer("source", peer, 1000)
      .filter(
        ({ state, acknowledged, session }) =>
          state === "cancelled" && !acknowledged && session !== this.#options.session,
      );
    for (const record of untold) {
      const attempt = record.attempt + 1;
      journal.write("attempt", () => journal.update(record.session, { attempt }));
      const { link } = await openSourceLink({
        home,
        address,
        identity,
        timing,
        knownPeer: peer,
        session: { id: record.session, attempt },
      });
      try {
        link.send("cancel", {});
        await link.expect("cancelled");
        journal.write("acknowledged", () => journal.update(record.session, { acknowledged: true }));
      } finally {
        link.finish();
      }
    }
  }

  #refusal(event: SourceEvent): MigrateError {
    const record = this.#record();
    const claimed = event.type === "owned" || (event.type === "accepted" && event.state === "owner");
    if (!claimed) {
      return new MigrateError(
        "protocol",
        `the destination said ${event.type} in the phase ${this.#state.phase}`,
        {
          side: "destination",
        },
      );
    }
    return new MigrateError(
      "in-doubt",
      `the destination says that it owns ${record.name}, which this host never released`,
      {
        side: "source",
        hint: `start it nowhere before you have looked at both; session ${record.session.slice(0, 12)}`,
      },
    );
  }

  #interrupt(): void {
    this.#interrupted = true;
    if (this.#record().state !== "sending") {
      this.#options.observe({
        event: "notice",
        message:
          "the VM has been released: waiting for the destination to say that it has it (interrupt again to leave it in doubt)",
      });
      this.#wake?.();
      return;
    }
    this.#pool?.abort(interrupted());
    this.#current?.link.fail(interrupted());
    this.#wake?.();
  }

  #stoppedByPerson(record: SessionRecord): boolean {
    return this.#interrupted && record.state === "sending";
  }

  /** The error as the person is to see it, given what the journal says now. */
  #final(error: MigrateError, record: SessionRecord): MigrateError {
    if (this.#stoppedByPerson(record)) return interrupted();
    if (record.state === "released" && error.code !== "cancelled") {
      return new MigrateError(
        "in-doubt",
        `${record.name} was released and the destination has not said that it owns it: ${error.message}`,
        {
          side: "source",
          cause: error,
          hint: `nothing runs it until this is settled: run the same command again, or migrate resolve ${record.session.slice(0, 12)}`,
        },
      );
    }
    if (error.code === "network" && record.attempt > 0 && this.#linked) {
      return new MigrateError("network", error.message, {
        side: error.side,
        cause: error,
        hint: error.hint ?? "nothing is lost: the same command goes on where this one stopped",
      });
    }
    return error;
  }

  #wake: (() => void) | undefined;

  #pause(delayMs: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, delayMs);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  #report(): SendReport {
    const { observe, now } = this.#options;
    if (this.#state.ended === "completed")
      this.#write("ended", { endedAtMs: now(), wireBytes: this.#meter.wireBytes });
    const record = this.#record();
    this.#meter.begin(
      record.files,
      record.files.map(({ bytes }) => bytes),
    );
    this.#meter.finish();
    const report: SendReport = {
      event: "done",
      session: record.session,
      name: record.name,
      side: "source",
      mode: record.mode,
      bytes: record.bytes,
      wireBytes: this.#meter.wireBytes,
      chunksSent: this.#chunksSent,
      seconds: this.#meter.seconds,
      digest: record.digest ?? "",
      owner: record.mode === "move" ? "destination" : "source",
      after: record.after,
    };
    observe(report);
    return report;
  }

  #write(label: string, change: Partial<SessionRecord>): void {
    const { journal, session, now } = this.#options;
    journal.write(label, () => journal.update(session, { ...change, updatedAtMs: now() }));
  }

  #record(): SessionRecord {
    return this.#options.journal.find(this.#options.session)!;
  }
}

function interrupted(): MigrateError {
  return new MigrateError("interrupted", "interrupted; the VM stays here", {
    side: "source",
    hint: "the same command goes on where this one stopped; migrate resolve SESSION --cancel gives it up",
  });
}
