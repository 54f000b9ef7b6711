/**
 * One link of a source, from its first message to the end of the session or of the link: carries out what the
 * machine (ownership/source-machine.ts) decides, one action after the other.
 */

import { openSourceLink, type SourceLink } from "../../channel/known-destination.ts";
import { MigrateError } from "../../protocol/errors.ts";
import type { Message } from "../../protocol/messages.ts";
import type { Receipt, ReceiptKind } from "../../protocol/receipt.ts";
import type { SourceAction, SourceEvent } from "../ownership/source-machine.ts";
import { startedAnew } from "../providers/started-anew.ts";
import { StillHere } from "../providers/still-here.ts";
import { LinkReceipts } from "../receipts/link-receipts.ts";
import { tellCancelled } from "./cancellation.ts";
import { requirePolicyKept } from "./gate/own-policy.ts";
import { SourceGate } from "./gate/source-gate.ts";
import { missingBase, offerOf } from "./offer-of.ts";
import { refusedOffer } from "./refused-offer.ts";
import { SourceFiles } from "./source-files.ts";
import type { SourceSession } from "./source-session.ts";
import { SourceSteps } from "./source-steps.ts";
import { SourceTransfer } from "./source-transfer.ts";

export class SourceAttempt {
  readonly #session: SourceSession;
  readonly #steps: SourceSteps;
  #current: SourceLink | undefined;
  #transferring: SourceTransfer | undefined;
  #aborted: MigrateError | undefined;
  readonly #abortion = Promise.withResolvers<never>();
  #laneToken = "";
  #gate: SourceGate | undefined;
  #files: SourceFiles;
  /** Of the link that stands. */
  #receipts: LinkReceipts | undefined;

  constructor(session: SourceSession) {
    this.#session = session;
    const { departure, ...options } = session.options;
    this.#steps = new SourceSteps({ ...options, departure: departure ?? undefined });
    this.#files = new SourceFiles(session);
  }

  /** Ends the attempt; `run` rejects with `error`. */
  abort(error: MigrateError): void {
    this.#aborted = error;
    this.#abortion.reject(error);
    this.#transferring?.abort(error);
    this.#current?.link.fail(error);
  }

  /** As `SourceTransfer.pace`. */
  pace(bandwidthBytesPerSec: number | null): void {
    this.#transferring?.pace(bandwidthBytesPerSec);
  }

  /** Resolves once the session is completed. Throws what ended the attempt before that. */
  async run(): Promise<void> {
    const { link, socket } = await this.#openUnlessAborted();
    try {
      await this.#step({ type: "linked" });
      while (this.#steps.state.ended === undefined) await this.#step(this.#eventOf(await link.receive()));
      if (this.#steps.state.ended === "cancelled") {
        throw this.#cancelledThere();
      }
    } catch (thrown) {
      link.fail(thrown);
      throw this.#aborted ?? thrown;
    } finally {
      this.#session.meter.wire(socket.bytesSent);
      link.finish();
    }
  }

  /** As `#open`, but an abortion does not wait for a destination that does not answer. */
  async #openUnlessAborted(): Promise<SourceLink> {
    const opening = this.#open();
    // Only the first of the two to settle counts: a later rejection of the other is ignored.
    opening.catch(() => {});
    return Promise.race([opening, this.#abortion.promise]);
  }

  async #open(): Promise<SourceLink> {
    const session = this.#session;
    const { home, address, identity, ticket, timing } = session.options;
    session.write("attempt", { attempt: session.record.attempt + 1 });
    const { session: id, attempt, peer: knownPeer, state } = session.record;
    // No other host may be believed if it answers that it has the VM, or never had it.
    if (state === "released" || state === "confirmed") this.#requireSamePeer(knownPeer);
    const current = await openSourceLink({
      home,
      address,
      identity,
      ticket,
      timing,
      knownPeer: knownPeer === "" ? undefined : knownPeer,
      session: { id, attempt },
      sawOf: session.receipts ? (fingerprint) => session.receipts!.generations(fingerprint).seen : undefined,
      notice: (message) => session.options.observe({ event: "notice", message }),
    });
    if (this.#aborted) {
      current.link.finish();
      throw this.#aborted;
    }
    this.#current = current;
    const { peer, receipts: theirs, saw } = current;
    const { journal } = session.options;
    const keeper = session.receipts;
    this.#receipts = new LinkReceipts({ keeper, journal, side: "source", peer, theirs, saw });
    current.link.answerMs = session.answerMs;
    try {
      await this.#greeted(current);
    } catch (thrown) {
      current.link.fail(thrown);
      throw thrown;
    }
    return current;
  }

  /** A VM whose transfer begins anew is given up by whoever does not have all of it after a restart. */
  #cancelledThere(): MigrateError {
    const { linkedAgain, options, record } = this.#session;
    const isForgotten = linkedAgain && options.departure?.isResumable === false;
    if (isForgotten && options.departure?.failure === undefined) return startedAnew(record.name);
    const said = "the migration was cancelled at the destination";
    return new MigrateError("cancelled", said, { side: "destination" });
  }

