/**
 * A running VM as it departs: stopped or mirrored, its RAM sent, let go on where nothing comes of it. Lives
 * as long as its session in this process, through any number of links: what QEMU sends goes over streams,
 * which outlive them.
 */
import type { ControlLink } from "../../../channel/control-link.ts";
import { MigrateError } from "../../../protocol/errors.ts";
import { limits } from "../../../protocol/limits.ts";
import type { OfferedMachine } from "../../../protocol/offer.ts";
import { StreamPool, type StreamResult, type StreamRoute } from "../../../transfer/streams/stream-pool.ts";
import { DiskMirror } from "../../../vm/qemu/disk-mirror.ts";
import type { HeldFiles } from "../../../vm/qemu/held-files.ts";
import type { Qmp } from "../../../vm/qemu/qmp/qmp.ts";
import { qmpFailure } from "../../../vm/qemu/qmp/qmp-error.ts";
import { RamMigration } from "../../../vm/qemu/ram-migration.ts";
import type { RunningVm } from "../../../vm/qemu/running-vm.ts";
import type { Phase } from "../../ownership/phases.ts";
import type { Observer } from "../../report/events.ts";
import type { ProgressMeter } from "../../report/progress-meter.ts";
import type { Departure, Route, StreamedPart } from "../departure.ts";
import { DepartureProgress } from "./departure-progress.ts";
import { LinkGate } from "./link-gate.ts";
import { RamPace } from "./ram-pace.ts";
import { type StallLimits, StallWatch } from "./stall-watch.ts";
import { StreamSockets } from "./stream-sockets.ts";

export interface DepartingOptions {
  /** The files that go as chunks, open. */
  files: HeldFiles;
  /** Bytes that each of them takes on the disk. */
  allocatedBytes: readonly number[];
  /** What is offered of the VM. */
  machine: OfferedMachine;
  /** Mirror the disks while the VM runs; else it is stopped before anything is sent. */
  live: boolean;
  downtimeLimitMs: number;
  /** Channels of the RAM beside the main one. */
  channels: number;
  autoConverge: boolean;
  bandwidthBytesPerSec: number | null;
  /** Threads that carry streams. */
  workers: number;
  /** A folder of this user's alone, for sockets. */
  socketFolder: string;
  /** In place of the usual ones. */
  stallLimits?: StallLimits | undefined;
}

/** How long a VM may stand still for want of a link before it is let go on at the source. */
const stoppedPatienceMs = 15_000;
const progressEveryMs = 200;
/** QEMU may take its time to close a connection when it has said all. */
const streamEndTimeoutMs = 30_000;

export class DepartingVm implements Departure {
  readonly isResumable = false;
  readonly #vm: RunningVm;
  readonly #options: DepartingOptions;
  readonly #gate = new LinkGate();
  readonly #ram: RamMigration;
  readonly #mirrors: DiskMirror[];
  readonly #progress: DepartureProgress;
  readonly #pace: RamPace | undefined;
  #instance: string | undefined;
  #pool: StreamPool | undefined;
  #sockets: StreamSockets | undefined;
  #sending: Promise<StreamResult[]> | undefined;
  #results: StreamResult[] = [];
  #stoppedAtMs: number | undefined;
  #failure: MigrateError | undefined;
  #ticker: Timer | undefined;
  /** How far a live move has come; the links have phases of their own. */
  #phase: Phase | undefined;
  readonly #stall: StallWatch;
  readonly #halted = Promise.withResolvers<never>();

  constructor(vm: RunningVm, options: DepartingOptions) {
    this.#vm = vm;
    this.#options = options;
    this.#ram = new RamMigration(vm.qmp);
    this.#stall = new StallWatch(options.stallLimits);
    this.#halted.promise.catch(() => {});
    this.#mirrors = options.live ? vm.disks.map(({ node }, n) => new DiskMirror(vm.qmp, n, node)) : [];
    this.#progress = new DepartureProgress(vm, this.#ram, this.#mirrors);
    const { bandwidthBytesPerSec } = options;
    if (bandwidthBytesPerSec !== null) this.#pace = new RamPace(bandwidthBytesPerSec);
  }

  get files(): HeldFiles {
    return this.#options.files;
  }

  get allocatedBytes(): readonly number[] {
    return this.#options.allocatedBytes;
  }

  get machine(): OfferedMachine {
    return this.#options.machine;
  }

  get isLive(): boolean {
    return this.#options.live;
  }

