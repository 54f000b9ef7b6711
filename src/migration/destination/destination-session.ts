/**
 * One session on the destination: carries out what the machine (destination-machine.ts) decides,
 * one request at a time, each durable step before the next.
 */
import type { ControlLink } from "../../channel/control-link.ts";
import { asMigrateError, MigrateError } from "../../protocol/errors.ts";
import type { MessageBody } from "../../protocol/messages.ts";
import type { Offer } from "../../protocol/offer.ts";
import type { ArrivingStreams } from "../../transfer/doors/arriving-streams.ts";
import type { FromDoor } from "../../transfer/doors/door-messages.ts";
import { laneRefused } from "../../transfer/doors/lane-refusal.ts";
import type { LaneGrant } from "../../transfer/landing/lane-grant.ts";
import type { SessionRecord } from "../journal/journal.ts";
import { recordOfOffer } from "../journal/offer-record.ts";
import { SessionWriter } from "../journal/session-writer.ts";
import {
  type DestinationAction,
  type DestinationRecord,
  type DestinationRequest,
  destinationStep,
  giveBack,
} from "../ownership/destination-machine.ts";
import { checkMachine } from "../providers/qemu/arriving-command.ts";
import { NeverRan } from "../providers/qemu/arriving-vm.ts";
import { reportOf } from "../report/report.ts";
import { reply } from "./destination-replies.ts";
import { checkNameFree, checkNewOffer, checkSameOffer } from "./offer-check.ts";
import { ReceivedVm, type ReceivedVmContext } from "./received-vm.ts";

/** A timer of more milliseconds than this would go off at once. */
const mostTimerMs = 2 ** 31 - 1;

export interface SessionContext extends Omit<ReceivedVmContext, "failed"> {
  maxSessions: number;
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
  readonly #writer: SessionWriter;
  #received: ReceivedVm | undefined;
  #queue: Promise<void> = Promise.resolve();
  /** Runs while a running VM's QEMU waits for a source that is not there. */
  #patience: Timer | undefined;
  link: ControlLink | undefined;

  constructor(session: string, context: SessionContext) {
    this.session = session;
    this.#context = context;
    this.#writer = new SessionWriter(context.journal, session, context.now);
  }

  get record(): SessionRecord | null {
    return this.#writer.record;
  }

