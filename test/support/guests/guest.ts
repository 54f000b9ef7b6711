/** A running test guest: QEMU (TCG, so that it runs anywhere), its monitor and its serial line. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Child, startChild } from "../system/child.ts";
import { expectCaller } from "../system/unix-socket.ts";
import { guestImage, guestKernelWords } from "./guest-image.ts";
import { workDoneLine } from "./guest-init.ts";
import { Qmp } from "./qmp.ts";
import { loadRam, saveRam } from "./saved-ram.ts";
import { SerialLine, ticksIn } from "./serial-line.ts";

export interface GuestDisk {
  path: string;
  format: "raw" | "qcow2";
  /** The guest writes its ticks to every disk that is not read-only. */
  readOnly?: boolean;
  /** qcow2 only: the size of its clusters where it is made; with 512 each tick makes the file longer. */
  clusterBytes?: number;
}

export interface GuestOptions {
  ramMiB: number;
  disks: GuestDisk[];
  /** How much RAM the guest fills with work before its first tick (see guest-init.ts). */
  workMiB?: number;
  /**
   * A saved RAM stream to go on from: the guest is then loaded and stands still until `cont`.
   * "defer" starts QEMU with `-incoming defer` and leaves the loading to the caller.
   */
  incoming?: string;
  /** A file in which the serial line's text is left when the guest ends. */
  serialLog?: string;
  /** More arguments for QEMU; the same must be given to a guest that goes on from this one's RAM. */
  extraArgs?: string[];
}

export class Guest {
  constructor(
    readonly qmp: Qmp,
    readonly serial: SerialLine,
    private readonly qemu: Child,
    private readonly folder: string,
    private readonly options: GuestOptions,
  ) {}

  get pid(): number {
    return this.qemu.pid;
  }

  /** The ticks that this QEMU printed so far, in order. */
  ticks(): number[] {
    return ticksIn(this.serial.text);
  }

  /** Waits for tick N or a later one. */
  async waitForTick(n: number, deadlineMs = 60_000): Promise<void> {
    await this.serial.waitUntil((text) => ticksIn(text).some((tick) => tick >= n), `tick ${n}`, deadlineMs);
  }

  /** Waits until the guest has filled its RAM. */
  async waitForWork(deadlineMs = 300_000): Promise<void> {
    await this.serial.waitUntil((text) => text.includes(workDoneLine), workDoneLine, deadlineMs);
  }

  /** Stops the guest's processors; its disks are then quiet and flushed. */
  async stop(): Promise<void> {
    await this.qmp.execute("stop");
  }

  async cont(): Promise<void> {
    await this.qmp.execute("cont");
  }

  /** Writes RAM and device state to a file, as QEMU's migration stream. The guest should be stopped. */
  async saveRam(path: string): Promise<void> {
    await this.#withLastWords(saveRam(this.qmp, this.folder, path));
  }

  /** Loads a saved RAM stream into a QEMU that was started with `-incoming defer`. */
  async loadRam(path: string): Promise<void> {
    await this.#withLastWords(loadRam(this.qmp, this.folder, path));
  }

  /** Writes the guest's physical memory, from 0 to its whole size, to a file: zero pages and all. */
  async saveRamImage(path: string): Promise<void> {
    await this.qmp.execute("pmemsave", { val: 0, size: this.options.ramMiB * 2 ** 20, filename: path });
  }

  /** Lets QEMU end in good order: its disk images are flushed and closed. */
  async quit(): Promise<void> {
    // QEMU may be gone before its answer is read.
    await this.qmp.execute("quit").catch(() => {});
    await this.#cleanUp();
  }

  /** Ends QEMU as a power cut would. Harmless when it has ended. */
  async kill(): Promise<void> {
    this.qemu.signal("SIGKILL");
    await this.#cleanUp();
  }

  async #cleanUp(): Promise<void> {
    await this.qemu.exit;
    await this.serial.ended;
    this.qmp.close();
    if (this.options.serialLog !== undefined) writeFileSync(this.options.serialLog, this.serial.text);
    rmSync(this.folder, { recursive: true, force: true });
  }

  /** An error of QEMU's migration, with what QEMU wrote itself. */
  async #withLastWords(work: Promise<void>): Promise<void> {
    try {
      await work;
    } catch (error) {
      throw new Error(`${error instanceof Error ? error.message : error}; ${this.qemu.stderr()}`);
    }
  }
}

/**
 * Starts a guest; it counts ticks from 1, or stands still where `incoming` tells what to go on from.
 * It is killed with the test process; `kill` it in afterEach. Throws what QEMU wrote where it does not start.
 */
export async function startGuest(options: GuestOptions): Promise<Guest> {
  const image = await guestImage();
  const folder = mkdtempSync(join(tmpdir(), "guest-"));
  const monitor = await expectCaller(join(folder, "qmp"));
  const line = await expectCaller(join(folder, "serial"));
  const drives = options.disks.flatMap(({ path, format, readOnly }) => [
    "-drive",
    `file=${path},format=${format},if=virtio,read-only=${readOnly ? "on" : "off"}`,
  ]);
  const qemu = startChild([
    ...["qemu-system-x86_64", "-no-user-config", "-nodefaults", "-display", "none"],
    ...["-machine", "pc", "-accel", "tcg", "-m", `${options.ramMiB}M`],
    ...["-kernel", image.kernel, "-initrd", image.initrd],
    ...["-append", `${guestKernelWords} work_mib=${options.workMiB ?? 0}`, "-no-reboot"],
    ...["-qmp", `unix:${join(folder, "qmp")},server=off`],
    ...[
      "-chardev",
      `socket,id=serial,path=${join(folder, "serial")},server=off`,
      "-serial",
      "chardev:serial",
    ],
    ...drives,
    ...(options.incoming === undefined ? [] : ["-incoming", "defer"]),
    ...(options.extraArgs ?? []),
  ]);
  const failed = qemu.exit.then(({ code, signal }): never => {
    throw new Error(`QEMU ended with ${code ?? signal}: ${qemu.stderr().trim()}`);
  });
  failed.catch(() => {});
  try {
    const serial = new SerialLine(await Promise.race([line.socket, failed]));
    const qmp = await Promise.race([monitor.socket.then((socket) => Qmp.negotiate(socket)), failed]);
    const guest = new Guest(qmp, serial, qemu, folder, options);
    if (options.incoming !== undefined && options.incoming !== "defer") await guest.loadRam(options.incoming);
    return guest;
  } catch (error) {
    monitor.close();
    line.close();
    await qemu.kill();
    rmSync(folder, { recursive: true, force: true });
    throw error;
  }
}
