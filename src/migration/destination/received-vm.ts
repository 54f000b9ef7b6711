/**
 * What the destination has of one session's VM: its staged files, the QEMU that waits for it where it
 * runs, the token that lets lanes in, and how far all of that is. Knows nothing of requests and records
 * (destination-session.ts).
 */
import { randomBytes } from "node:crypto";
import type { ControlLink } from "../../channel/control-link.ts";
import { MigrateError } from "../../protocol/errors.ts";
import type { MessageBody } from "../../protocol/messages.ts";
import type { Offer } from "../../protocol/offer.ts";
import type { ArrivingStreams } from "../../transfer/doors/arriving-streams.ts";
import type { FromDoor } from "../../transfer/doors/door-messages.ts";
import type { DoorPool } from "../../transfer/doors/door-pool.ts";
import type { LaneFinder, LaneGrant } from "../../transfer/landing/lane-grant.ts";
import { storeFailure } from "../../transfer/landing/store-failure.ts";
import { checkSelfContained } from "../../vm/disks/disk-format.ts";
import type { Journal, SessionRecord } from "../journal/journal.ts";
import { destinationMayRun } from "../ownership/owner.ts";
import type { Phase } from "../ownership/phases.ts";
import type { DestinationRecord } from "../ownership/records.ts";
import type { Arrival, Offered } from "../providers/arrival.ts";
import type { LandingPolicy } from "../providers/provider.ts";
import { providerOf } from "../providers/providers.ts";
import type { Observer } from "../report/events.ts";
import { ProgressMeter } from "../report/progress-meter.ts";
import { checkLane } from "./lane-check.ts";
import { isPublishedBy, publishedManifest } from "./published-manifest.ts";
import { ReceivedFiles } from "./received-files.ts";
import type { StoreLookup } from "./store-lookup.ts";

export interface ReceivedVmContext {
  home: string;
  /** What VMs that run may have here. */
  policy: LandingPolicy;
  journal: Journal;
  /** Undefined while what a crash left is dealt with, before anybody is let in. */
  doors: DoorPool | undefined;
  store: string;
  /** What the store may have of a VM already; null where it is not looked through. */
  lookup: StoreLookup | null;
  observe: Observer;
  now: () => number;
  /** The VM cannot become whole here any more. */
  failed: (error: MigrateError) => void;
}

export class ReceivedVm {
  readonly files: ReceivedFiles;
  readonly #arrival: Arrival;
  readonly #offered: Offered;
  readonly #context: ReceivedVmContext;
  #laneToken: Buffer | undefined;
  /** Where the lanes of the last ACCEPT look for what the store has already. */
  #finder: LaneFinder | null = null;
  #meter: ProgressMeter | undefined;
  /** Bytes of the VM that came on streams. */
  #streamBytes = 0;
  /** This process has seen the QEMU from its start on: what it has not seen has not been. */
  #sure = false;

