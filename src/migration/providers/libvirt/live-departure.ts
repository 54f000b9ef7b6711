/**
 * A domain that leaves while it runs: the source's libvirtd migrates it peer to peer over sockets that this program
 * carries, and is given the answer to its last call (FINISH) only once it is decided whose the domain is. Until then the
 * domain stands here, paused, with all it has, and libvirtd lets it go on as soon as that call fails.
 */
import { join } from "node:path";
import type { ControlLink } from "../../../channel/control-link.ts";
import { isEnding, type ProcessId } from "../../../platform/process-id.ts";
import { UnixListener } from "../../../platform/unix-listener.ts";
import { asMigrateError, MigrateError } from "../../../protocol/errors.ts";
import { limits } from "../../../protocol/limits.ts";
import type { OfferedDomain } from "../../../protocol/offer.ts";
import { StreamPool, type StreamResult, type StreamRoute } from "../../../transfer/streams/stream-pool.ts";
import type { OpenFiles } from "../../../vm/folder/open-files.ts";
import { domainProcess, endedInMove, ending } from "../../../vm/libvirt/domain-process.ts";
import { HeldDisks } from "../../../vm/libvirt/held-disks.ts";
import { MigrateCommand, notHeld } from "../../../vm/libvirt/migrate-command.ts";
import { GateRelay } from "../../../vm/libvirt/rpc/gate-relay.ts";
import { type SourceEvent, SourceGate } from "../../../vm/libvirt/rpc/source-gate.ts";
import type { Virsh } from "../../../vm/libvirt/virsh.ts";
import type { Phase } from "../../ownership/phases.ts";
import type { Observer } from "../../report/events.ts";
import type { ProgressMeter } from "../../report/progress-meter.ts";
import type { Tuning } from "../../report/tuning.ts";
import { requireBandwidthAlone } from "../bandwidth-alone.ts";
import type { Departure, Route, StreamedPart } from "../departure.ts";
import { startedAnew } from "../started-anew.ts";
import type { SocketPlace } from "../streaming/socket-place.ts";
import { StallWatch } from "../streaming/stall-watch.ts";
import { StreamSockets } from "../streaming/stream-sockets.ts";
import type { SourceLibvirtRecord } from "./libvirt-records.ts";

export interface LiveDepartureOptions {
  changes: Departure["changes"];
  virsh: Virsh;
  uuid: string;
  name: string;
  /** What the journal keeps of it. */
  kept: SourceLibvirtRecord;
  domain: OfferedDomain;
  /** Targets of the disks that are mirrored, in the order of the offer. */
  targets: readonly string[];
  /** Where they lie here. */
  paths: readonly string[];
  ramBytes: number;
  /** What goes as chunks: what the domain was started from and never writes. */
  files: OpenFiles;
  fileCount: number;
  requireUnheld: () => string | null;
  downtimeLimitMs: number;
  autoConverge: boolean;
  bandwidthBytesPerSec: number | null;
  workers: number;
  sockets: SocketPlace;
}

/** Streams of a domain: its RAM, what the two libvirtd say to each other, and a disk each. */
export const domainStreams = {
  ram: 0,
  rpc: 1,
  disk: (n: number) => limits.ramStreams + n,
} as const;

/** How long a domain may be stopped without a link before it goes on at the source. */
const stoppedPatienceMs = 15_000;
const progressEveryMs = 500;
const streamEndTimeoutMs = 30_000;

export class LiveDeparture implements Departure {
  readonly machine = undefined;
  readonly isLive = true;
  readonly isResumable = false;
  readonly #options: LiveDepartureOptions;
  readonly #gate: SourceGate;
  readonly #command: MigrateCommand;
  readonly #stall = new StallWatch();
  readonly #halted = Promise.withResolvers<never>();
  #relay: GateRelay<SourceEvent> | undefined;
  readonly #aborted = new AbortController();
  #instance: string | undefined;
  #link: ControlLink | undefined;
  #isLinked = false;
  #pool: StreamPool | undefined;
  #sockets: StreamSockets | undefined;
  #sending: Promise<StreamResult[]> | undefined;
  #results: StreamResult[] = [];
  #phase: Phase | undefined;
  #qemu: ProcessId | null = null;
  readonly #held = new HeldDisks();
  #keep: (kept: object) => void = () => {};
  #tuned: Tuning = {};
  #ticker: Timer | undefined;
  failure: MigrateError | undefined;

