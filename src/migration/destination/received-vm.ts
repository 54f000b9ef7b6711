/**
 * What the destination has of one session's VM: its staged files, the QEMU that waits for it if it runs, the
 * token that admits lanes, and the progress. Knows nothing of requests and records (destination-session.ts).
 */
import { randomBytes } from "node:crypto";
import { existsSync } from "node:fs";
import { join } from "node:path";
import type { ControlLink } from "../../channel/control-link.ts";
import { freeBytes } from "../../platform/files/filesystem.ts";
import { MigrateError } from "../../protocol/errors.ts";
import type { MessageBody } from "../../protocol/messages.ts";
import { isImage, type Offer, type ReadBack, type VerifyKind } from "../../protocol/offer.ts";
import type { ArrivingStreams } from "../../transfer/doors/arriving-streams.ts";
import type { FromDoor } from "../../transfer/doors/door-messages.ts";
import type { DoorPool } from "../../transfer/doors/door-pool.ts";
import type { LaneFinder, LaneGrant } from "../../transfer/landing/lane-grant.ts";
import { tagsOf } from "../../transfer/landing/read-tags.ts";
import { storeFailure } from "../../transfer/landing/store-failure.ts";
import { checkImage } from "../../vm/disks/disk-format.ts";
import { checkLanded, type Landed } from "../../vm/folder/staging.ts";
import type { Journal, SessionRecord } from "../journal/journal.ts";
import { destinationMayRun } from "../ownership/owner.ts";
import type { Phase } from "../ownership/phases.ts";
import type { DestinationRecord } from "../ownership/records.ts";
import { careFor } from "../providers/after-care.ts";
import type { Arrival, Offered } from "../providers/arrival.ts";
import type { LandingPolicy, SealedBound } from "../providers/provider.ts";
import { providerOf } from "../providers/providers.ts";
import { strangeTpm } from "../providers/recorded-tpm.ts";
import type { Observer } from "../report/events.ts";
import { ProgressMeter } from "../report/progress-meter.ts";
import { checkLane } from "./lane-check.ts";
import { isPublishedBy, publishedManifest } from "./published-manifest.ts";
import { ReceivedFiles } from "./received-files.ts";
import type { StoreLookup } from "./store-lookup.ts";

/** So much of an inventory is made and sent before its source has taken it. */
const flushEveryBytes = 512 * 1024;

export interface ReceivedVmContext {
  home: string;
  /** What this destination allows running VMs. */
  policy: LandingPolicy;
  journal: Journal;
  /**
   * Undefined while the sessions that a crash interrupted are recovered, before any connection is accepted.
   */
  doors: DoorPool | undefined;
  store: string;
  /** Looks up what the store has of a VM already; null if the store is not searched. */
  lookup: StoreLookup | null;
  observe: Observer;
  now: () => number;
  /** Called if the VM can no longer become whole here. */
  failed: (error: MigrateError) => void;
  /** Called with the bytes of the VM that came, on lanes or streams. */
  arrived: (bytes: number) => void;
}

export class ReceivedVm {
  readonly files: ReceivedFiles;
  readonly #arrival: Arrival;
  #offered: Offered;
  readonly #context: ReceivedVmContext;
  #laneToken: Buffer | undefined;
  /** Where the lanes of the last ACCEPT look up what the store has already. */
  #finder: LaneFinder | null = null;
  /** What the last offer asks for. */
  #verify: VerifyKind = "off";
  #readBack: ReadBack = "none";
  /** Of the VM's virtual TPM, as the last seal says. */
  #ek: string | undefined;
  #meter: ProgressMeter | undefined;
  /** Bytes of the VM that were received on streams. */
  #streamBytes = 0;
  /** True if this process has seen everything that happened to QEMU: what it has not seen did not happen. */
  #sure = false;

