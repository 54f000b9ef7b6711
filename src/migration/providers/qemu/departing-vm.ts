/**
 * A running VM as it departs: it is stopped or mirrored, its RAM is sent, and it is resumed if the move
 * fails. The object lives as long as its session in this process, through any number of links: QEMU's data go
 * over streams, which outlive the links.
 */
import type { ControlLink } from "../../../channel/control-link.ts";
import { MigrateError } from "../../../protocol/errors.ts";
import { limits } from "../../../protocol/limits.ts";
import type { OfferedMachine } from "../../../protocol/offer.ts";
import { StreamPool, type StreamResult, type StreamRoute } from "../../../transfer/streams/stream-pool.ts";
import type { HeldFiles } from "../../../vm/qemu/held-files.ts";
import type { DiskMirror } from "../../../vm/qemu/outgoing/disk-mirror.ts";
import { DiskMirrors } from "../../../vm/qemu/outgoing/disk-mirrors.ts";
import { RamMigration } from "../../../vm/qemu/outgoing/ram-migration.ts";
import { moveMark } from "../../../vm/qemu/outgoing/roll-back.ts";
import type { Qmp } from "../../../vm/qemu/qmp/qmp.ts";
import { qmpFailure } from "../../../vm/qemu/qmp/qmp-error.ts";
import type { RunningVm } from "../../../vm/qemu/running-vm.ts";
import type { Phase } from "../../ownership/phases.ts";
import type { Observer } from "../../report/events.ts";
import type { ProgressMeter } from "../../report/progress-meter.ts";
import type { Tuning } from "../../report/tuning.ts";
import type { Departure, Route, StreamedPart } from "../departure.ts";
import { startedAnew } from "../started-anew.ts";
import { LinkGate } from "../streaming/link-gate.ts";
import { StallWatch } from "../streaming/stall-watch.ts";
import { StreamSockets } from "../streaming/stream-sockets.ts";
import type { DepartingOptions } from "./departing-options.ts";
import { DepartureProgress } from "./departure-progress.ts";
import { GuestHold } from "./guest-hold.ts";
import { imageWarning, slowedNotice } from "./image-warning.ts";
import { requireUnheldBesides } from "./leaving/other-holders.ts";
import { changesOf } from "./processors/changes.ts";
import { RamTuning } from "./ram-tuning.ts";
import { causeOf } from "./stream-failure.ts";

/** How long a VM may be stopped without a link before it is resumed at the source. */
const stoppedPatienceMs = 15_000;
const progressEveryMs = 200;
/** How long QEMU may take to close a connection after it has sent everything. */
const streamEndTimeoutMs = 30_000;

export class DepartingVm implements Departure {
  readonly isResumable = false;
  readonly #vm: RunningVm;
  readonly #options: DepartingOptions;
  readonly #gate = new LinkGate();
  readonly #ram: RamMigration;
  readonly #mirrors: DiskMirrors;
  readonly #progress: DepartureProgress;
  readonly #tuning: RamTuning;
  #instance: string | undefined;
  #link: ControlLink | undefined;
  #pool: StreamPool | undefined;
  #sockets: StreamSockets | undefined;
  #sending: Promise<StreamResult[]> | undefined;
  #results: StreamResult[] = [];
  #failure: MigrateError | undefined;
  #ticker: Timer | undefined;
  /** The phase of a live move; each new link first sets phases of its own. */
  #phase: Phase | undefined;
  readonly #stall: StallWatch;
  readonly #guest: GuestHold;
  #machine: OfferedMachine | undefined;
  /** What ends the link that carries the move now. */
  #linkEnd = Promise.withResolvers<MigrateError>();
  readonly #halted = Promise.withResolvers<never>();

  constructor(vm: RunningVm, options: DepartingOptions) {
    this.#vm = vm;
    this.#options = options;
    this.#ram = new RamMigration(vm.qmp);
    this.#guest = new GuestHold(vm, options.kept);
    this.#stall = new StallWatch(options.stallLimits);
    this.#halted.promise.catch(() => {});
    const mirrored = options.machine.disks.map(({ name, image }, n) => {
      const keepsRoom = image?.preallocation !== undefined;
      return { name, node: vm.disks[n]!.node, keepsRoom };
    });
    this.#mirrors = new DiskMirrors(vm.qmp, mirrored);
    this.#progress = new DepartureProgress(vm, this.#ram, this.#mirrors.all);
    this.#tuning = new RamTuning(this.#ram, options);
  }

