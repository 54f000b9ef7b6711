/**
 * One session on the destination: carries out what the machine (destination-machine.ts) decides,
 * one request at a time, each durable step before the next.
 */
import { randomBytes } from "node:crypto";
import type { ControlLink } from "../channel/control-link.ts";
import { MigrateError } from "../protocol/errors.ts";
import type { MessageBody } from "../protocol/messages.ts";
import type { Offer } from "../protocol/offer.ts";
import type { DoorPool } from "../transfer/door-pool.ts";
import type { FromDoor, LaneGrant } from "../transfer/lane-messages.ts";
import { ReceivedFiles } from "../transfer/received-files.ts";
import { storeFailure } from "../transfer/store-failure.ts";
import { checkSelfContained } from "../vm/disk-format.ts";
import {
  type DestinationAction,
  type DestinationRecord,
  type DestinationRequest,
  destinationStep,
} from "./destination-machine.ts";
import { reply } from "./destination-replies.ts";
import type { Observer } from "./events.ts";
import type { Journal, SessionRecord } from "./journal.ts";
import { checkLane } from "./lane-check.ts";
import { checkNameFree, checkNewOffer, checkSameOffer } from "./offer-check.ts";
import { recordOfOffer } from "./offer-record.ts";
import { ProgressMeter } from "./progress-meter.ts";
import { isPublishedBy, publishedManifest } from "./published-manifest.ts";
import { reportOf } from "./report.ts";

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
  #received: ReceivedFiles | undefined;
  #laneToken: Buffer | undefined;
  #meter: ProgressMeter | undefined;
  #queue: Promise<void> = Promise.resolve();
  /** The recorded state that the request under way was decided on; undefined between requests. */
  #began: SessionRecord["state"] | undefined;
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
    if (record && request === "offer") checkSameOffer(record, body as Offer);
    this.#began = record?.state;
    try {
      for (const action of destinationStep(before, mode, request).actions) {
        await this.#perform(action, asker, body);
      }
    } finally {
      this.#began = undefined;
    }
  }

  async #perform(action: DestinationAction, asker: Asker, body: unknown): Promise<void> {
    if (reply(action, asker.link, body, this.record?.state ?? "none")) return;
    switch (action) {
      case "reserve":
        return this.#reserve(body as Offer, asker);
      case "record-receiving":
        return this.#recordReceiving(asker, body as Offer);
      case "send-accept-receiving":
        return this.#accept(asker.link);
      case "check-seal":
        return this.#checkSeal(body as MessageBody<"seal">);
      case "record-ready":
        return this.#recordReady(body as MessageBody<"seal">);
      case "record-owner":
        this.#files().checkPresent();
        return this.#record("owner", { state: "owner", phase: "handover" });
      case "record-published":
        this.#files().checkPresent();
        return this.#record("published", { state: "published", phase: "handover" });
      case "publish-files":
        return this.publishFiles();
      case "record-closed":
        return this.#recordClosed();
      case "record-cancelled":
        return this.#recordCancelled();
      case "remove-staging":
        await this.#quieten();
        this.#files().remove();
        return;
    }
  }

  #reserve(offer: Offer, { peer }: Asker): void {
    checkNewOffer(this.#context, offer, peer);
    this.#received = new ReceivedFiles(
      this.#context.store,
      this.session,
      offer.files,
      Buffer.from(offer.tagKey, "hex"),
    );
    this.#received.prepare();
  }

  #recordReceiving({ peer, remote, attempt }: Asker, offer: Offer): void {
    const { journal, now, store } = this.#context;
    if (this.record) {
      this.#record("receiving", { state: "receiving", phase: "prepare", digest: null });
      return;
    }
    const origin = { peer, address: remote, attempt, store, nowMs: now() };
    const record = recordOfOffer(this.session, offer, origin);
    journal.write("receiving", () => journal.insert(record));
  }

  /** Gets the staged files ready and says what is there already. */
  async #accept(link: ControlLink): Promise<void> {
    const record = this.record!;
    const files = this.#files();
    await this.#quieten();
    const resumed = await files.takeStock();
    const { observe, journal, now } = this.#context;
    this.#meter ??= new ProgressMeter(record, observe, journal, now);
    this.#meter.begin(record.files, files.heldBytes());
    this.#laneToken = randomBytes(16);
    link.send("accept", {
      state: "receiving",
      laneToken: this.#laneToken.toString("hex"),
      inventory: resumed,
    });
    if (resumed) {
      for (const frame of files.inventory()) link.sendFrame(frame);
      link.send("inventoryEnd", {});
    }
    const { name, mode, peer, bytes } = record;
    const told = { session: this.session, name, side: "destination", mode, peer, bytes, resumed } as const;
    observe({ event: "session", ...told });
    this.#meter.phase("stop-and-copy");
  }

  /** Lets a lane in, or throws why not. */
  grantLane(laneToken: string, peer: string): LaneGrant {
    checkLane(this.record, this.#laneToken, laneToken, peer);
    return this.#files().grant(this.session);
  }

  /** Chunks that a lane has checked and written. */
  chunks({ places, tags, bytesReceived }: Extract<FromDoor, { kind: "chunks" }>): void {
    this.#files().wrote(places, tags, (file, bytes) => this.#meter?.done(file, bytes));
    this.#meter?.wire(bytesReceived);
  }

  async #checkSeal(seal: MessageBody<"seal">): Promise<void> {
    const record = this.record!;
    this.#laneToken = undefined;
    await this.#quieten();
    this.#meter?.phase("seal");
    const files = this.#files();
    checkNameFree(this.#context.store, record.name);
    await files.seal(record.name, seal.digest, seal.files);
    for (const [i, { kind, name }] of record.files.entries()) {
      if (kind === "disk") checkSelfContained(files.staging.paths[i]!, name);
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
      this.#files().staging.publish(record.name, manifest, (folder) => isPublishedBy(folder, this.session));
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
    this.#meter?.finish();
    const record = this.record!;
    const { wireBytes = record.wireBytes, seconds = 0 } = this.#meter ?? {};
    this.#context.observe(reportOf(record, { wireBytes, seconds, chunksSent: 0 }));
  }

  #recordCancelled(): void {
    this.#laneToken = undefined;
    this.#record("cancelled", { state: "cancelled", endedAtMs: this.#context.now() });
    this.#context.observe({ event: "notice", message: `session ${this.session.slice(0, 12)} was cancelled` });
  }

  #record(label: string, change: Partial<SessionRecord>): void {
    const { journal, now } = this.#context;
    journal.write(label, () => {
      this.#checkUnchanged();
      journal.update(this.session, { ...change, updatedAtMs: now() });
    });
    if (this.#began !== undefined && change.state !== undefined) this.#began = change.state;
  }

  /**
   * Between two actions of a request a person may have settled the session (`migrate resolve`, another
   * process): what was decided before that is not written over it. Only within a write.
   */
  #checkUnchanged(): void {
    const state = this.record?.state;
    if (this.#began === undefined || state === this.#began) return;
    throw new MigrateError(
      state === "cancelled" ? "cancelled" : "in-doubt",
      `a person has settled the session at the destination meanwhile: it is ${state} there`,
      { side: "destination" },
    );
  }

  /** What the files hold is read again before it is believed: a lane failed in the middle of a chunk. */
  distrustFiles(): void {
    this.#received?.forget();
  }

  /** The link is gone: lanes are closed, and what they left is remembered. */
  async linkLost(): Promise<void> {
    this.#laneToken = undefined;
    await this.#quieten();
    const record = this.record;
    if (record?.endedAtMs === null) this.#meter?.pause();
    if (record?.state === "receiving") this.#files().rest();
  }

  /** No lane of this session writes any more, and all they wrote has been heard of. */
  async #quieten(): Promise<void> {
    this.#context.doors.postAll({ kind: "drop-session", session: this.session });
    await this.#context.doors.barrier();
  }

  #files(): ReceivedFiles {
    if (this.#received) return this.#received;
    const record = this.record!;
    this.#received = new ReceivedFiles(
      record.store ?? this.#context.store,
      this.session,
      record.files,
      Buffer.from(record.tagKey, "hex"),
    );
    return this.#received;
  }
}

/** What is said of a lane that may not be let in, whatever the reason. */
