/**
 * A running VM as it arrives: the QEMU that the destination starts for it, which stays stopped while it
 * receives the streams, the VM's virtual TPM, and the moment in which the VM is resumed.
 *
 * QEMU is a process of its own and outlives this one: the next `migrate serve` takes it over (`adopt`).
 */
import { randomBytes } from "node:crypto";
import { closeSync, existsSync } from "node:fs";
import { join } from "node:path";
import { asMigrateError, MigrateError } from "../../../protocol/errors.ts";
import { limits } from "../../../protocol/limits.ts";
import type { MessageBody } from "../../../protocol/messages.ts";
import { ArrivingStreams } from "../../../transfer/doors/arriving-streams.ts";
import { storeFailure } from "../../../transfer/landing/store-failure.ts";
import { openTaps } from "../../../vm/confinement/taps.ts";
import { endFollowers, screenOf, startAttendants } from "../../../vm/qemu/attendants/start-attendants.ts";
import { endDaemon } from "../../../vm/qemu/daemon.ts";
import { cardOutcomes } from "../../../vm/qemu/definition/command-line.ts";
import { vncOf } from "../../../vm/qemu/definition/consoles/display.ts";
import type { VmModel } from "../../../vm/qemu/definition/definition.ts";
import { hasTpm } from "../../../vm/qemu/definition/model.ts";
import { readModel } from "../../../vm/qemu/definition/schema.ts";
import { expectIncoming, loadedIncoming } from "../../../vm/qemu/incoming.ts";
import { adoptQemu, endOf, failureBehind, type RunningQemu, startQemu } from "../../../vm/qemu/launch.ts";
import { resumeGuest } from "../../../vm/qemu/outgoing/resume-guest.ts";
import { Qmp } from "../../../vm/qemu/qmp/qmp.ts";
import { QmpError, qmpFailure } from "../../../vm/qemu/qmp/qmp-error.ts";
import { qmpSocketName, type RunFolder } from "../../../vm/qemu/run-folder.ts";
import { startSwtpm, tpmStateName } from "../../../vm/qemu/swtpm.ts";
import { endLimits, filesOf, VmPrograms } from "../../../vm/qemu/vm-programs.ts";
import { careFor } from "../after-care.ts";
import type { Arrival, ArrivalOptions, Offered } from "../arrival.ts";
import type { StreamedPart } from "../departure.ts";
import { NeverRan } from "../never-ran.ts";
import {
  arrivingFolder,
  commandLineOf,
  firstTap,
  incomingName,
  nbdName,
  type QemuPolicy,
  spareQmpName,
  vmLinkName,
} from "./arriving-command.ts";
import { makeImages, syncImages } from "./arriving-images.ts";
import { channelsAt, setTimeAfter } from "./guest-time.ts";
import { fittedModel } from "./processors/fitted-model.ts";
import { type ArrivingQemuRecord, staysPaused } from "./qemu-records.ts";
import { streamFailureMs } from "./stream-failure.ts";

/** How long QEMU may take to load the devices after it received the last byte. */
const loadTimeoutMs = 30_000;

export interface ArrivingVmOptions extends ArrivalOptions {
  offered: Offered;
  machine: ArrivingQemuRecord;
  policy: QemuPolicy;
}

export class ArrivingVm implements Arrival {
  readonly hasStreams = true;
  readonly #options: ArrivingVmOptions;
  readonly #run: RunFolder;
  #qemu: RunningQemu | undefined;
  #instance: string | undefined;
  #streams: ArrivingStreams | undefined;
  #token = "";
  /** True once QEMU holds all of the VM. */
  #whole = false;
  #over = false;
  /** What SEAL said in this process. */
  #sealedPaused: boolean | undefined;
  /**
   * Whether this process has seen the VM run here; "maybe" if QEMU was told to resume it and has not
   * answered.
   */
  #ran: "no" | "maybe" | "yes" = "no";

  constructor(options: ArrivingVmOptions) {
    this.#options = options;
    this.#run = arrivingFolder(options.home, options.offered.name);
  }

  get isLive(): boolean {
    return this.#options.machine.live;
  }

  get cards(): Arrival["cards"] {
    const { machine, policy } = this.#options;
    return cardOutcomes(readModel(machine.definition), policy.net);
  }