  constructor(offered: Offered, context: ReceivedVmContext) {
    this.#offered = offered;
    this.#context = context;
    const { session } = offered;
    const tagKey = Buffer.from(offered.tagKey, "hex");
    this.files = new ReceivedFiles(offered.store ?? context.store, session, offered.files, tagKey);
    this.#arrival = providerOf(offered).arrive(offered, context.policy, {
      staging: this.files.staging,
      home: context.home,
      doors: context.doors,
      isOwned: () => {
        const found = context.journal.find(session);
        return found !== null && destinationMayRun(found.state as DestinationRecord, found.mode);
      },
      failed: context.failed,
      received: (wireBytes, handedOnBytes) => this.#received(wireBytes, handedOnBytes),
    });
  }

  /** How long the source may be away before what came is removed, in milliseconds; null for ever. */
  get patienceMs(): number | null {
    return this.#arrival.patienceMs;
  }

  get streams(): ArrivingStreams | undefined {
    return this.#arrival.streams;
  }

  /** True if this process has seen all that happened to what holds the VM: it knows then that it never ran. */
  get isSure(): boolean {
    return this.#sure;
  }

  get figures(): { wireBytes: number; seconds: number } | undefined {
    return this.#meter && { wireBytes: this.#meter.wireBytes, seconds: this.#meter.seconds };
  }

  /** Gets the staged files ready and says what is there already. */
  async accept(link: ControlLink, record: SessionRecord, offer: Offer): Promise<void> {
    await this.quieten();
    const resumed = await this.files.takeStock();
    const { observe, journal, now } = this.#context;
    this.#meter ??= new ProgressMeter(record, observe, journal, now);
    this.#meter.begin(
      [...record.files, ...this.#arrival.streamed],
      [...this.files.heldBytes(), this.#streamBytes],
    );
    this.#laneToken = randomBytes(16);
    const { finder = null, base = false } = this.#context.lookup?.lookup(offer) ?? {};
    this.#finder = finder;
    link.send("accept", {
      state: "receiving",
      laneToken: this.#laneToken.toString("hex"),
      inventory: resumed,
      zstd: true,
      copies: true,
      ...(finder === null ? {} : { index: Buffer.from(finder.key).toString("hex") }),
      ...(base ? { base } : {}),
    });
    if (resumed) {
      for (const frame of this.files.inventory()) link.sendFrame(frame);
      link.send("inventoryEnd", {});
    }
    const { session, name, mode, peer, bytes } = record;
    const told = { session, name, side: "destination", mode, peer, bytes, resumed } as const;
    observe({ event: "session", ...told });
    this.#meter.phase(this.#arrival.isLive ? "pre-copy" : "stop-and-copy");
  }

  /**
   * Starts what takes in a VM that runs, and says that it waits. Throws MigrateError "in-doubt" if the VM is
   * files alone, and "vm-invalid" if one of them is an image that names others.
   */
  async start(link: ControlLink): Promise<void> {
    if (!this.#arrival.hasStreams) {
      throw new MigrateError("in-doubt", "the VM of this session does not run", { side: "destination" });
    }
    this.#sure = true;
    const laneToken = this.#laneToken;
    this.#laneToken = undefined;
    // QEMU reads the heads of the images as it starts: nobody writes to them between our look and its own.
    await this.quieten();
    // A QEMU that lets go of its images may write to them once more: those chunks come a second time.
    this.files.comeAgain();
    this.#checkImages();
    link.send("started", await this.#arrival.start());
    this.#laneToken = laneToken;
  }

  #received(wireBytes: number, handedOnBytes: number): void {
    this.#streamBytes += handedOnBytes;
    this.#meter?.wire(wireBytes);
    this.#meter?.done(this.#offered.files.length, handedOnBytes);
  }

  /** Lets a lane in, or throws why not. */
  grantLane(record: SessionRecord | null, laneToken: string, peer: string): LaneGrant {
    checkLane(record, this.#laneToken, laneToken, peer);
    return this.files.grant(this.#offered.session, this.#finder);
  }

  /** Chunks that a lane has checked and written. */
  chunks({ places, tags, bytesReceived }: Extract<FromDoor, { kind: "chunks" }>): void {
    this.files.wrote(places, tags, (file, bytes) => this.#meter?.done(file, bytes));
    this.#meter?.wire(bytesReceived);
  }

  /** Makes all that was received durable and compares it. Throws what keeps it from being ready. */
  async seal(seal: MessageBody<"seal">): Promise<void> {
    const { name } = this.#offered;
    const streams = seal.streams ?? [];
    this.#laneToken = undefined;
    await this.quieten();
    this.phase("seal");
    await this.#arrival.seal(streams);
    await this.files.seal(name, seal.digest, seal.files, streams);
    this.#checkImages();
  }

  /** An image may name other files, which QEMU would open: none that does is let near it. Throws MigrateError "vm-invalid". */
  #checkImages(): void {
    for (const [i, { kind, name }] of this.#offered.files.entries()) {
      if (kind === "disk" || kind === "boot") checkSelfContained(this.files.staging.paths[i]!, name);
    }
  }

  /** What must be so for the VM to be owned. Throws MigrateError "store-failed" or NeverRan. */
  async checkReady(): Promise<void> {
    this.files.staging.checkPresent();
    await this.#arrival.checkReady();
    // Nobody resumes a VM before it is owned.
    this.#sure = true;
  }

  /** Gives the VM its final name. Idempotent. Throws MigrateError. */
  publish(record: SessionRecord): void {
    this.phase("handover");
    try {
      const manifest = publishedManifest(record, this.#context.now());
      const folder = this.files.staging.publish(record.name, manifest, this.#isOurs);
      this.#arrival.relink(folder);
    } catch (thrown) {
      throw storeFailure(thrown);
    }
  }

  /** Resumes a running VM, or sees that it runs; nothing if it is files alone. Throws NeverRan, or "in-doubt". */
  async run(): Promise<void> {
    await this.#arrival.resume(this.#sure);
  }

  /** Ends what holds a running VM. Idempotent. */
  async end(): Promise<void> {
    await this.quieten();
    await this.#arrival.end();
  }

  /** Removes what is there, under whichever name. Idempotent. */
  async remove(): Promise<void> {
    await this.quieten();
    this.files.staging.unpublish(this.#offered.name, this.#isOurs);
    this.files.remove();
  }

  /** No lane of this session writes any more, and all they wrote has been heard of. Streams go on. */
  async quieten(): Promise<void> {
    const { doors } = this.#context;
    doors?.postAll({ kind: "drop-session", session: this.#offered.session });
    await doors?.barrier();
  }

  closeLanes(): void {
    this.#laneToken = undefined;
  }

  phase(phase: Phase): void {
    this.#meter?.phase(phase);
  }

  pause(): void {
    this.#meter?.pause();
  }

  /** The session is over: the VM is this host's own. */
  leave(): void {
    this.#arrival.leave();
    this.#meter?.finish();
  }

  /** A running VM's QEMU is left to itself; another part of this program may take it over. */
  letBe(): void {
    this.#arrival.leave();
  }

  readonly #isOurs = (folder: string) => isPublishedBy(folder, this.#offered.session);
}
