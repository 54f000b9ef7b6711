/**
 * One session on the destination: carries out what its machine (ownership/destination-machine.ts) decides,
 * one event at a time, and one durable step after the other.
 */
import type { ControlLink } from "../../channel/control-link.ts";
import { asMigrateError, MigrateError } from "../../protocol/errors.ts";
import type { MessageBody } from "../../protocol/messages.ts";
import type { Offer } from "../../protocol/offer.ts";
import type { ArrivingStreams } from "../../transfer/doors/arriving-streams.ts";
import type { FromDoor } from "../../transfer/doors/door-messages.ts";
import { laneRefused } from "../../transfer/doors/lane-refusal.ts";
import type { LaneGrant } from "../../transfer/landing/lane-grant.ts";
import { isStaged } from "../../vm/folder/staging.ts";
import type { SessionRecord } from "../journal/journal.ts";
import { patiently } from "../journal/patience.ts";
import { SessionWriter } from "../journal/session-writer.ts";
import {
  type DestinationAction,
  type DestinationEvent,
  type DestinationRequest,
  type DestinationState,
  destinationStep,
} from "../ownership/destination-machine.ts";
import { givenBack, NeverRan } from "../providers/never-ran.ts";
import { roomOf } from "../providers/provider.ts";
import { providerOf } from "../providers/providers.ts";
import type { ReceiptKeeper } from "../receipts/receipt-keeper.ts";
import { reportOf } from "../report/report.ts";
import { doneBefore, reply } from "./destination-replies.ts";
import { checkNameFree, partsOf, requirePlace, requireWelcome, sizesOfRepeated } from "./offer-check.ts";
import { offeredRecord } from "./offered-record.ts";
import type { Asker } from "./peers/asker.ts";
import { SessionLease } from "./peers/leases.ts";
import type { PromisedRoom } from "./peers/promised-room.ts";
import type { SourceTerms } from "./peers/source-terms.ts";
import type { PublishedSessions } from "./published-sessions.ts";
import { ReceivedVm, type ReceivedVmContext } from "./received-vm.ts";
import { SessionEvents } from "./session-events.ts";
import { endedSession, stateOfRecord, stateWithoutRecord } from "./session-state.ts";

/** A longer timer, in milliseconds, would fire at once. */
const mostTimerMs = 2 ** 31 - 1;

export interface SessionContext extends Omit<ReceivedVmContext, "failed" | "arrived"> {
  maxSessions: number;
  /** Room of the store that is promised to the sessions under way. */
  room: PromisedRoom;
  /** Sessions that the store shows as published, even if the journal has lost them. */
  published: PublishedSessions;
  sources?: SourceTerms | undefined;
  /** Signs this host's words of a handover; absent, or null, where it has no identity to sign as. */
  receipts?: ReceiptKeeper | null;
}

export class DestinationSession {
  readonly session: string;
  readonly #context: SessionContext;
  readonly #writer: SessionWriter;
  #received: ReceivedVm | undefined;
  #queue: Promise<void> = Promise.resolve();
  /** True if the event that is carried out has made this host the owner: the VM then had no final name before. */
  #isOwnedNow = false;
  /** Set while the QEMU of a running VM waits for a source that is not connected. */
  #patience: Timer | undefined;
  link: ControlLink | undefined;
  readonly #lease: SessionLease;
  readonly #events: SessionEvents;

  constructor(session: string, context: SessionContext) {
    this.session = session;
    this.#context = context;
    this.#writer = new SessionWriter(context.journal, session, context.now);
    this.#lease = new SessionLease(session, context);
    this.#events = new SessionEvents(session, () => this.record, context.observe);
  }

  get record(): SessionRecord | null {
    return this.#writer.record;
  }

  /** The streams of a running VM, once its QEMU waits for them. */
  get streams(): ArrivingStreams | undefined {
    return this.#received?.streams;
  }