  get vnc(): NonNullable<Arrival["vnc"]> {
    const { machine, policy } = this.#options;
    return vncOf(readModel(machine.definition), policy.vnc);
  }

  get screen(): string | undefined {
    return screenOf(this.#run, this.#options.offered.name);
  }

  get patienceMs(): number {
    return this.#options.machine.patienceMs;
  }

  get streamed(): readonly StreamedPart[] {
    const { machine, offered } = this.#options;
    const name = machine.disks.length > 0 ? "disks, RAM" : "RAM";
    return [
      { name, bytes: offered.files.reduce((rest, file) => rest - file.bytes, offered.bytes), atMost: true },
    ];
  }

  get streams(): ArrivingStreams | undefined {
    return this.#streams;
  }

  /**
   * Starts QEMU; does nothing if it was started and is still there. Returns the body of STARTED. Throws
   * MigrateError "qemu-failed" or "name-taken", and then leaves nothing running.
   */
  async start(): Promise<MessageBody<"started">> {
    if (this.#qemu === undefined || this.#streams === undefined) {
      await this.end();
      this.#over = false;
      try {
        await this.#begin();
      } catch (thrown) {
        await this.end();
        throw qmpFailure(thrown, "destination");
      }
    }
    return { instance: this.#instance!, streamToken: this.#token, zstd: true, images: true };
  }

  async #begin(): Promise<void> {
    const { offered, machine, staging, policy, doors } = this.#options;
    const { session, peer } = offered;
    const tagKey = Buffer.from(offered.tagKey, "hex");
    const run = this.#run;
    run.make(session);
    run.link(vmLinkName, staging.folder);
    const asker = { source: peer, isOver: () => this.#over };
    const definition = await fittedModel(readModel(machine.definition), machine, policy, asker);
    const { argv, nodes, hasTpm: tpm, network, bridges } = commandLineOf(definition, policy, run);
    const programs = await this.#prepare(definition).catch((thrown: unknown) => {
      throw storeFailure(thrown);
    });
    if (tpm) {
      const stateFolder = join(staging.folder, "tpm");
      await startSwtpm({ stateFolder, run, confined: (words) => programs.swtpm(words) });
    }
    const kept = bridges.map((_, n) => firstTap + n);
    const command = programs.qemu(argv, filesOf(definition), { network, kept });
    const taps = openTaps(bridges);
    const qemu = await startQemu(command, run, { descriptors: taps }).finally(() => taps.map(closeSync));
    this.#qemu = qemu;
    void this.#reportLoss(qemu);
    this.#forbidRun(qemu);
    const paths = { ram: run.socket(incomingName), nbd: run.socket(nbdName) };
    const nbd = machine.live ? { path: paths.nbd, nodes } : null;
    const announces = machine.announce !== false;
    await expectIncoming(qemu.qmp, { ramPath: paths.ram, channels: machine.channels, nbd, announces });
    programs.pin([
      ...[qmpSocketName, spareQmpName, incomingName].map((name) => run.socket(name)),
      ...(nbd !== null && nodes.length > 0 ? [paths.nbd] : []),
    ]);
    await startAttendants(definition, { run, programs, vnc: policy.vnc });
    this.#instance = randomBytes(16).toString("hex");
    this.#token = randomBytes(16).toString("hex");
    this.#streams = new ArrivingStreams({
      session,
      peer,
      instance: this.#instance,
      token: this.#token,
      tagKey,
      doors: doors!,
      path: (stream) => {
        if (stream <= machine.channels) return paths.ram;
        return stream - limits.ramStreams >= 0 && stream - limits.ramStreams < machine.disks.length
          ? paths.nbd
          : null;
      },
      failed: (error) => void failureBehind(qemu, error).then(this.#options.failed),
      received: (wireBytes, handedOnBytes, stream) =>
        this.#options.received(wireBytes, handedOnBytes, stream < limits.ramStreams ? 0 : handedOnBytes),
    });
  }

  /** Makes the files into which the VM's programs write, and lets the programs have all of its files. */
  async #prepare(definition: VmModel): Promise<VmPrograms> {
    const { offered, machine, staging, policy } = this.#options;
    const programs = new VmPrograms(policy.confinement, {
      run: this.#run,
      folder: staging.folder,
      finalFolder: join(staging.store, offered.name),
      stores: [staging.store],
      id: offered.session,
    });
    programs.limit(definition);
    await makeImages(machine, staging, hasTpm(definition), programs);
    programs.giveFiles(filesOf(definition));
    return programs;
  }

  /**
   * Ends the move if QEMU ends before the VM is whole; afterwards `checkReady` and `resume` notice it. A stream
   * that has failed is reported before that, as the cause (stream-failure.ts).
   */
  async #reportLoss(qemu: RunningQemu): Promise<void> {
    await qemu.ended;
    await Bun.sleep(streamFailureMs);
    if (this.#qemu === qemu && !this.#over && !this.#whole) this.#options.failed(endOf(qemu));
  }

  /** The migration stream must not decide when the VM resumes: a VM that does so by itself is ended. */
  #forbidRun(qemu: RunningQemu): void {
    qemu.qmp.onEvent(({ event }) => {
      if (event !== "RESUME" || this.#ran !== "no" || this.#qemu !== qemu) return;
      if (this.#options.isOwned()) {
        // A person's decision resumed it (`migrate resolve`).
        this.#ran = "yes";
        return;
      }
      void qemu.kill();
      this.#options.failed(
        new MigrateError("qemu-failed", "the VM went on by itself before it was owned, and was ended", {
          side: "destination",
        }),
      );
    });
  }

  /**
   * Compares the received streams with the source's results in SEAL, and waits until QEMU has loaded the VM.
   * Throws MigrateError "integrity", "protocol", "qemu-failed", or what the store fails with.
   */
  async seal({ streams: sent = [], paused }: Pick<MessageBody<"seal">, "streams" | "paused">): Promise<void> {
    const { machine } = this.#options;
    this.#sealedPaused = paused;
    const streams = this.#streams;
    const qemu = this.#qemu;
    if (streams === undefined || qemu === undefined) throw this.#notStarted();
    const expected = [
      ...Array.from({ length: machine.channels + 1 }, (_, channel) => channel),
      ...machine.disks.map((_, disk) => limits.ramStreams + disk),
    ];
    await streams.allEnded(expected, loadTimeoutMs).catch(async (thrown: unknown) => {
      throw await failureBehind(qemu, thrown);
    });
    const got = new Map(streams.results().map((result) => [result.stream, result]));
    const same =
      sent.length === expected.length && new Set(sent.map(({ stream }) => stream)).size === sent.length;
    for (const { stream, bytes, digest } of sent) {
      const result = got.get(stream);
      if (result?.bytes === bytes && result.digest === digest && same) continue;
      const differs = "a stream of the running VM differs between source and destination";
      throw new MigrateError("integrity", differs, { side: "destination" });
    }
    if (!same) throw new MigrateError("protocol", "the seal names other streams than there are");
    try {
      const isExporting = machine.live && machine.disks.length > 0;
      await loadedIncoming(qemu.qmp, { isExporting, timeoutMs: loadTimeoutMs });
      await syncImages(machine, this.#options.staging);
    } catch (thrown) {
      throw await failureBehind(qemu, thrown instanceof QmpError ? thrown : storeFailure(thrown));
    }
    this.#whole = true;
  }

  async checkReady(): Promise<void> {
    for (const { name } of this.#options.machine.disks) {
      if (existsSync(join(this.#options.staging.folder, name))) continue;
      const message = `${name} is gone from the destination's store`;
      throw new MigrateError("store-failed", message, { side: "destination" });
    }
    await this.adopt();
    if (this.#qemu !== undefined && this.#whole && !this.#qemu.qmp.isClosed) return;
    throw new NeverRan("the destination's QEMU ended before the VM went on");
  }

  /** Points QEMU and the TPM to the VM's folder under its final name. Idempotent. */
  relink(folder: string): void {
    this.#run.link(vmLinkName, folder);
    if (this.#run.noted()?.swtpm) this.#run.link(tpmStateName, join(folder, "tpm"));
  }

  /**
   * Resumes the VM, or checks that it runs. `sure` is true if this process has seen everything that happened
   * before, and so knows whether the VM has run. Throws NeverRan if it certainly did not and will not, and
   * MigrateError "in-doubt" if that cannot be known.
   */
  async resume(sure: boolean): Promise<void> {
    await this.adopt();
    // Once the VM has run here, what happens to it is this host's concern alone.
    if (this.#ran === "yes") return;
    const neverRan = sure && this.#ran === "no";
    const failed = (how: string, cause?: unknown) =>
      this.#ran === "no" && neverRan
        ? new NeverRan(`the destination's QEMU ${how} before the VM went on`, cause)
        : new MigrateError("in-doubt", `the destination's QEMU ${how}, and the VM may have run in it`, {
            side: "destination",
            cause,
          });
    const qmp = this.#qemu?.qmp;
    if (qmp === undefined || qmp.isClosed) throw failed("ended");
    try {
      const { machine } = this.#options;
      const sealedPaused = this.#sealedPaused ?? machine.sealedPaused;
      if (staysPaused({ ...machine, ...(sealedPaused === undefined ? {} : { sealedPaused }) }))
        await qmp.execute("query-status");
      else {
        const answer = await resumeGuest(qmp, {
          asking: () => {
            this.#ran = "maybe";
          },
          announces: machine.announce !== false,
        });
        if (answer.outcome === "refused" && neverRan) this.#ran = "no";
        if (answer.outcome === "refused") throw failed("refused to go on", answer.why);
        // The source does not wait for what a guest's agent says.
        careFor(this.#setTime());
      }
      this.#ran = "yes";
    } catch (thrown) {
      throw thrown instanceof MigrateError ? thrown : failed("ended", thrown);
    }
  }

  /**
   * Takes over the QEMU that an earlier `migrate serve` started. Returns false if it is gone. Throws
   * MigrateError "qemu-failed" if it does not answer.
   */
  async adopt(): Promise<boolean> {
    if (this.#qemu !== undefined) return true;
    const noted = this.#run.noted();
    if (noted?.session !== this.#options.offered.session) return false;
    const qemu = await adoptQemu(this.#run).catch((cause: unknown) => {
      // QEMU's message would tell the source paths of this host.
      const { hint } = asMigrateError(cause);
      const said = "the destination's QEMU does not answer";
      throw new MigrateError("qemu-failed", said, { side: "destination", hint, cause });
    });
    if (qemu === null) return false;
    this.#qemu = qemu;
    this.#forbidRun(qemu);
    this.#whole = true;
    return true;
  }

  /** Has the agent of a VM that stood still set its clock, over a connection of its own. Never throws. */
  async #setTime(): Promise<void> {
    const { machine, notice } = this.#options;
    if (machine.live || machine.setTime === false) return;
    const channels = channelsAt(this.#run, readModel(machine.definition));
    if (channels.length === 0) return;
    const qmp = await Qmp.connect(this.#run.socket(spareQmpName)).catch(() => null);
    if (qmp === null) return;
    const message = await setTimeAfter(qmp, channels);
    qmp.close();
    if (message !== null) notice?.(message);
  }

  /** The VM is now this host's: its QEMU keeps running, and its QMP socket becomes free for others. */
  leave(): void {
    this.#over = true;
    this.#streams?.drop();
    this.#streams = undefined;
    this.#qemu?.qmp.close();
    this.#qemu = undefined;
  }

  /** Ends QEMU and the TPM, and removes the run folder. Idempotent. Throws as `endDaemon` and node:fs do. */
  async end(): Promise<void> {
    this.#over = true;
    this.#whole = false;
    this.#streams?.drop();
    this.#streams = undefined;
    this.#instance = undefined;
    const noted = this.#run.noted();
    // The run folder may be another session's VM of the same name, or unreadable: then nothing is touched.
    const ours = noted?.session === this.#options.offered.session;
    const known = this.#qemu ?? null;
    const qemu = known ?? (ours ? await adoptQemu(this.#run).catch(() => null) : null);
    this.#qemu = undefined;
    if (qemu !== null) await qemu.kill();
    else if (ours && noted.qemu) await endDaemon(noted.qemu);
    if (!ours) return;
    await endFollowers(noted);
    endLimits(noted.session);
    this.#run.remove();
  }

  #notStarted(): MigrateError {
    return new MigrateError("in-doubt", "the VM's QEMU was not started here", { side: "destination" });
  }
}