  /** The streams of a running VM, once its QEMU waits for them. */
  get streams(): ArrivingStreams | undefined {
    return this.#received?.streams;
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
    clearTimeout(this.#patience);
    this.#writer.begin();
    try {
      await this.#carryOut(destinationStep(before, mode, request).actions, asker, body);
    } catch (thrown) {
      if (!(thrown instanceof NeverRan)) throw thrown;
      this.#context.observe({
        event: "warning",
        message: `${this.record!.name}: ${thrown.message}; it is the source's again`,
      });
      await this.#carryOut(giveBack(this.record!.state as DestinationRecord, mode).actions, asker, body);
    } finally {
      this.#writer.end();
    }
  }

  async #carryOut(actions: readonly DestinationAction[], asker: Asker, body: unknown): Promise<void> {
    for (const action of actions) await this.#perform(action, asker, body);
  }

  async #perform(action: DestinationAction, asker: Asker, body: unknown): Promise<void> {
    if (reply(action, asker.link, body, this.record?.state ?? "none")) return;
    switch (action) {
      case "reserve":
        return this.#reserve(body as Offer, asker);
      case "record-receiving":
        return this.#recordReceiving(asker, body as Offer);
      case "send-accept-receiving":
        return this.#vm().accept(asker.link, this.record!, body as Offer);
      case "check-seal":
        checkNameFree(this.#context.store, this.record!.name);
        return this.#vm().seal(body as MessageBody<"seal">);
      case "record-ready":
        return this.#recordReady(body as MessageBody<"seal">);
      case "record-owner":
        await this.#vm().checkReady();
        return this.#writer.write("owner", { state: "owner", phase: "handover" });
      case "record-published":
        await this.#vm().checkReady();
        return this.#writer.write("published", { state: "published", phase: "handover" });
      case "publish-files":
        return this.publishFiles();
      case "run-vm":
        return this.#vm().run();
      case "record-closed":
        return this.#recordClosed();
      case "record-cancelled":
        return this.#recordCancelled();
      case "remove-staging":
        return this.#vm().remove();
    }
  }

  #reserve(offer: Offer, asker: Asker): void {
    checkNewOffer(this.#context, offer, asker.peer);
    if (offer.machine !== undefined) checkMachine(offer, this.#context.qemu);
    this.#received = this.#receive(this.#recordOf(offer, asker));
    this.#received.files.prepare();
  }

  #recordReceiving(asker: Asker, offer: Offer): void {
    if (this.record) {
      this.#writer.write("receiving", { state: "receiving", phase: "prepare", digest: null });
      return;
    }
    this.#writer.insert("receiving", this.#recordOf(offer, asker));
  }

  #recordOf(offer: Offer, { peer, remote, attempt }: Asker): SessionRecord {
    const { store, now, qemu } = this.#context;
    const ramBytes = offer.machine === undefined ? 0 : checkMachine(offer, qemu).ramBytes;
    return recordOfOffer(this.session, offer, {
      peer,
      address: remote,
      attempt,
      store,
      nowMs: now(),
      ramBytes,
    });
  }

  /** Starts the QEMU of a running VM, and says on which streams it waits. */
  async start({ link }: Asker): Promise<void> {
    const state = this.record?.state ?? "unknown";
    if (state !== "receiving") {
      throw new MigrateError("in-doubt", `the session is ${state} at the destination`, {
        side: "destination",
      });
    }
    await this.#vm().start(link);
  }

  /** Lets a lane in, or throws why not. */
  grantLane(laneToken: string, peer: string): LaneGrant {
    if (this.#received === undefined) throw laneRefused();
    return this.#received.grantLane(this.record, laneToken, peer);
  }

  chunks(message: Extract<FromDoor, { kind: "chunks" }>): void {
    this.#received?.chunks(message);
  }

  #recordReady(seal: MessageBody<"seal">): void {
    const files = this.record!.files.map((file, i) => ({ ...file, digest: seal.files[i]! }));
    this.#writer.write("ready", { state: "ready", phase: "seal", digest: seal.digest, files });
  }

  /** Gives the VM its final name; done already, nothing happens. */
  publishFiles(): void {
    const record = this.record!;
    if (record.settled) return;
    this.#vm().publish(record);
    this.#writer.write("published-files", { settled: true });
  }

  /** After a restart: a running VM that is owned goes on. Throws MigrateError where it cannot. */
  async resumeVm(): Promise<void> {
    await this.#vm().run();
  }

  #recordClosed(): void {
    const nowMs = this.#context.now();
    this.#writer.write("closed", {
      state: "closed",
      phase: "confirm",
      endedAtMs: nowMs,
      doneBytes: this.record!.bytes,
    });
    this.#received?.leave();
    const record = this.record!;
    const { wireBytes = record.wireBytes, seconds = 0 } = this.#received?.figures ?? {};
    this.#context.observe(reportOf(record, { wireBytes, seconds, chunksSent: 0 }));
  }

  #recordCancelled(): void {
    this.#received?.closeLanes();
    this.#writer.write("cancelled", { state: "cancelled", endedAtMs: this.#context.now() });
    this.#context.observe({ event: "notice", message: `session ${this.session.slice(0, 12)} was cancelled` });
  }

  /** What the files hold is read again before it is believed: a lane failed in the middle of a chunk. */
  distrustFiles(): void {
    this.#received?.files.forget();
  }

  /** The link is gone: lanes are closed, and what they left is remembered. */
  async linkLost(): Promise<void> {
    const received = this.#received;
    if (received === undefined) return;
    received.closeLanes();
    await received.quieten();
    const record = this.record;
    if (record?.endedAtMs === null) received.pause();
    if (record?.state !== "receiving") return;
    received.files.rest();
    const { patienceMs } = received;
    if (patienceMs === null) return;
    const why = new MigrateError("cancelled", "the source has not been heard of for too long");
    this.#patience = setTimeout(() => void this.giveUp(why), Math.min(patienceMs, mostTimerMs));
    this.#patience.unref();
  }

  /** A running VM cannot become whole here any more: its QEMU is ended, its files go. Never throws. */
  async giveUp(why: MigrateError): Promise<void> {
    await this.inTurn(async () => {
      if (this.record?.state !== "receiving") return;
      this.#context.observe({ event: "warning", message: `${this.record.name}: ${why.message}` });
      this.#recordCancelled();
      await this.#vm().remove();
      this.link?.fail(why);
    }).catch((thrown: unknown) => {
      this.#context.observe({ event: "warning", message: asMigrateError(thrown).message });
    });
  }

  /** Lets go of a running VM that is owned or ready: what serves next, or asks, takes it over. */
  rest(): void {
    clearTimeout(this.#patience);
    if (this.record?.machine) this.#received?.letBe();
  }

  #vm(): ReceivedVm {
    this.#received ??= this.#receive(this.record!);
    return this.#received;
  }

  #receive(record: SessionRecord): ReceivedVm {
    return new ReceivedVm(record, { ...this.#context, failed: (error) => void this.giveUp(error) });
  }
}