  /**
   * Runs `work` after everything that was requested of this session before. Returns or throws what `work`
   * does.
   */
  inTurn<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#queue.then(work);
    this.#queue = result.then(
      () => {},
      () => {},
    );
    return result;
  }

  /**
   * Answers one request. Throws the MigrateError that the asker is to receive; a refused request has changed
   * nothing.
   */
  async request(request: DestinationRequest, asker: Asker, body: unknown): Promise<void> {
    const record = this.record;
    await patiently(() => asker.receipts.admit(request, record, body), this.#waits(asker));
    if (record && request === "offer") this.#again(record, body as Offer);
    const state = await this.#state(request === "offer" ? (body as Offer).mode : "move", asker.peer);
    clearTimeout(this.#patience);
    try {
      await this.#carryOut(state, { type: "request", request }, asker, body);
    } catch (thrown) {
      if (!(thrown instanceof NeverRan)) throw thrown;
      this.#events.warning(`${this.record!.name}: ${thrown.message}; it is the source's again`);
      await this.#carryOut(await this.#state(state.mode), { type: "never-ran" }, asker, body);
    }
  }

  /** Checks a repeated offer, and takes from it what may have changed. Throws MigrateError. */
  #again(record: SessionRecord, offer: Offer): void {
    const takenBytes = () => this.#vm().files.staging.allocatedBytes();
    const promisedBytes = this.#context.room.owedToOthers(this.session);
    const sizes = sizesOfRepeated(record, offer, { ...this.#context, takenBytes, promisedBytes });
    if (sizes === null) return;
    this.#writer.write("sizes", sizes);
    this.#received?.grow(this.record!);
  }

  /** Without a record, `mode` is that of the request, and `peer` who makes it. */
  async #state(mode: SessionRecord["mode"], peer = ""): Promise<DestinationState> {
    const record = this.record;
    if (record === null) return stateWithoutRecord(this.session, { mode, peer }, this.#context);
    return await stateOfRecord(record, this.#received?.isSure === true, this.#context);
  }

  /** How long it waits for a journal that another program has locked. */
  #waits(asker: Asker | undefined): Parameters<typeof patiently>[1] {
    const waiting = (message: string) => this.#events.warning(message);
    return { isOver: () => asker?.link.closed === true, waiting };
  }

  /** Passes an event to the machine, and carries out the actions. Returns them. */
  async #carryOut(
    state: DestinationState,
    event: DestinationEvent,
    asker?: Asker,
    body?: unknown,
  ): Promise<readonly DestinationAction[]> {
    const { actions } = destinationStep(state, event);
    // What has no record any more was removed, or published, long before.
    const isForgotten = this.record === null && state.record !== "none";
    this.#writer.begin(state.record);
    this.#isOwnedNow = false;
    const waits = this.#waits(asker);
    try {
      for (const action of actions) {
        if (isForgotten && doneBefore.has(action)) continue;
        await patiently(() => this.#perform(action, asker, body), waits);
      }
    } finally {
      this.#writer.end();
    }
    const { record } = this;
    // A session that is over may be one too many.
    if (record?.endedAtMs) this.#context.journal.prune(this.#context.now(), isStaged, record.peer);
    return actions;
  }

  async #perform(action: DestinationAction, asker: Asker | undefined, body: unknown): Promise<void> {
    const state =
      this.record?.state ?? (asker && endedSession(this.session, asker.peer, this.#context)?.state) ?? "none";
    if ((asker && reply(action, asker.link, state)) || this.#events.report(action)) return;
    const { name = "" } = this.record ?? {};
    switch (action) {
      case "reserve":
        return this.#reserve(body as Offer, asker!);
      case "record-receiving":
        return this.#recordReceiving(asker!, body as Offer);
      case "send-accept-receiving":
        this.#lease.recheck(roomOf(partsOf(body as Offer)), this.#vm().heldBytes, this.#context.store);
        await this.#vm().accept(asker!.link, this.record!, body as Offer);
        return this.#lease.accepted(this.record!, this.#vm().heldBytes);
      case "check-seal":
        checkNameFree(this.#context.store, name);
        return this.#vm().seal(body as MessageBody<"seal">);
      case "send-ready": {
        const ready = this.#vm().ready(body as MessageBody<"seal">);
        return asker!.link.send("ready", {
          ...ready,
          ...(await asker!.receipts.give("ready", this.session)),
        });
      }
      case "send-owned":
        return asker!.link.send("owned", await asker!.receipts.give("owned", this.session));
      case "record-ready":
        return this.#recordReady(body as MessageBody<"seal">);
      case "record-owner":
        await this.#vm().checkReady(this.record!).catch(givenBack);
        this.#writer.step("owner", { phase: "handover" });
        this.#isOwnedNow = true;
        return;
      case "record-published":
        await this.#vm().checkReady(this.record!);
        return this.#writer.step("published", { phase: "handover" });
      case "publish-files":
        return this.#publishFiles();
      case "run-vm":
        return this.#vm().run();
      case "record-closed":
        return this.#recordClosed();
      case "record-cancelled":
        this.#recordCancelled();
        return this.#context.receipts?.catchUp();
      case "end-vm":
        return this.#vm().end();
      case "remove-staging":
        return this.#vm().remove();
      case "sign-owned":
        return this.#context.receipts?.signOwned(this.session);
      default:
        throw new MigrateError("bug", `nobody carries out ${action}`);
    }
  }

  async #reserve(offer: Offer, asker: Asker): Promise<void> {
    await requireWelcome({ ...this.#context, session: this.session }, offer, asker);
    this.#lease.checked(roomOf(partsOf(offer)));
    this.#received = this.#receive(offeredRecord(this.session, offer, asker, this.#context));
    this.#received.files.prepare();
  }

  /** Throws MigrateError if somebody else has got the place meanwhile; then nothing is left of what was prepared. */
  async #recordReceiving(asker: Asker, offer: Offer): Promise<void> {
    if (this.record) return this.#writer.step("receiving", { phase: "prepare", digest: null });
    try {
      requirePlace(this.#context, offer.name, asker.peer);
    } catch (thrown) {
      await this.#vm().remove();
      this.#received = undefined;
      throw thrown;
    }
    this.#writer.insert("receiving", offeredRecord(this.session, offer, asker, this.#context));
  }

  /** Starts the QEMU of a running VM, and sends STARTED. Throws MigrateError. */
  async start({ link }: Asker): Promise<void> {
    const state = this.record?.state ?? "unknown";
    if (state !== "receiving") {
      throw new MigrateError("in-doubt", `the session is ${state} at the destination`, {
        side: "destination",
      });
    }
    await this.#vm().start(link);
  }

  /** Returns what a lane needs to write. Throws MigrateError if the lane is refused. */
  grantLane(laneToken: string, peer: string): LaneGrant {
    if (this.#received === undefined) throw laneRefused();
    return this.#received.grantLane(this.record, laneToken, peer);
  }

  chunks(message: Extract<FromDoor, { kind: "chunks" }>): void {
    this.#received?.chunks(message);
  }

  #recordReady(seal: MessageBody<"seal">): void {
    const { files } = this.record!;
    const kept = providerOf(this.record!).sealed(this.record!, seal, this.#vm().landed(this.record!));
    this.#writer.step("ready", {
      phase: "seal",
      digest: seal.digest,
      files: files.map((file, i) => ({ ...file, digest: seal.files[i]! })),
      kept,
    });
  }

  /** Gives the VM its final name; does nothing if that has been done. */
  #publishFiles(): void {
    const record = this.record!;
    if (record.settled) return;
    try {
      this.#vm().publish(record);
    } catch (thrown) {
      // Nobody can have started the VM from a name that it never had.
      if (this.#isOwnedNow) givenBack(thrown);
      throw thrown;
    }
    this.#writer.write("published-files", { settled: true });
    this.#context.published.add(record);
  }

  /**
   * After a restart, before any connection is accepted: completes what an earlier process left half done.
   * Throws MigrateError.
   */
  async recover(): Promise<void> {
    const state = await this.#state("move");
    // A published VM that is only files waits for nothing but the source's CONFIRM, once that can be shown.
    const isSigned = this.#context.journal.receipts.owesOwned(this.session) === false;
    if (this.record!.settled && state.program === "files" && isSigned) return;
    await this.#carryOut(state, { type: "restarted" });
  }

  #recordClosed(): void {
    const nowMs = this.#context.now();
    this.#writer.step("closed", { phase: "confirm", endedAtMs: nowMs, doneBytes: this.record!.bytes });
    this.#received?.leave();
    const record = this.record!;
    const { wireBytes = record.wireBytes, seconds = 0 } = this.#received?.figures ?? {};
    const [runs, proven] = [providerOf(record).runsThere(record), providerOf(record).provenOf(record)];
    const { readBack } = this.#received ?? {};
    this.#context.observe(reportOf(record, { wireBytes, seconds, runs, proven, readBack, chunksSent: 0 }));
  }

  #recordCancelled(): void {
    this.#received?.closeLanes();
    this.#writer.step("cancelled", { endedAtMs: this.#context.now() });
    this.#events.stopped("cancelled");
    this.#events.notice(`${this.record?.name}: session ${this.session.slice(0, 12)} was cancelled`);
  }

  /** Bytes of the VM came, on lanes or on streams. */
  #arrived(bytes: number): void {
    if (!this.#lease.isTooMuch(bytes, (owedBytes) => this.#vm().isShortOfRoom(owedBytes))) return;
    const what = "the VM is larger than was offered, and the rest of the store is promised to others";
    this.link?.fail(new MigrateError("no-room", what, { side: "destination" }));
  }

  /** Gives the session up if nothing has come for it for too long; waits for no source that reads slowly. Never throws. */
  async expire(): Promise<void> {
    const how = { isConnected: this.link?.closed === false, isRunning: this.streams !== undefined };
    if (this.record === null || !this.#lease.isExpired(this.record, how)) return;
    const why = new MigrateError("cancelled", "nothing has come from the source for too long");
    this.link?.fail(why);
    await this.giveUp(why);
  }

  /** The files are read again before their tags are believed: a lane failed while it wrote a chunk. */
  distrustFiles(): void {
    this.#received?.files.forget();
  }

  /** The link is lost: closes the lanes, and remembers what they have written. */
  async linkLost(): Promise<void> {
    this.#lease.leave();
    const received = this.#received;
    if (received === undefined) return;
    received.closeLanes();
    await received.quieten();
    const record = this.record;
    if (record?.endedAtMs === null) {
      received.pause();
      this.#events.stopped("link-lost");
    }
    // The VM is this host's, and runs: its QMP socket is free for others, whether or not the source comes back.
    if (record?.state === "owner" && record.settled) received.letBe();
    if (record?.state !== "receiving") return;
    received.files.rest();
    const { patienceMs } = received;
    if (patienceMs === null) return;
    const why = new MigrateError("cancelled", "the source has not been heard of for too long");
    this.#patience = setTimeout(() => void this.giveUp(why), Math.min(patienceMs, mostTimerMs));
    this.#patience.unref();
  }

  /**
   * The VM can no longer become whole here: ends the programs that hold it, and removes its files. Never
   * throws.
   */
  async giveUp(why: MigrateError): Promise<void> {
    await this.inTurn(async () => {
      if (this.record === null) return;
      const state = await this.#state(this.record.mode);
      if (state.record === "receiving") this.#events.warning(`${this.record.name}: ${why.message}`);
      const actions = await this.#carryOut(state, { type: "given-up" });
      if (actions.length > 0) this.link?.fail(why);
    }).catch((thrown: unknown) => this.#events.warning(asMigrateError(thrown).message));
  }

  /**
   * Leaves a running VM that is owned or ready as it is: the next `migrate serve`, or `migrate resolve`,
   * takes it over.
   */
  rest(): void {
    clearTimeout(this.#patience);
    this.#received?.letBe();
  }

  #vm(): ReceivedVm {
    this.#received ??= this.#receive(this.record!);
    return this.#received;
  }

  #receive(record: SessionRecord): ReceivedVm {
    return new ReceivedVm(record, {
      ...this.#context,
      failed: (error) => void this.giveUp(error),
      arrived: (bytes) => this.#arrived(bytes),
    });
  }
}