  constructor(offered: Offered, context: ReceivedVmContext) {
    this.#offered = offered;
    this.#context = context;
    const { session } = offered;
    const tagKey = Buffer.from(offered.tagKey, "hex");
    this.files = new ReceivedFiles(
      offered.store ?? context.store,
      session,
      offered.files,
      tagKey,
      (tagged) => (context.doors === undefined ? tagsOf(tagged) : context.doors.tagsOf(tagged)),
    );
    this.#arrival = providerOf(offered).arrive(offered, context.policy, {
      staging: this.files.staging,
      home: context.home,
      doors: context.doors,
      isOwned: () => {
        const found = context.journal.find(session);
        return found !== null && destinationMayRun(found.state as DestinationRecord, found.mode);
      },
      failed: context.failed,
      received: (...bytes) => this.#received(...bytes),
      notice: (message) => context.observe({ event: "notice", message: `${offered.name}: ${message}` }),
    });
  }

  /** Files of the VM are longer than they were: `offered` is what it is now. */
  grow(offered: Offered): void {
    this.#offered = offered;
    this.files.grow(offered.files);
  }

  /**
   * How long the source may be away before the received data are removed, in milliseconds; null if forever.
   */
  get patienceMs(): number | null {
    return this.#arrival.patienceMs;
  }

  /** From where the files were read back when they were sealed. */
  get readBack(): ReadBack {
    return this.#readBack;
  }

  get streams(): ArrivingStreams | undefined {
    return this.#arrival.streams;
  }

  /**
   * True if this process has seen everything that happened to the program that holds the VM, and so knows
   * that the VM never ran.
   */
  get isSure(): boolean {
    return this.#sure;
  }

  get figures(): { wireBytes: number; seconds: number } | undefined {
    return this.#meter && { wireBytes: this.#meter.wireBytes, seconds: this.#meter.seconds };
  }

  /**
   * Prepares the staged files, and sends ACCEPT with an inventory of what is there already. Throws
   * MigrateError.
   */
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
    const { finder = null, base = false } = this.#context.lookup?.lookup(offer, record.peer) ?? {};
    this.#finder = finder;
    const { cards, vnc } = this.#arrival;
    this.#verify = offer.verify ?? "off";
    link.send("accept", {
      state: "receiving",
      laneToken: this.#laneToken.toString("hex"),
      inventory: resumed,
      zstd: true,
      copies: true,
      proves: true,
      binds: true,
      ...(finder === null ? {} : { index: Buffer.from(finder.key).toString("hex") }),
      ...(base ? { base } : {}),
      ...(cards === undefined ? {} : { cards }),
      ...(vnc === undefined ? {} : { vnc }),
      ...(offer.machine?.processor === undefined ? {} : { processor: true }),
    });
    if (resumed) {
      let unreadBytes = 0;
      for (const frame of this.files.inventory()) {
        link.sendFrame(frame);
        unreadBytes += frame.length;
        if (unreadBytes < flushEveryBytes) continue;
        await link.flushed();
        unreadBytes = 0;
      }
      link.send("inventoryEnd", {});
    }
    const { session, name, mode, peer, bytes } = record;
    const told = { session, name, side: "destination", mode, peer, bytes, resumed } as const;
    observe({ event: "session", ...told });
    this.#meter.phase(this.#arrival.isLive ? "pre-copy" : "stop-and-copy");
  }

  /**
   * Starts the program that receives a running VM, and sends STARTED. Throws MigrateError "in-doubt" if the
   * VM is only files, "vm-invalid" if one of them is an image that names other files, and as `Arrival.start`.
   */
  async start(link: ControlLink): Promise<void> {
    if (!this.#arrival.hasStreams) {
      throw new MigrateError("in-doubt", "the VM of this session does not run", { side: "destination" });
    }
    this.#sure = true;
    const laneToken = this.#laneToken;
    this.#laneToken = undefined;
    // QEMU reads the images' headers as it starts: no lane may write to them between this check and that.
    await this.quieten();
    // QEMU may write to its images once more as it closes them at the source: those chunks come a second
    // time.
    this.files.comeAgain();
    this.#checkImages();
    link.send("started", await this.#arrival.start());
    this.#laneToken = laneToken;
  }

  #received(wireBytes: number, handedOnBytes: number, storedBytes: number): void {
    this.#streamBytes += storedBytes;
    if (handedOnBytes > 0) this.#context.arrived(storedBytes);
    this.#meter?.wire(wireBytes);
    this.#meter?.done(this.#offered.files.length, handedOnBytes);
  }

  /** Returns what a lane needs to write. Throws MigrateError if the lane is refused. */
  grantLane(record: SessionRecord | null, laneToken: string, peer: string): LaneGrant {
    checkLane(record, this.#laneToken, laneToken, peer);
    return this.files.grant(this.#offered.session, this.#finder);
  }

  /** Takes chunks that a lane has checked and written. */
  chunks({ places, tags, bytesReceived }: Extract<FromDoor, { kind: "chunks" }>): void {
    let cameBytes = 0;
    this.files.wrote(places, tags, (file, bytes) => {
      cameBytes += bytes;
      this.#meter?.done(file, bytes);
    });
    this.#meter?.wire(bytesReceived);
    this.#context.arrived(cameBytes);
  }

  /** Bytes of the VM that are here, as far as is known without a look at the disk. */
  get heldBytes(): number {
    return this.files.heldBytes().reduce((sum, bytes) => sum + bytes, this.#streamBytes);
  }

  /** True if this VM takes more of the disk than is left beside `owedBytes` that others are to have. */
  isShortOfRoom(owedBytes: number): boolean {
    return freeBytes(this.files.staging.folder) < owedBytes;
  }

  /**
   * Compares everything that was received with SEAL, and makes it durable. Throws MigrateError if the VM
   * cannot be READY.
   */
  async seal(seal: MessageBody<"seal">): Promise<void> {
    const { name, vm } = this.#offered;
    const bound = seal.bound && { vm, ...seal.bound };
    this.#ek = bound?.ek;
    const streams = seal.streams ?? [];
    this.#laneToken = undefined;
    await this.quieten();
    this.phase("seal");
    await this.#arrival.seal(seal);
    const verify = this.#verify;
    this.#readBack = await this.files.seal(name, seal.digest, seal.files, { streams, verify, bound });
    this.#checkImages();
  }

  /**
   * READY, with the proof that the sealed files can be read now, if SEAL asks for one. Throws MigrateError
   * "store-failed".
   */
  ready({ digest, challenge }: MessageBody<"seal">): MessageBody<"ready"> {
    return {
      digest,
      readBack: this.#readBack,
      ...(challenge === undefined ? {} : { proof: this.files.proof(challenge, digest) }),
    };
  }

  /**
   * To be called while no lane writes. Throws MigrateError "vm-invalid" if an image is not what it was declared to
   * be, or names other files: QEMU would open them.
   */
  #checkImages(): void {
    const forQemu = this.#arrival.hasStreams;
    for (const [i, { kind, name, format }] of this.#offered.files.entries()) {
      if (!isImage(kind)) continue;
      checkImage(this.files.staging.paths[i]!, { shownAs: name, declared: format, forQemu });
    }
  }

  /** Which files were sealed. Throws MigrateError "store-failed" if one is gone. */
  landed(record: SessionRecord): Landed {
    return this.files.staging.landed(providerOf(record).sealedPaths(record));
  }

  /** Checks that this host can own the VM. Throws MigrateError "store-failed" or NeverRan. */
  async checkReady(record: SessionRecord): Promise<void> {
    const { staging } = this.files;
    staging.checkPresent();
    checkLanded(staging.folder, providerOf(record).landed(record));
    await this.#arrival.checkReady();
    // No process resumes a VM before it is owned.
    this.#sure = true;
  }

  /** Gives the VM its final name. Idempotent. Throws MigrateError. */
  publish(record: SessionRecord): void {
    this.phase("handover");
    const { staging } = this.files;
    const landed = providerOf(record).landed(record);
    try {
      if (existsSync(staging.folder)) checkLanded(staging.folder, landed);
      const manifest = publishedManifest(record, this.#context.now(), staging.stamps());
      const folder = staging.publish(record.name, manifest, this.#isOurs);
      // Looked at once more under its final name: until it had that, others may have taken it for rubbish.
      checkLanded(folder, landed);
      this.#arrival.relink(folder);
    } catch (thrown) {
      throw storeFailure(thrown);
    }
  }

  /**
   * Resumes a running VM, or checks that it runs; does nothing if the VM is only files. Throws NeverRan, or
   * MigrateError "in-doubt".
   */
  async run(): Promise<void> {
    await this.#arrival.resume(this.#sure);
    // The source, and the guest, do not wait for it.
    careFor(this.#checkTpm());
    const { session, name } = this.#offered;
    const { screen } = this.#arrival;
    if (screen !== undefined) this.#context.observe({ event: "notice", session, name, message: screen });
  }

  /** Whether the TPM that it runs with is the one that was sealed with it. Never rejects. */
  async #checkTpm(): Promise<void> {
    const { session, name, store, kept } = this.#offered;
    const ek = this.#ek ?? (kept as { bound?: SealedBound } | null)?.bound?.ek;
    const folder = join(store ?? this.#context.store, name);
    const path = providerOf(this.#offered).tpmThere?.(this.#offered, folder) ?? null;
    const message = ek === undefined || path === null ? null : await strangeTpm(name, ek, path);
    if (message !== null) this.#context.observe({ event: "warning", session, name, message });
  }

  /** Ends the programs that hold a running VM. Idempotent. */
  async end(): Promise<void> {
    await this.quieten();
    await this.#arrival.end();
  }

  /** Removes what was received, whether it is staged or has its final name. Idempotent. */
  async remove(): Promise<void> {
    await this.quieten();
    this.files.staging.unpublish(this.#offered.name, this.#isOurs);
    this.files.remove();
  }

  /**
   * When this resolves, no lane of this session writes any more, and everything that was written has been
   * reported. Streams are not affected.
   */
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

  /** The session has ended: the VM is this host's own. */
  leave(): void {
    this.#arrival.leave();
    this.#meter?.finish();
    this.files.forget();
  }

  /** Leaves the QEMU of a running VM as it is: another process of this program may take it over. */
  letBe(): void {
    this.#arrival.leave();
  }

  readonly #isOurs = (folder: string) => isPublishedBy(folder, this.#offered.session);
}