  get files(): HeldFiles {
    return this.#options.files;
  }

  /** As it was when it was first asked for: a repeated offer is the same. What has changed since, SEAL tells. */
  get machine(): OfferedMachine {
    this.#machine ??= { ...this.#options.machine, ...(this.#guest.runs ? {} : { paused: true }) };
    return this.#machine;
  }

  get isPaused(): boolean {
    return !this.#guest.runs;
  }

  get isLive(): boolean {
    return this.#options.live;
  }

  get streamed(): readonly StreamedPart[] {
    const { machine } = this.#options;
    return [...machine.disks, { name: "RAM", bytes: this.#vm.definition.ramBytes, atMost: true }];
  }

  /** The VM is the destination's: how its QEMU ends here says nothing of the VM any more. */
  leave(): void {
    this.#guest.close();
  }

  /** A connection to the VM's QEMU, until `close` is called. */
  get qmp(): Qmp {
    return this.#vm.qmp;
  }

  get streams(): readonly StreamResult[] {
    return this.#results;
  }

  get patienceMs(): number {
    // A VM that waits only for its last part, or to write, is better let go on here than left waiting.
    return this.isLive && this.#waits ? stoppedPatienceMs : Number.POSITIVE_INFINITY;
  }

  get #waits(): boolean {
    return this.stoppedAtMs !== undefined || this.#mirrors.areBlocking;
  }

  /** Bytes of the VM that the destination's QEMU has received so far. */
  get carriedBytes(): number {
    const disks = this.#mirrors.all.map(({ number }) => limits.ramStreams + number);
    const streams = [...this.#ramStreams(), ...disks];
    return streams.reduce((sum, stream) => sum + (this.#pool?.carried(stream).toDestination ?? 0), 0);
  }

  /** Why the move has failed for good, whatever the links do. */
  get failure(): MigrateError | undefined {
    return this.#failure;
  }

  /**
   * When the VM was stopped here, in milliseconds on the monotonic clock; undefined while it runs, or if it
   * never ran.
   */
  get stoppedAtMs(): number | undefined {
    return this.#guest.runs ? (this.#guest.stoppedAtMs ?? this.#ram.stoppedAtMs) : undefined;
  }

  onKept(keep: (kept: object) => void): void {
    this.#guest.onKept = keep;
  }

  requireUnheld(): string | null {
    return requireUnheldBesides(this.#vm);
  }

  /**
   * Stops the VM, if its files are to be read from a stopped VM, and looks at it once more: what it was before may
   * have changed. Idempotent. Throws MigrateError "qemu-failed", and "source-changed" if it is another VM now.
   */
  async standStill(): Promise<void> {
    if (this.isLive || this.#guest.stoppedAtMs !== undefined) return;
    try {
      await this.#guest.stop();
    } catch (thrown) {
      throw this.#fail(qmpFailure(thrown, "source"));
    }
    this.files.changed();
  }

  /** Throws MigrateError if the VM does not stand still any more. */
  async requireStill(): Promise<void> {
    try {
      await this.#guest.requireHeld();
    } catch (thrown) {
      throw this.#fail(qmpFailure(thrown, "source"));
    }
  }

  /**
   * Sends all parts of the VM that do not go as chunks. If the link is lost, it is called again on the next
   * one, and resumes. Throws what ended the link, or MigrateError if the move has failed.
   */
  async carry(link: ControlLink, route: Route, meter: ProgressMeter, observe: Observer): Promise<void> {
    link.send("start", {});
    const { body } = await link.expect("started");
    if (this.#instance !== undefined && this.#instance !== body.instance) {
      throw this.#fail(startedAnew(meter.session.name));
    }
    this.#instance = body.instance;
    const warning = this.#sending === undefined ? imageWarning(this.machine, body) : null;
    if (warning !== null) observe({ event: "warning", message: warning });
    const lost = Promise.withResolvers<never>();
    lost.promise.catch(() => {});
    const linkEnd = Promise.withResolvers<MigrateError>();
    this.#linkEnd = linkEnd;
    link.onClosed((error) => {
      linkEnd.resolve(error);
      this.#gate.close();
      lost.reject(error);
    });
    // A new link begins with an offer, and finds the VM in the phase that it had reached.
    if (this.#phase !== undefined) meter.phase(this.#phase);
    this.#gate.open();
    this.#link = link;
    const compression = body.zstd === true ? route.compression : "off";
    this.#sending ??= this.#send(
      { ...route, instance: body.instance, token: body.streamToken, compression },
      meter,
      observe,
    );
    this.#sending.catch(() => {});
    this.#results = await Promise.race([this.#sending, lost.promise]);
  }

  changes: Departure["changes"] = (accepted) =>
    // It has been said on an earlier link.
    this.#sending === undefined ? changesOf(this.#vm.definition, this.machine, accepted) : [];

  #enter(phase: Phase, meter: ProgressMeter): void {
    this.#phase = phase;
    meter.phase(phase);
  }

  async #send(route: StreamRoute, meter: ProgressMeter, observe: Observer): Promise<StreamResult[]> {
    try {
      return await this.#steps(route, meter, observe).finally(() => clearInterval(this.#ticker));
    } catch (thrown) {
      throw this.#fail(this.#failure ?? (await this.#causeOf(thrown, meter.session.name)));
    }
  }

  #causeOf(thrown: unknown, name: string): Promise<MigrateError> {
    const qemu = this.#vm.qmp.closed;
    return causeOf(thrown, { name, streams: this.#sockets?.failed, link: this.#linkEnd.promise, qemu });
  }

  async #steps(route: StreamRoute, meter: ProgressMeter, observe: Observer): Promise<StreamResult[]> {
    const { live, workers, channels, sockets } = this.#options;
    const { session, name } = meter.session;
    const pool = new StreamPool(route, {
      workers,
      bandwidthBytesPerSec: this.#tuning.bandwidthBytesPerSec,
      link: (state, stream, message) => {
        // Only the first stream of each kind reports: all share the network.
        if (stream !== 0 && stream !== limits.ramStreams) return;
        observe({ event: "link", session, name, state, message, attempt: 0, retryInMs: 0 });
      },
      moving: () => this.#link?.alive(),
    });
    this.#pool = pool;
    this.#sockets = new StreamSockets(sockets, pool);
    this.#ticker = setInterval(() => {
      this.#lookForStall();
      this.#paceRam();
      if (this.#gate.isOpen) this.#mirrors.look((n) => observe(slowedNotice(name, this.streamed[n]!.name)));
      this.#progress.tell(meter, observe, pool.sentBytes);
    }, progressEveryMs);
    await this.#guest.begin();
    if (live) this.#enter("pre-copy", meter);
    await this.#mirrors.begin((mirror) => this.#connect(mirror));
    await this.#until(this.#mirrors.ready);
    await this.#sendRam(channels);
    await this.#switchOver(meter);
    await this.#progress.tellLast(meter, observe, pool.sentBytes);
    await this.#mirrors.detach();
    const results = await this.#until(this.#sockets.ended(route.retryForMs + streamEndTimeoutMs));
    // The last bytes were still being sent when QEMU was asked.
    meter.streams(pool.sentBytes);
    return results;
  }

  async #connect(mirror: DiskMirror): Promise<void> {
    await this.#until();
    const opened = this.#sockets!.expect(`disk-${mirror.number}`, [limits.ramStreams + mirror.number]);
    await Promise.all([mirror.connect(opened.path), opened.open]);
  }

  async #sendRam(channels: number): Promise<void> {
    const { live } = this.#options;
    await this.#until();
    const opened = this.#sockets!.expect("ram", this.#ramStreams());
    const before = await this.#guest.begin();
    const { autoConverge, ...tuned } = this.#tuning.begin(before);
    const converges = { autoConverge: autoConverge && live, pause: live };
    const options = { mark: moveMark(this.#options.session), channels, ...tuned, ...converges };
    await this.#ram.begin(opened.path, before, options);
    // If QEMU fails before it opens a channel, its answer tells the reason.
    await this.#until(Promise.race([opened.open, this.#ram.reaches("completed")]));
    await this.#guest.checkDevices();
  }

  /** The guest stops, the disks receive their last writes, and the rest of the RAM is sent. */
  async #switchOver(meter: ProgressMeter): Promise<void> {
    if (this.#options.live) {
      await this.#until(this.#ram.reaches("pre-switchover"));
      this.#enter("stop-and-copy", meter);
      await this.#guest.switchOver();
      // A guest that stops while no link stands would stay stopped until the link is restored.
      await this.#until(this.#gate.passed(stoppedPatienceMs));
      await this.#mirrors.finish();
      await this.#until();
      await this.#ram.proceed();
    }
    await this.#until(this.#ram.reaches("completed"));
  }

  /**
   * Waits for `work`, unless a mirror fails, a stream fails or `halt` is called. Every wait goes through
   * here, but no command to QEMU does: the answer to a command that was sent is always awaited.
   */
  async #until<T>(work?: Promise<T>): Promise<T> {
    const awaited = work ?? (Promise.resolve() as Promise<T>);
    awaited.catch(() => {});
    return await Promise.race([
      this.#halted.promise,
      this.#sockets!.failed,
      this.#guest.failed,
      ...this.#mirrors.all.map((mirror) => mirror.ended.then(() => awaited)),
      awaited,
    ]);
  }

  async tune(tuning: Tuning): Promise<void> {
    const stands = !this.isLive || this.stoppedAtMs !== undefined;
    await this.#tuning.change(tuning, stands ? "the VM stands still already" : null);
    if (tuning.bandwidthBytesPerSec !== undefined) this.#pool?.pace(tuning.bandwidthBytesPerSec);
  }

  async force(): Promise<boolean> {
    if (this.stoppedAtMs !== undefined) return true;
    if (this.#sending === undefined || !this.#gate.isOpen) return false;
    try {
      await this.#guest.stop();
    } catch (thrown) {
      const failure = this.#fail(qmpFailure(thrown, "source"));
      this.#halted.reject(failure);
      throw failure;
    }
    return true;
  }

  /** The bandwidth that compression saves is available for more of the RAM. */
  #paceRam(): void {
    const [ram, pool] = [this.#ramStreams(), this.#pool!];
    const carriedBytes = ram.reduce((sum, stream) => sum + pool.carried(stream).toDestination, 0);
    const sentBytes = ram.reduce((sum, stream) => sum + pool.sentBytesOn(stream), 0);
    this.#tuning.look(carriedBytes, sentBytes);
  }

  /** Sends QEMU no command: while it sends the last part, it answers none. */
  #lookForStall(): void {
    const now = { bytes: this.carriedBytes, stopped: this.#waits };
    const stalledMs = this.#stall.look({ ...now, linked: this.#gate.isOpen }, performance.now());
    if (stalledMs === null) return;
    const said = `the destination took nothing of the VM for ${Math.round(stalledMs / 1000)} s`;
    this.#halted.reject(this.#fail(new MigrateError("network", said, { side: "destination" })));
  }

  #ramStreams(): number[] {
    return Array.from({ length: this.#options.channels + 1 }, (_, channel) => channel);
  }

  /**
   * Ends what is in progress: when this resolves, no command to QEMU is unanswered, and everything can be
   * taken back. Idempotent; never rejects.
   */
  async halt(): Promise<void> {
    this.#guest.close();
    const given = new MigrateError("cancelled", "the move was given up", { side: "source" });
    clearInterval(this.#ticker);
    this.#halted.reject(this.#failure ?? given);
    this.#gate.shut(this.#failure ?? given);
    this.#sockets?.close();
    this.#pool?.close();
    await this.#mirrors.halt();
    await this.#sending?.catch(() => {});
  }

  /** Until it has sent the RAM, QEMU writes nothing: what changes before that is somebody else's doing. */
  rewritten(): number[] {
    return this.isLive || this.#sending === undefined ? [] : this.files.changed();
  }

  close(): void {
    this.files.close();
    this.#vm.qmp.close();
  }

  #fail(error: MigrateError): MigrateError {
    this.#failure ??= error;
    return this.#failure;
  }
}