  constructor(options: LiveDepartureOptions) {
    this.#options = options;
    this.#halted.promise.catch(() => {});
    const { name, uuid, targets, sockets, virsh } = options;
    this.#gate = new SourceGate({
      name,
      uuid,
      disks: targets,
      migrateUri: `unix://${join(sockets.folder, "ram")}`,
    });
    this.#command = new MigrateCommand(virsh, uuid);
  }

  get files(): OpenFiles {
    return this.#options.files;
  }

  get domain(): OfferedDomain {
    return this.#options.domain;
  }

  get isPaused(): boolean {
    return this.#options.domain.state === "paused";
  }

  get streamed(): readonly StreamedPart[] {
    const { domain, ramBytes } = this.#options;
    return [...domain.live!.disks, { name: "RAM", bytes: ramBytes, atMost: true }];
  }

  get streams(): readonly StreamResult[] {
    return this.#results;
  }

  get carriedBytes(): number {
    return this.#streamed().reduce(
      (sum, stream) => sum + (this.#pool?.carried(stream).toDestination ?? 0),
      0,
    );
  }

  get stoppedAtMs(): number | undefined {
    return this.isPaused ? undefined : this.#command.stoppedAtMs;
  }

  get patienceMs(): number {
    return this.#command.stoppedAtMs === undefined ? Number.POSITIVE_INFINITY : stoppedPatienceMs;
  }

  changes: Departure["changes"] = (accepted) => this.#options.changes(accepted);
  rewritten: Departure["rewritten"] = () => [];
  onKept(keep: (kept: object) => void): void {
    this.#keep = keep;
  }
  requireUnheld: Departure["requireUnheld"] = () => this.#options.requireUnheld();
  async standStill(): Promise<void> {}
  /** The answer to FINISH is held: libvirtd cannot let the domain go on. Throws what ended that. */
  async requireStill(): Promise<void> {
    if (this.failure !== undefined) throw this.failure;
    // libvirtd may have died with the answer outstanding, and has the domain go on as it comes again.
    if (!this.#gate.holding || this.#command.isOver) throw this.#fail(notHeld(this.#options.name));
  }

  /** As `Departure.carry`. */
  async carry(link: ControlLink, route: Route, meter: ProgressMeter, observe: Observer): Promise<void> {
    link.send("start", {});
    const { body } = await link.expect("started");
    if (this.#instance !== undefined && this.#instance !== body.instance)
      throw this.#fail(startedAnew(meter.session.name));
    this.#instance = body.instance;
    const lost = Promise.withResolvers<never>();
    lost.promise.catch(() => {});
    link.onClosed((error) => {
      this.#isLinked = false;
      lost.reject(error);
    });
    if (this.#phase !== undefined) meter.phase(this.#phase);
    this.#isLinked = true;
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

  async #send(route: StreamRoute, meter: ProgressMeter, observe: Observer): Promise<StreamResult[]> {
    try {
      return await this.#steps(route, meter, observe).finally(() => clearInterval(this.#ticker));
    } catch (thrown) {
      throw this.#fail(this.failure ?? (await this.#causeOf(thrown)));
    }
  }

  /** What the gate says, and then what the destination says of itself on the link, comes before what libvirt makes of it. */
  async #causeOf(thrown: unknown): Promise<MigrateError> {
    const own = asMigrateError(thrown);
    // libvirtd knows no more of it than that its connection ended.
    if (this.#gate.refused !== undefined) return this.#gate.refused;
    // What both libvirtd make of that says little.
    if (this.#hasEnded) return endedInMove(this.#options.name);
    // A stream that is let in no more: nobody there knows of the session.
    const isForgotten = own.code === "policy" && own.side === "destination";
    const isOpen = own.code !== "libvirt-failed" && own.code !== "qemu-failed" && !isForgotten;
    if (isOpen || this.#link === undefined) return own;
    const said = await Promise.race([
      new Promise<MigrateError>((resolve) => this.#link!.onClosed(resolve)),
      Bun.sleep(wordsMs).then(() => undefined),
    ]);
    if (said !== undefined && said.code !== "network") return said;
    return isForgotten ? startedAnew(this.#options.name) : own;
  }

  async #steps(route: StreamRoute, meter: ProgressMeter, observe: Observer): Promise<StreamResult[]> {
    const { workers, sockets: place, targets, bandwidthBytesPerSec } = { ...this.#options, ...this.#tuned };
    const { session, name } = meter.session;
    const pool = new StreamPool(route, {
      workers,
      bandwidthBytesPerSec,
      link: (state, stream, message) => {
        if (stream !== domainStreams.rpc) return;
        observe({ event: "link", session, name, state, message, attempt: 0, retryInMs: 0 });
      },
      moving: () => this.#link?.alive(),
    });
    this.#pool = pool;
    const sockets = new StreamSockets(place, pool);
    this.#sockets = sockets;
    const unlimited = { timeoutMs: mostWaitMs };
    const ram = sockets.expect("ram", [domainStreams.ram], unlimited);
    const disks = targets.map((_, n) => domainStreams.disk(n));
    const disk = disks.length === 0 ? undefined : sockets.expect("disk", disks, unlimited);
    const far = sockets.expect("far", [domainStreams.rpc], unlimited);
    const answered = Promise.withResolvers<void>();
    const listener = UnixListener.listen(join(place.folder, "libvirt"));
    const onEvent = ({ kind }: SourceEvent) => {
      if (kind !== "finish-answered") return;
      // The move was given up while the answer was on its way.
      if (this.#aborted.signal.aborted) this.#refuse();
      else answered.resolve();
    };
    const accepted = GateRelay.accept(
      listener,
      far.path,
      { gate: this.#gate, onEvent },
      { timeoutMs: mostWaitMs, signal: this.#aborted.signal },
    ).then((relay) => {
      this.#relay = relay;
    });
    this.#qemu = domainProcess(this.#options.name);
    this.#enter("pre-copy", meter);
    const migrated = this.#command.start({
      ...this.#options,
      ...this.#tuned,
      rpcPath: listener.path,
      ramPath: ram.path,
      diskPath: disk?.path,
    });
    this.#ticker = setInterval(() => this.#look(meter, observe), progressEveryMs);
    await Promise.race([
      this.#halted.promise,
      sockets.failed,
      accepted.then(() => answered.promise),
      // It ends well only after it was given the answer.
      migrated.then(() => answered.promise),
      answered.promise,
    ]);
    this.#enter("stop-and-copy", meter);
    const ended = Promise.all(this.#streamed().map((stream) => pool.ended(stream)));
    const results = await Promise.race([
      this.#halted.promise,
      sockets.failed,
      ended,
      Bun.sleep(streamEndTimeoutMs).then(() => {
        throw new MigrateError("network", "what the VM's QEMU sent was not taken in time");
      }),
    ]);
    meter.streams(pool.sentBytes);
    return results;
  }

  /** Its QEMU has, which libvirt does not always notice (libvirt 9: it waits for the mirrors of disks that are gone). */
  get #hasEnded(): boolean {
    return this.#qemu !== null && isEnding(this.#qemu);
  }

  #look(meter: ProgressMeter, observe: Observer): void {
    if (this.#hasEnded) this.#halted.reject(this.#fail(endedInMove(this.#options.name)));
    this.#lookForStall();
    const { session, name } = meter.session;
    const first = this.#options.domain.live!.disks.length;
    meter.streams(this.#pool!.sentBytes);
    void this.#command.progress().then((now) => {
      if (now === null) return;
      const { fileCount, domain } = this.#options;
      meter.reached(fileCount + first, Math.max(0, now.ram.totalBytes - now.ram.remainingBytes));
      // libvirt counts all disks together.
      const share = now.diskTotalBytes === 0 ? 0 : now.diskDoneBytes / now.diskTotalBytes;
      for (const [n, disk] of domain.live!.disks.entries()) meter.reached(fileCount + n, disk.bytes * share);
      observe({ event: "ram", session, name, ...now.ram });
    });
  }

  #lookForStall(): void {
    const now = { bytes: this.carriedBytes, stopped: this.#command.stoppedAtMs !== undefined };
    const stalledMs = this.#stall.look({ ...now, linked: this.#isLinked }, performance.now());
    if (stalledMs === null) return;
    const said = `the destination took nothing of the VM for ${Math.round(stalledMs / 1000)} s`;
    this.#halted.reject(this.#fail(new MigrateError("network", said, { side: "destination" })));
  }

  /**
   * Lets libvirtd have the answer: it ends the domain here, and forgets it. Resolves once the domain's QEMU runs nothing
   * any more, and no other can be started from its disks, which may be before libvirtd is done (`gone`). False if libvirtd
   * has not said that it ended it: what there is of it has to be looked at.
   */
  async letGo(): Promise<boolean> {
    const { autostart } = this.#options.domain;
    // What is started by itself, should libvirtd die just now, is waited for.
    const isHeld = !autostart && this.#held.hold(this.#options.paths);
    if (this.#gate.holding) this.#relay!.perform(this.#gate.release());
    const { signal } = this.#aborted;
    try {
      if (isHeld && this.#qemu !== null)
        await Promise.race([ending(this.#qemu, signal), this.#command.ended]);
      else await this.#command.ended;
      return true;
    } catch {
      signal.throwIfAborted();
      return false;
    }
  }

  /** Resolves once libvirtd has no more to do with the domain's move, for good or bad. */
  async gone(): Promise<void> {
    await this.#command.ended.catch(() => {});
  }

  async halt(): Promise<void> {
    const given = this.failure ?? new MigrateError("cancelled", "the move was given up", { side: "source" });
    clearInterval(this.#ticker);
    this.#halted.reject(given);
    this.#aborted.abort(given);
    this.#refuse();
    const unblock = () => {
      this.#relay?.close();
      this.#sockets?.close();
      this.#pool?.close();
    };
    // A QEMU that waits for its link answers nobody, and libvirtd waits for QEMU, or for the other libvirtd.
    if (this.#hasEnded) await this.#command.abandon();
    else await this.#command.abort(this.#gate.isReleased ? undefined : unblock);
    unblock();
    await this.#sending?.catch(() => {});
  }

  async tune(tuning: Tuning): Promise<void> {
    const { name } = this.#options;
    if (this.stoppedAtMs !== undefined) requireBandwidthAlone(tuning, `${name} stands still already`);
    await this.#command.tune(tuning);
    this.#tuned = { ...this.#tuned, ...tuning };
    if (tuning.bandwidthBytesPerSec !== undefined) this.#pool?.pace(tuning.bandwidthBytesPerSec);
  }

  async force(): Promise<boolean> {
    if (this.#sending === undefined || !this.#isLinked) return this.stoppedAtMs !== undefined;
    this.#keep({ ...this.#options.kept, forced: true });
    await this.#command.stopDomain();
    return true;
  }

  /** libvirtd has the domain go on. */
  #refuse(): void {
    if (this.#gate.holding) this.#relay?.perform(this.#gate.refuse("the move was given up"));
  }

  close(): void {
    this.files.close();
    this.#held.release();
  }

  #streamed(): number[] {
    return [domainStreams.ram, ...this.#options.targets.map((_, n) => domainStreams.disk(n))];
  }

  #enter(phase: Phase, meter: ProgressMeter): void {
    this.#phase = phase;
    meter.phase(phase);
  }

  #fail(error: MigrateError): MigrateError {
    this.failure ??= error;
    return this.failure;
  }
}
/** What libvirt connects to as a migration goes on may be days away. */
const mostWaitMs = 2 ** 31 - 1;
/** How long the destination may take to say what happened there. */
const wordsMs = 5000;