  get streamed(): readonly StreamedPart[] {
    const { machine } = this.#options;
    return [...machine.disks, { name: "RAM", bytes: this.#vm.definition.ramBytes, atMost: true }];
  }

  /** A connection to the VM's QEMU, as long as `close` was not called. */
  get qmp(): Qmp {
    return this.#vm.qmp;
  }

  get streams(): readonly StreamResult[] {
    return this.#results;
  }

  get patienceMs(): number {
    // A VM that stands still for nothing but its last part is better resumed here.
    const waits = this.isLive && this.stoppedAtMs !== undefined;
    return waits ? stoppedPatienceMs : Number.POSITIVE_INFINITY;
  }

  /** Bytes of the VM that the destination's QEMU has been handed so far. */
  get carriedBytes(): number {
    return this.#streams().reduce((sum, stream) => sum + (this.#pool?.carried(stream).toDestination ?? 0), 0);
  }

  /** Why nothing can come of it any more, whatever the links do. */
  get failure(): MigrateError | undefined {
    return this.#failure;
  }

  /** Since when the VM does not run here, on the monotonic clock; undefined while it does, or where it never did. */
  get stoppedAtMs(): number | undefined {
    return this.#vm.running ? (this.#stoppedAtMs ?? this.#ram.stoppedAtMs) : undefined;
  }

  /** Stops the VM, if it is to be stopped before its files are read. Idempotent. Throws MigrateError "qemu-failed". */
  async standStill(): Promise<void> {
    if (this.#options.live || this.#stoppedAtMs !== undefined) return;
    const nowMs = performance.now();
    try {
      if (this.#vm.running) await this.#vm.qmp.execute("stop");
    } catch (thrown) {
      throw qmpFailure(thrown, "source");
    }
    this.#stoppedAtMs = nowMs;
  }

  /**
   * Has all of the VM sent that does not go as chunks; may be called again on the next link, where this
   * one is lost, and then goes on. Throws what ended the link, or MigrateError where the move has failed.
   */
  async carry(link: ControlLink, route: Route, meter: ProgressMeter, observe: Observer): Promise<void> {
    link.send("start", {});
    const { body } = await link.expect("started");
    if (this.#instance !== undefined && this.#instance !== body.instance) {
      throw this.#fail(
        new MigrateError("qemu-failed", "the destination's QEMU is another one than the VM was sent to", {
          side: "destination",
        }),
      );
    }
    this.#instance = body.instance;
    const lost = Promise.withResolvers<never>();
    lost.promise.catch(() => {});
    link.onClosed((error) => {
      this.#gate.close();
      lost.reject(error);
    });
    // A new link begins with an offer, and finds the VM as far on its way as it was.
    if (this.#phase !== undefined) meter.phase(this.#phase);
    this.#gate.open();
    const compression = body.zstd === true ? route.compression : "off";
    this.#sending ??= this.#send(
      { ...route, instance: body.instance, token: body.streamToken, compression },
      meter,
      observe,
    );
    this.#sending.catch(() => {});
    this.#results = await Promise.race([this.#sending, lost.promise]);
  }

  #enter(phase: Phase, meter: ProgressMeter): void {
    this.#phase = phase;
    meter.phase(phase);
  }

  async #send(route: StreamRoute, meter: ProgressMeter, observe: Observer): Promise<StreamResult[]> {
    try {
      return await this.#steps(route, meter, observe);
    } catch (thrown) {
      throw this.#fail(qmpFailure(thrown, "source"));
    } finally {
      clearInterval(this.#ticker);
    }
  }

  async #steps(route: StreamRoute, meter: ProgressMeter, observe: Observer): Promise<StreamResult[]> {
    const { live, workers, bandwidthBytesPerSec, channels, socketFolder } = this.#options;
    const { session, name } = meter.session;
    const pool = new StreamPool(route, {
      workers,
      bandwidthBytesPerSec,
      link: (state, stream, message) => {
        // The first stream speaks for all: they share the network.
        if (stream !== 0 && stream !== limits.ramStreams) return;
        observe({ event: "link", session, name, state, message, attempt: 0, retryInMs: 0 });
      },
    });
    this.#pool = pool;
    this.#sockets = new StreamSockets(socketFolder, pool);
    this.#ticker = setInterval(() => {
      this.#lookForStall();
      this.#paceRam();
      this.#progress.tell(meter, observe, pool.sentBytes);
    }, progressEveryMs);
    if (live) this.#enter("pre-copy", meter);
    // All greet before the first begins: the guest stands still meanwhile, and bulk data would be in the way.
    for (const mirror of this.#mirrors) await this.#connect(mirror);
    for (const mirror of this.#mirrors) await mirror.begin();
    await this.#until(Promise.all(this.#mirrors.map((mirror) => mirror.ready)));
    await this.#sendRam(channels);
    await this.#switchOver(meter);
    await this.#progress.tellLast(meter, observe, pool.sentBytes);
    for (const mirror of this.#mirrors) await mirror.detach();
    const results = await this.#until(this.#sockets.ended(route.retryForMs + streamEndTimeoutMs));
    // The last of it was still on its way when QEMU was asked.
    meter.streams(pool.sentBytes);
    return results;
  }

  async #connect(mirror: DiskMirror): Promise<void> {
    await this.#until();
    const opened = this.#sockets!.expect(`disk-${mirror.number}`, [limits.ramStreams + mirror.number]);
    await Promise.all([mirror.connect(opened.path), opened.open]);
  }

  async #sendRam(channels: number): Promise<void> {
    const { downtimeLimitMs, autoConverge, bandwidthBytesPerSec, live } = this.#options;
    await this.#until();
    const opened = this.#sockets!.expect("ram", this.#ramStreams());
    await this.#ram.begin(opened.path, {
      downtimeLimitMs,
      channels,
      autoConverge: autoConverge && live,
      bandwidthBytesPerSec,
      pause: live,
    });
    // QEMU says why it broke off before a channel could be opened.
    await this.#until(Promise.race([opened.open, this.#ram.reaches("completed")]));
  }

  /** The guest stops, the disks get their last writes, and the rest of the RAM goes. */
  async #switchOver(meter: ProgressMeter): Promise<void> {
    if (this.#options.live) {
      await this.#until(this.#ram.reaches("pre-switchover"));
      this.#enter("stop-and-copy", meter);
      // A guest that is stopped while nobody can be told would stay so for as long as the link is away.
      await this.#until(this.#gate.passed(stoppedPatienceMs));
      for (const mirror of this.#mirrors) await mirror.finish();
      await this.#until();
      await this.#ram.proceed();
    }
    await this.#until(this.#ram.reaches("completed"));
  }

  /**
   * Waits for `work`, unless a mirror breaks off, a stream fails or all is halted. Every wait goes through
   * here, and no command to QEMU does: one that was given is always seen to its answer.
   */
  async #until<T>(work?: Promise<T>): Promise<T> {
    const awaited = work ?? (Promise.resolve() as Promise<T>);
    awaited.catch(() => {});
    return await Promise.race([
      this.#halted.promise,
      this.#sockets!.failed,
      ...this.#mirrors.map((mirror) => mirror.ended.then(() => awaited)),
      awaited,
    ]);
  }

  /** What compressing leaves out of the RAM is room for more of it. */
  #paceRam(): void {
    const [ram, pool] = [this.#ramStreams(), this.#pool!];
    const carriedBytes = ram.reduce((sum, stream) => sum + pool.carried(stream).toDestination, 0);
    const sentBytes = ram.reduce((sum, stream) => sum + pool.sentBytesOn(stream), 0);
    const bandwidthBytesPerSec = this.#pace?.look(carriedBytes, sentBytes);
    // Where QEMU is gone, what waits for it says so.
    if (bandwidthBytesPerSec != null) this.#ram.pace(bandwidthBytesPerSec).catch(() => {});
  }

  /** Asks nothing of QEMU, which answers nothing while it sends the last part. */
  #lookForStall(): void {
    const bytes = this.carriedBytes;
    const stopped = this.stoppedAtMs !== undefined;
    const stalledMs = this.#stall.look({ bytes, stopped, linked: this.#gate.isOpen }, performance.now());
    if (stalledMs === null) return;
    const said = `the destination took nothing of the VM for ${Math.round(stalledMs / 1000)} s`;
    this.#halted.reject(this.#fail(new MigrateError("network", said, { side: "destination" })));
  }

  #streams(): number[] {
    return [...this.#ramStreams(), ...this.#mirrors.map(({ number }) => limits.ramStreams + number)];
  }

  #ramStreams(): number[] {
    return Array.from({ length: this.#options.channels + 1 }, (_, channel) => channel);
  }

  /**
   * Ends what is under way: when this resolves, no command of ours to QEMU is left, and it may be asked to
   * take everything back. Idempotent; never rejects.
   */
  async halt(): Promise<void> {
    const given = new MigrateError("cancelled", "the move was given up", { side: "source" });
    clearInterval(this.#ticker);
    this.#halted.reject(this.#failure ?? given);
    this.#gate.shut(this.#failure ?? given);
    this.#sockets?.close();
    this.#pool?.close();
    await this.#sending?.catch(() => {});
  }

  rewritten(): number[] {
    return this.files.changed();
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
