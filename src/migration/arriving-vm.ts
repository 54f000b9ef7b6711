/**
 * A running VM as it arrives: the QEMU that the destination starts for it, stopped, waiting for what
 * comes on the streams; its virtual TPM; and the moment in which it goes on.
 *
 * The QEMU is a process of its own and outlives us: whoever serves next takes it over (`adopt`).
 */
import { randomBytes } from "node:crypto";
import { constants, existsSync, readdirSync, rmSync } from "node:fs";
import { open } from "node:fs/promises";
import { join } from "node:path";
import { syncFolder } from "../platform/rename.ts";
import { MigrateError } from "../protocol/errors.ts";
import { limits } from "../protocol/limits.ts";
import type { MessageBody } from "../protocol/messages.ts";
import { ArrivingStreams } from "../transfer/arriving-streams.ts";
import type { DoorPool } from "../transfer/door-pool.ts";
import { makeFolder, type Staging } from "../transfer/staging.ts";
import { storeFailure } from "../transfer/store-failure.ts";
import { makeBlankImage } from "../vm/qemu/blank-image.ts";
import { endDaemon } from "../vm/qemu/daemon.ts";
import { expectIncoming, letGo, loadedIncoming } from "../vm/qemu/incoming.ts";
import { adoptQemu, type RunningQemu, startQemu } from "../vm/qemu/launch.ts";
import { qmpFailure } from "../vm/qemu/qmp-error.ts";
import { RunFolder } from "../vm/qemu/run-folder.ts";
import { endSwtpm, startSwtpm, tpmStateName } from "../vm/qemu/swtpm.ts";
import { commandLineOf, incomingName, nbdName, type QemuPolicy, vmLinkName } from "./arriving-command.ts";
import type { ArrivingMachine } from "./machine-record.ts";

/** How long QEMU may take from the last byte until it has loaded the devices. */
const loadTimeoutMs = 30_000;

/** The VM certainly never ran here, and never will. */
export class NeverRan extends MigrateError {
  constructor(message: string, cause?: unknown) {
    super("qemu-failed", message, { side: "destination", cause });
  }
}

export interface ArrivingVmOptions {
  session: string;
  name: string;
  peer: string;
  machine: ArrivingMachine;
  tagKey: Buffer;
  staging: Staging;
  home: string;
  policy: QemuPolicy;
  doors: DoorPool | undefined;
  /** The QEMU ended, or a stream failed, before the VM was whole. */
  failed: (error: MigrateError) => void;
  /** Bytes that came on streams. */
  received: (bytes: number) => void;
}

export class ArrivingVm {
  readonly #options: ArrivingVmOptions;
  readonly #run: RunFolder;
  #qemu: RunningQemu | undefined;
  #instance: string | undefined;
  #streams: ArrivingStreams | undefined;
  #streamToken = "";
  /** True once all of the VM is in the QEMU. */
  #whole = false;
  #over = false;

  constructor(options: ArrivingVmOptions) {
    this.#options = options;
    this.#run = RunFolder.at(options.home, options.name);
  }

  get streams(): ArrivingStreams | undefined {
    return this.#streams;
  }

