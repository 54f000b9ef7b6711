/**
 * One session on the destination: carries out what the machine (destination-machine.ts) decides,
 * one request at a time, each durable step before the next.
 */
import { randomBytes, timingSafeEqual } from "node:crypto";
import { existsSync } from "node:fs";
import { join } from "node:path";
import type { ControlLink } from "../channel/control-link.ts";
import { freeBytes } from "../platform/filesystem.ts";
import { MigrateError } from "../protocol/errors.ts";
import { encodeFrame, frameTypes } from "../protocol/frames.ts";
import { chunkLength, limits } from "../protocol/limits.ts";
import type { MessageBody, Offer } from "../protocol/messages.ts";
import type { DoorPool } from "../transfer/door-pool.ts";
import type { FromDoor, LaneGrant } from "../transfer/lane-messages.ts";
import { storeFailure } from "../transfer/lane-receiver.ts";
import { Staging } from "../transfer/staging.ts";
import { type TagTable, vmDigest, zeroTag } from "../transfer/tag-table.ts";
import { checkSelfContained } from "../vm/disk-format.ts";
import {
  type DestinationAction,
  type DestinationRecord,
  type DestinationRequest,
  destinationStep,
} from "./destination-machine.ts";
import type { Observer } from "./events.ts";
import type { Journal, SessionRecord } from "./journal.ts";
import { ProgressMeter } from "./progress-meter.ts";
import { isPublishedBy, publishedManifest } from "./published-manifest.ts";

export interface SessionContext {
  journal: Journal;
  doors: DoorPool;
  store: string;
  maxSessions: number;
  observe: Observer;
  now: () => number;
}

/** Who asks, and what they sent along. */
export interface Asker {
  link: ControlLink;
  peer: string;
  remote: string;
  /** The source's count of its connections of this session. */
  attempt: number;
}

export class DestinationSession {
  readonly session: string;
  readonly #context: SessionContext;
  #staging: Staging | undefined;
  #tables: TagTable[] | undefined;
  /** The staged files' stamp when nobody was writing; what was known then holds while it is the same. */
  #stamp: string | undefined;
  #used = false;
  #laneToken: Buffer | undefined;
  #meter: ProgressMeter | undefined;
  #queue: Promise<void> = Promise.resolve();
  link: ControlLink | undefined;

  constructor(session: string, context: SessionContext) {
    this.session = session;
    this.#context = context;
  }

  get record(): SessionRecord | null {
    return this.#context.journal.find(this.session);
  }