  /**
   * The destination is connected and authenticated: has it prove itself where it must, records who it is, and tells it of
   * cancellations that it missed.
   */
  async #greeted(current: SourceLink): Promise<void> {
    const { peer, paired } = current;
    const session = this.#session;
    const { observe } = session.options;
    const { session: id, name, mode, bytes, attempt, peer: knownPeer, state } = session.record;
    if (paired) observe({ event: "paired", peer });
    // What only has to end tells of nothing, and hands nothing over.
    if (state === "sending" || state === "released") await this.#openGate(current);
    if (knownPeer !== peer) session.write("peer", { peer });
    if (session.linked) {
      session.linkedAgain = true;
      const message = "connected again";
      observe({ event: "link", session: id, name, state: "restored", message, attempt, retryInMs: 0 });
    } else {
      observe({
        event: "session",
        session: id,
        name,
        side: "source",
        mode,
        peer,
        bytes,
        resumed: attempt > 1,
      });
    }
    session.linked = true;
    await tellCancelled({ ...session.options, peer });
    if (state === "sending" && mode === "move") await this.#receipts!.requireInStep();
  }

  /** Nothing of the VM is told before the destination has proven what it has to prove. An abortion does not wait for it. */
  async #openGate(current: SourceLink): Promise<void> {
    const { options, record } = this.#session;
    const isReleased = record.state === "released";
    this.#gate = new SourceGate(current, { ...record, isReleased }, options);
    const gate = this.#gate;
    this.#receipts!.verdict = () => gate.verdict;
    await Promise.race([gate.before("offer"), this.#abortion.promise]);
  }

  /** The VM was released to one host, and only that host knows what became of it. */
  #requireSamePeer(peer: string): void {
    const { identity, ticket } = this.#session.options;
    const asked = identity === null ? "insecure" : (ticket?.destinationFingerprint ?? peer);
    if (asked === peer) return;
    throw new MigrateError(
      "wrong-identity",
      `${this.#session.record.name} was released to ${peer}, and to nobody else`,
      {
        side: "source",
        hint:
          peer === "insecure"
            ? "run the same command with --insecure"
            : "run the same command without --insecure and without a ticket of another host",
      },
    );
  }

  #eventOf(message: Message): SourceEvent {
    switch (message.name) {
      case "ready":
        if (message.body.digest !== this.#session.record.digest) {
          throw new MigrateError("integrity", "the destination has other bytes than were sent", {
            side: "source",
          });
        }
        this.#files.checkProof(message.body);
        this.#came("ready", message.body.receipt);
        this.#session.readBack = message.body.readBack ?? "none";
        return { type: "ready" };
      case "owned":
        if (this.#session.record.state === "released") this.#came("owned", message.body.receipt);
        this.#session.resumedThere();
        return { type: "owned" };
      case "published":
      case "closed":
        return { type: message.name };
      case "cancelled":
        return { type: "destination-cancelled" };
      default:
        throw new MigrateError("protocol", `a ${message.name} message is not expected here`, {
          side: "destination",
        });
    }
  }

  /** Makes sure of the receipt for the destination's word. Throws MigrateError "integrity". */
  #came(kind: ReceiptKind, receipt: Receipt | undefined): void {
    this.#steps.given = this.#receipts!.came(kind, this.#session.record, receipt);
  }

  async #step(event: SourceEvent): Promise<void> {
    const actions = this.#steps.step(event);
    if (actions.includes("refuse")) throw this.#refusal(event);
    for (const action of actions) {
      try {
        await this.#perform(action);
      } catch (thrown) {
        if (!(thrown instanceof StillHere)) throw thrown;
        this.#session.options.observe({ event: "warning", message: thrown.message });
        // What would have followed on its withdrawal does not.
        return await this.#step({ type: "still-here" });
      }
    }
  }

  async #perform(action: SourceAction): Promise<void> {
    const session = this.#session;
    const { departure } = session.options;
    const { link } = this.#current!;
    switch (action) {
      case "send-offer":
        return this.#offer();
      case "transfer":
        return this.#transfer();
      case "send-seal":
        return this.#seal();
      case "record-released":
        // The last check before the release: the files are still those that were sent, and nobody has asked
        // to stop.
        await this.#gate?.beforeRelease();
        departure?.files.verify();
        await departure?.requireStill();
        if (session.mayStop) throw session.interruption();
        session.meter.phase("handover");
        break;
      case "retire-files":
        session.meter.phase("confirm");
        departure?.files.close();
        break;
      case "send-publish":
        await this.#gate?.beforeRelease();
        session.meter.phase("handover");
        link.send("publish", {});
        return this.#gate?.keep();
      case "send-release":
        link.send("release", await this.#receipts!.give("release", session.record.session));
        return this.#gate?.keep();
      case "send-confirm":
        return link.send("confirm", {});
      case "send-cancel":
        return link.send("cancel", {});
    }
    if (!(await this.#steps.perform(action))) throw new MigrateError("bug", `nobody carries out ${action}`);
  }

  /**
   * Sends the offer, and receives which parts of it the destination already has. A VM that is to stand still does so
   * first: what it was before may have changed.
   */
  async #offer(): Promise<void> {
    const session = this.#session;
    const { meter, options } = session;
    const { link } = this.#current!;
    meter.phase("prepare");
    const { policies } = this.#current!;
    if (session.record.state === "sending") {
      const attested = this.#gate?.verdict != null;
      requirePolicyKept(session.record, { knowsPolicies: policies, attested });
    }
    // Whoever asks to stop does not wait for what may take minutes.
    await Promise.race([options.departure?.standStill(options.observe), this.#abortion.promise]);
    if (options.departure !== null) session.takeSizes();
    const { record } = session;
    this.#files = new SourceFiles(session);
    link.onInventory = (payload) => this.#files.inventory(payload);
    const { departure, verify, base } = options;
    const generation = session.receipts?.generations(null).generation;
    const allocatedBytes = (file: number) => departure?.files.allocatedBytes(file) ?? 0;
    link.send("offer", offerOf(record, departure, { verify, base, allocatedBytes, generation }));
    const { body } = await link.expect("accept").catch(refusedOffer);
    if (body.inventory) await link.expect("inventoryEnd");
    else if (this.#files.heardTags) {
      throw new MigrateError("protocol", "tags came unasked", { side: "destination" });
    }
    link.onInventory = undefined;
    this.#laneToken = body.laneToken;
    this.#files.accepted(body);
    if (options.base !== undefined && body.state === "receiving" && body.base !== true) {
      options.observe({ event: "warning", message: missingBase(options.base) });
    }
    for (const message of options.departure?.changes(body) ?? []) {
      options.observe({ event: "notice", message });
    }
    await this.#step({ type: "accepted", state: body.state });
  }

  async #transfer(): Promise<void> {
    const { link, peer } = this.#current!;
    this.#transferring = new SourceTransfer(this.#session, this.#files, {
      link,
      peer,
      laneToken: this.#laneToken,
      beforeStart: async () => this.#gate?.before("start"),
    });
    if (this.#aborted) this.#transferring.abort(this.#aborted);
    const finding = this.#files.binds ? this.#session.findEk() : undefined;
    const outcome = await this.#transferring.run();
    this.#transferring = undefined;
    // A guest that stands still does not wait for it.
    if (this.#session.options.departure?.streamed.length === 0) await finding;
    await this.#step({ type: outcome });
  }

  async #seal(): Promise<void> {
    await this.#gate?.beforeSeal();
    const session = this.#session;
    const { departure } = session.options;
    departure?.files.verify();
    session.meter.phase("seal");
    session.sealWithoutEk();
    const bound = this.#files.binds ? { ...(session.ek === undefined ? {} : { ek: session.ek }) } : undefined;
    const { vm: digest, files } = session.digests(bound);
    session.write("sealed", { digest, phase: "seal" });
    const streams = departure?.streams && [...departure.streams];
    const paused = departure?.isPaused;
    const challenge = this.#files.challenge();
    this.#current!.link.send("seal", {
      digest,
      files,
      ...(streams === undefined ? {} : { streams }),
      ...(paused === undefined ? {} : { paused }),
      ...(bound === undefined ? {} : { bound }),
      ...(challenge === undefined ? {} : { challenge }),
    });
    // Somebody may have come since the move began. The destination is at work meanwhile: a VM that stands still
    // does not wait for this.
    departure?.requireUnheld();
  }

  #refusal(event: SourceEvent): MigrateError {
    const { name, session } = this.#session.record;
    if (event.type === "owned" || (event.type === "accepted" && event.state === "owner")) {
      return new MigrateError(
        "in-doubt",
        `the destination says that it owns ${name}, which this host never released`,
        {
          side: "source",
          hint: `start it nowhere before you have looked at both; session ${session.slice(0, 12)}`,
        },
      );
    }
    const said = `the destination said ${event.type} in the phase ${this.#steps.state.phase}`;
    return new MigrateError("protocol", said, { side: "destination" });
  }
}