  /**
   * Starts the QEMU; where that has been done, and it is still there, nothing happens. Gives what
   * STARTED says. Throws MigrateError "qemu-failed" or "name-taken"; nothing is left running then.
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
    return { instance: this.#instance!, streamToken: this.#streamToken };
  }

  async #begin(): Promise<void> {
    const { session, peer, machine, tagKey, staging, policy, doors } = this.#options;
    const run = this.#run;
    run.make(session);
    run.link(vmLinkName, staging.folder);
    const { words, nodes, hasTpm } = commandLineOf(machine, policy, run);
    await this.#makeRoom(hasTpm);
    if (hasTpm) await startSwtpm({ stateFolder: join(staging.folder, "tpm"), run });
    const qemu = await startQemu(words, run);
    this.#qemu = qemu;
    void qemu.ended.then(() => this.#lost(qemu));
    const paths = { ram: run.socket(incomingName), nbd: run.socket(nbdName) };
    const nbd = machine.live ? { path: paths.nbd, nodes } : null;
    await expectIncoming(qemu.qmp, { ramPath: paths.ram, channels: machine.channels, nbd });
    this.#instance = randomBytes(16).toString("hex");
    this.#streamToken = randomBytes(16).toString("hex");
    this.#streams = new ArrivingStreams({
      session,
      peer,
      instance: this.#instance,
      token: this.#streamToken,
      tagKey,
      doors: doors!,
      path: (stream) => {
        if (stream <= machine.channels) return paths.ram;
        return stream - limits.ramStreams >= 0 && stream - limits.ramStreams < machine.disks.length
          ? paths.nbd
          : null;
      },
      failed: (error) => this.#options.failed(error),
      received: this.#options.received,
    });
  }

  /** What QEMU and the TPM write into, blank: what an earlier instance left is worth nothing. */
  async #makeRoom(hasTpm: boolean): Promise<void> {
    const { machine, staging } = this.#options;
    for (const { name, format, bytes } of machine.disks) {
      const path = join(staging.folder, name);
      rmSync(path, { force: true });
      await makeBlankImage(path, format, bytes);
    }
    if (!hasTpm) return;
    rmSync(join(staging.folder, "tpm"), { recursive: true, force: true });
    makeFolder(join(staging.folder, "tpm"));
  }

  /** All that QEMU and the TPM have written so far is on the disk when this resolves (fsync(2)). */
  async #sync(): Promise<void> {
    const { machine, staging } = this.#options;
    const tpm = join(staging.folder, "tpm");
    const states = existsSync(tpm) ? readdirSync(tpm).map((name) => join(tpm, name)) : [];
    for (const path of [...machine.disks.map(({ name }) => join(staging.folder, name)), ...states]) {
      const file = await open(path, constants.O_RDWR | constants.O_NOFOLLOW);
      try {
        await file.sync();
      } finally {
        await file.close();
      }
    }
    if (existsSync(tpm)) syncFolder(tpm);
  }

  /** The QEMU has gone while the VM was not yet whole, or waited; the latter shows when it is to go on. */
  #lost(qemu: RunningQemu): void {
    if (this.#qemu !== qemu || this.#over || this.#whole) return;
    const words = qemu.lastWords();
    this.#options.failed(
      new MigrateError("qemu-failed", `the destination's QEMU ended${words === "" ? "" : `: ${words}`}`, {
        side: "destination",
      }),
    );
  }

  /**
   * Compares what came on the streams with what the source says that it sent, and waits until QEMU has
   * loaded it. Throws MigrateError "integrity" or "qemu-failed".
   */
  async seal(sent: NonNullable<MessageBody<"seal">["streams"]>): Promise<void> {
    const { machine } = this.#options;
    const streams = this.#streams;
    const qemu = this.#qemu;
    if (streams === undefined || qemu === undefined) throw this.#notStarted();
    const expected = [
      ...Array.from({ length: machine.channels + 1 }, (_, channel) => channel),
      ...machine.disks.map((_, disk) => limits.ramStreams + disk),
    ];
    if (!this.#whole) {
      await streams.allEnded(expected, loadTimeoutMs);
      const got = new Map(streams.results().map((result) => [result.stream, result]));
      const same =
        sent.length === expected.length && new Set(sent.map(({ stream }) => stream)).size === sent.length;
      for (const { stream, bytes, digest } of sent) {
        const result = got.get(stream);
        if (result?.bytes === bytes && result.digest === digest && same) continue;
        throw new MigrateError(
          "integrity",
          "a stream of the running VM differs between source and destination",
          {
            side: "destination",
          },
        );
      }
      if (!same) throw new MigrateError("protocol", "the seal names other streams than there are");
    }
    try {
      await loadedIncoming(
        qemu.qmp,
        { nbd: machine.live ? { path: "", nodes: machine.disks.map(({ name }) => name) } : null },
        loadTimeoutMs,
      );
      await this.#sync();
    } catch (thrown) {
      throw qmpFailure(storeFailure(thrown), "destination");
    }
    this.#whole = true;
  }

  /** Throws NeverRan where the QEMU that holds the VM is gone before the VM was ever let go on. */
  checkWaiting(): void {
    if (this.#qemu !== undefined && this.#whole && !this.#qemu.qmp.isClosed) return;
    throw new NeverRan("the destination's QEMU ended before the VM went on");
  }

  /** The VM's folder has its final name: QEMU and the TPM get to know it. Idempotent. */
  settle(folder: string): void {
    this.#run.link(vmLinkName, folder);
    if (this.#run.noted()?.swtpm) this.#run.link(tpmStateName, join(folder, "tpm"));
  }

  /**
   * Lets the VM go on, or sees that it does. `sure` where this process has seen all that came before: it
   * knows then that the VM has not run. Throws NeverRan where it certainly did not and will not, and
   * MigrateError "in-doubt" where that cannot be told.
   */
  async letRun(sure: boolean): Promise<void> {
    const qemu = this.#qemu;
    const doubt = (cause: unknown) =>
      new MigrateError("in-doubt", "the destination's QEMU is gone, and the VM may have run in it", {
        side: "destination",
        cause,
      });
    if (qemu === undefined || qemu.qmp.isClosed) {
      if (sure) throw new NeverRan("the destination's QEMU ended before the VM went on");
      throw doubt(undefined);
    }
    try {
      if (this.#options.machine.paused === true) {
        await qemu.qmp.execute("query-status");
        return;
      }
      const answer = await letGo(qemu.qmp);
      if (answer.outcome === "refused") {
        throw new NeverRan("the destination's QEMU refused to let the VM go on", answer.why);
      }
    } catch (thrown) {
      throw thrown instanceof NeverRan ? thrown : doubt(thrown);
    }
  }

  /** Takes over what an earlier serve started; false where it is gone. */
  async adopt(): Promise<boolean> {
    if (this.#qemu !== undefined) return true;
    const noted = this.#run.noted();
    if (noted?.session !== this.#options.session) return false;
    const qemu = await adoptQemu(this.#run);
    if (qemu === null) return false;
    this.#qemu = qemu;
    this.#whole = true;
    return true;
  }

  /** The VM is this host's now: its QEMU is left alone, and its QMP socket is free for others. */
  leave(): void {
    this.#over = true;
    this.#streams?.drop();
    this.#streams = undefined;
    this.#qemu?.qmp.close();
    this.#qemu = undefined;
  }

  /** Ends QEMU and TPM and removes the run folder. Idempotent; never throws. */
  async end(): Promise<void> {
    this.#over = true;
    this.#whole = false;
    this.#streams?.drop();
    this.#streams = undefined;
    this.#instance = undefined;
    const noted = this.#run.noted();
    // Of the VM of that name that another session brought nothing is touched.
    if (noted !== null && noted.session !== this.#options.session) return;
    const qemu = this.#qemu ?? (await adoptQemu(this.#run).catch(() => null)) ?? undefined;
    this.#qemu = undefined;
    if (qemu !== undefined) await qemu.kill();
    else if (noted?.qemu) await endDaemon(noted.qemu);
    if (noted?.swtpm) await endSwtpm(noted.swtpm);
    this.#run.remove();
  }

  #notStarted(): MigrateError {
    return new MigrateError("in-doubt", "the VM's QEMU was not started here", { side: "destination" });
  }
}