  /** Runs `work` once everything asked of this session before has been done. */
  inTurn<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#queue.then(work);
    this.#queue = result.then(
      () => {},
      () => {},
    );
    return result;
  }

  /**
   * Answers one request. Throws what the asker is to be told; a request that is refused has changed
   * nothing.
   */
  async request(request: DestinationRequest, asker: Asker, body: unknown): Promise<void> {
    const record = this.record;
    const before = (record?.state ?? "none") as DestinationRecord;
    const mode = record?.mode ?? (request === "offer" ? (body as Offer).mode : "move");
    if (record && request === "offer") this.#checkSameOffer(record, body as Offer);
    for (const action of destinationStep(before, mode, request).actions) {
      await this.#perform(action, asker, body);
    }
  }

  async #perform(action: DestinationAction, asker: Asker, body: unknown): Promise<void> {
    const { link } = asker;
    switch (action) {
      case "reserve":
        return this.#reserve(body as Offer);
      case "record-receiving":
        return this.#recordReceiving(asker, body as Offer);
      case "send-accept-receiving":
        return this.#accept(link);
      case "send-accept-owner":
        return link.send("accept", { state: "owner", laneToken: "0".repeat(32), inventory: false });
      case "send-accept-published":
        return link.send("accept", { state: "published", laneToken: "0".repeat(32), inventory: false });
      case "send-accept-cancelled":
        return link.send("accept", { state: "cancelled", laneToken: "0".repeat(32), inventory: false });
      case "check-seal":
        return this.#checkSeal(body as MessageBody<"seal">);
      case "record-ready":
        return this.#recordReady(body as MessageBody<"seal">);
      case "send-ready":
        return link.send("ready", { digest: (body as MessageBody<"seal">).digest });
      case "record-owner":
        return this.#record("owner", { state: "owner", phase: "handover" });
      case "record-published":
        return this.#record("published", { state: "published", phase: "handover" });
      case "publish-files":
        return this.publishFiles();
      case "send-owned":
        return link.send("owned", {});
      case "send-published":
        return link.send("published", {});
      case "record-closed":
        return this.#recordClosed();
      case "send-closed":
        return link.send("closed", {});
      case "record-cancelled":
        return this.#recordCancelled();
      case "remove-staging":
        await this.#quieten();
        this.#tables = undefined;
        this.#ownStaging().remove();
        return;
      case "send-cancelled":
        return link.send("cancelled", {});
      case "refuse-unknown":
        throw new MigrateError("unknown-session", "the destination has no record of this session", {
          side: "destination",
        });
      case "refuse":
        throw new MigrateError("in-doubt", `the session is ${this.record?.state} at the destination`, {
          side: "destination",
        });
    }
  }

  #checkSameOffer(record: SessionRecord, offer: Offer): void {
    const files = (list: { kind: string; name: string; bytes: number }[]) =>
      JSON.stringify(list.map(({ kind, name, bytes }) => [kind, name, bytes]));
    if (
      record.name !== offer.name ||
      record.mode !== offer.mode ||
      record.tagKey !== offer.tagKey ||
      files(record.files) !== files(offer.files)
    ) {
      throw new MigrateError("policy", "the session was begun with other files than are offered now", {
        side: "destination",
      });
    }
  }

  #reserve(offer: Offer): void {
    const { journal, store, maxSessions } = this.#context;
    if (existsSync(join(store, offer.name))) {
      throw new MigrateError("name-taken", `there is a VM named ${offer.name} in the destination's store`, {
        side: "destination",
      });
    }
    const open = journal.open("destination").filter((other) => other.store === store);
    const rival = open.find(({ name, settled }) => name === offer.name && !settled);
    if (rival) {
      throw new MigrateError(
        "name-taken",
        `the name ${offer.name} is reserved at the destination by session ${rival.session.slice(0, 12)}, which is ${rival.state}`,
        { side: "destination" },
      );
    }
    if (open.length >= maxSessions) {
      throw new MigrateError(
        "busy",
        `the destination has ${open.length} sessions already, which is its limit`,
        {
          side: "destination",
        },
      );
    }
    const needed = offer.files.reduce(
      (sum, { allocatedBytes, bytes }) => sum + Math.min(allocatedBytes, bytes),
      0,
    );
    const free = freeBytes(store);
    if (needed > free) {
      throw new MigrateError(
        "no-room",
        `the VM needs ${needed} bytes, the destination's store has ${free} free`,
        {
          side: "destination",
        },
      );
    }
    const staging = new Staging(store, this.session, offer.files);
    try {
      this.#used = staging.prepare();
    } catch (thrown) {
      staging.remove();
      throw storeFailure(thrown);
    }
    this.#staging = staging;
  }

  #recordReceiving({ peer, remote, attempt }: Asker, offer: Offer): void {
    const { journal, now, store } = this.#context;
    const nowMs = now();
    const existing = this.record;
    if (existing) {
      journal.write("receiving", () =>
        journal.update(this.session, {
          state: "receiving",
          phase: "prepare",
          digest: null,
          updatedAtMs: nowMs,
        }),
      );
      return;
    }
    journal.write("receiving", () =>
      journal.insert({
        session: this.session,
        side: "destination",
        name: offer.name,
        vm: offer.vm,
        mode: offer.mode,
        peer,
        address: remote,
        state: "receiving",
        phase: "prepare",
        attempt,
        tagKey: offer.tagKey,
        files: offer.files.map(({ kind, name, bytes }) => ({ kind, name, bytes })),
        folder: null,
        store,
        after: "keep",
        digest: null,
        bytes: offer.files.reduce((sum, { bytes }) => sum + bytes, 0),
        doneBytes: 0,
        wireBytes: 0,
        settled: false,
        acknowledged: true,
        createdAtMs: nowMs,
        updatedAtMs: nowMs,
        endedAtMs: null,
      }),
    );
  }

  /** Gets the staged files ready and says what is there already. */
  async #accept(link: ControlLink): Promise<void> {
    const record = this.record!;
    const staging = this.#ownStaging();
    await this.#quieten();
    let fresh = this.#tables === undefined;
    try {
      if (this.#tables === undefined || this.#stamp !== staging.stamp()) {
        // Nothing is believed of files that this process did not leave as they are: they are read.
        this.#used = staging.prepare() || this.#used;
        fresh = !this.#used;
        this.#tables = await staging.readTags(Buffer.from(record.tagKey, "hex"));
      }
    } catch (thrown) {
      throw storeFailure(thrown);
    }
    const done = doneBytes(this.#tables);
    this.#meter ??= new ProgressMeter(
      record,
      this.#context.observe,
      this.#context.journal,
      this.#context.now,
    );
    this.#meter.begin(record.files, done);
    this.#laneToken = randomBytes(16);
    link.send("accept", {
      state: "receiving",
      laneToken: this.#laneToken.toString("hex"),
      inventory: !fresh,
    });
    if (!fresh) this.#sendInventory(link);
    this.#context.observe({
      event: "session",
      session: this.session,
      name: record.name,
      side: "destination",
      mode: record.mode,
      peer: record.peer,
      bytes: record.bytes,
      resumed: !fresh,
    });
    this.#meter.phase("stop-and-copy");
  }

  #sendInventory(link: ControlLink): void {
    for (const [file, table] of this.#tables!.entries()) {
      for (const { first, count } of table.stretches()) {
        const payload = Buffer.alloc(8 + count * limits.tagBytes);
        payload.writeUInt32BE(file, 0);
        payload.writeUInt32BE(first, 4);
        table.range(first, count).copy(payload, 8);
        link.sendFrame(encodeFrame(frameTypes.inventory, payload));
      }
    }
    link.send("inventoryEnd", {});
  }

  /** Lets a lane in, or throws why not. */
  grantLane(laneToken: string, peer: string): LaneGrant {
    const record = this.record;
    const expected = this.#laneToken;
    const given = Buffer.from(laneToken, "hex");
    if (
      !record ||
      !expected ||
      record.peer !== peer ||
      record.state !== "receiving" ||
      !timingSafeEqual(expected, given)
    ) {
      throw new MigrateError("policy", "this lane belongs to no session that is being received", {
        side: "destination",
      });
    }
    return {
      session: this.session,
      tagKey: Buffer.from(record.tagKey, "hex"),
      files: this.#ownStaging().paths.map((path, i) => ({ path, bytes: record.files[i]!.bytes })),
      used: this.#used,
    };
  }

  /** Chunks that a lane has checked and written. */
  chunks({ places, tags, bytesReceived }: Extract<FromDoor, { kind: "chunks" }>): void {
    const tables = this.#tables;
    if (tables === undefined) return;
    for (let i = 0; i < places.length / 2; i++) {
      const table = tables[places[i * 2]!]!;
      const chunk = places[i * 2 + 1]!;
      const first = table.get(chunk).equals(zeroTag);
      table.set(chunk, tags.subarray(i * limits.tagBytes, (i + 1) * limits.tagBytes));
      if (first) this.#meter?.done(places[i * 2]!, chunkLength(table.bytes, chunk));
    }
    this.#meter?.wire(bytesReceived);
  }

  async #checkSeal(seal: MessageBody<"seal">): Promise<void> {
    const record = this.record!;
    this.#laneToken = undefined;
    await this.#quieten();
    this.#meter?.phase("seal");
    const staging = this.#ownStaging();
    try {
      // READY may be asked of a process that has not seen a chunk: then the disk is read.
      this.#tables ??= await staging.readTags(Buffer.from(record.tagKey, "hex"));
      const digests = this.#tables.map((table) => table.digest());
      record.files.forEach((file, i) => {
        if (digests[i] !== seal.files[i]) {
          throw new MigrateError("integrity", `${file.name} differs between source and destination`, {
            side: "destination",
          });
        }
      });
      const digest = vmDigest(
        record.name,
        record.files.map(({ kind, name }, i) => ({ kind, name, digest: digests[i]! })),
      );
      if (digest !== seal.digest || seal.files.length !== record.files.length) {
        throw new MigrateError("integrity", "the VM's digest differs between source and destination", {
          side: "destination",
        });
      }
      await staging.sync();
    } catch (thrown) {
      throw storeFailure(thrown);
    }
    for (const [i, file] of record.files.entries()) {
      if (file.kind === "disk") checkSelfContained(staging.paths[i]!, file.name);
    }
  }

  #recordReady(seal: MessageBody<"seal">): void {
    const files = this.record!.files.map((file, i) => ({ ...file, digest: seal.files[i]! }));
    this.#record("ready", { state: "ready", phase: "seal", digest: seal.digest, files });
  }

  /** Gives the VM its final name; done already, nothing happens. */
  publishFiles(): void {
    const record = this.record!;
    if (record.settled) return;
    this.#meter?.phase("handover");
    try {
      const manifest = publishedManifest(record, this.#context.now());
      this.#ownStaging().publish(record.name, manifest, (folder) => isPublishedBy(folder, this.session));
    } catch (thrown) {
      throw storeFailure(thrown);
    }
    this.#record("published-files", { settled: true });
  }

  #recordClosed(): void {
    const nowMs = this.#context.now();
    this.#record("closed", {
      state: "closed",
      phase: "confirm",
      endedAtMs: nowMs,
      doneBytes: this.record!.bytes,
    });
    const record = this.record!;
    this.#meter?.finish();
    this.#context.observe({
      event: "done",
      session: this.session,
      name: record.name,
      side: "destination",
      mode: record.mode,
      bytes: record.bytes,
      wireBytes: this.#meter?.wireBytes ?? record.wireBytes,
      chunksSent: 0,
      seconds: this.#meter?.seconds ?? 0,
      digest: record.digest ?? "",
      owner: record.mode === "move" ? "destination" : "source",
      after: record.mode === "copy" ? "copy" : "keep",
    });
  }

  #recordCancelled(): void {
    this.#laneToken = undefined;
    this.#record("cancelled", { state: "cancelled", endedAtMs: this.#context.now() });
    this.#context.observe({ event: "notice", message: `session ${this.session.slice(0, 12)} was cancelled` });
  }

  #record(label: string, change: Partial<SessionRecord>): void {
    const { journal, now } = this.#context;
    journal.write(label, () => journal.update(this.session, { ...change, updatedAtMs: now() }));
  }

  /** The link is gone: lanes are closed, and what they left is remembered. */
  async linkLost(): Promise<void> {
    this.#laneToken = undefined;
    await this.#quieten();
    const record = this.record;
    if (record?.endedAtMs === null) this.#meter?.pause();
    if (record?.state === "receiving" && this.#tables && existsSync(this.#ownStaging().folder)) {
      this.#stamp = this.#ownStaging().stamp();
    }
  }

  /** No lane of this session writes any more, and all they wrote has been heard of. */
  async #quieten(): Promise<void> {
    this.#context.doors.postAll({ kind: "drop-session", session: this.session });
    await this.#context.doors.barrier();
  }

  #ownStaging(): Staging {
    const record = this.record!;
    this.#staging ??= new Staging(record.store ?? this.#context.store, this.session, record.files);
    return this.#staging;
  }
}

/** Bytes of each file whose chunks are known to hold data. */
function doneBytes(tables: readonly TagTable[]): number[] {
  return tables.map((table) => {
    let bytes = 0;
    for (const { first, count } of table.stretches()) {
      for (let chunk = first; chunk < first + count; chunk++) {
        if (!table.isZero(chunk)) bytes += chunkLength(table.bytes, chunk);
      }
    }
    return bytes;
  });
}
