/** A VM that arrived: what lies in its run folder at the destination, and the processes noted there. */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { isRunning, type ProcessId, signalProcess, waitForEnd } from "../../../src/platform/process-id.ts";
import { GuestLog } from "./guest-log.ts";
import { SeenGuest } from "./seen/seen-guest.ts";

interface Noted {
  session: string;
  qemu: ProcessId | null;
  swtpm: ProcessId | null;
}

export class ArrivedGuest extends SeenGuest {
  /** `<home>/run/<name>` */
  readonly folder: string;
  readonly log: GuestLog;

  /** Takes the destination's MIGRATE_HOME. The VM may still be on its way: look before use. */
  constructor(home: string, name: string) {
    const folder = join(home, "run", name);
    super(join(folder, "watch"));
    this.folder = folder;
    this.log = new GuestLog(join(this.folder, "serial.log"), () => this.isRunning());
  }

  /** What the destination noted of its processes; null before it did. */
  noted(): Noted | null {
    const path = join(this.folder, "processes.json");
    return existsSync(path) ? (JSON.parse(readFileSync(path, "utf8")) as Noted) : null;
  }

  get pid(): number | undefined {
    return this.noted()?.qemu?.pid;
  }

  /** The monitor for `migrate send qmp:…`, on to the next host. */
  get qmpPath(): string {
    return join(this.folder, "qmp");
  }

  /** Whether its QEMU is there. */
  isRunning(): boolean {
    const qemu = this.noted()?.qemu;
    return qemu != null && isRunning(qemu);
  }

  /** What is left to read of one that has ended before its time. */
  lastWords(): string {
    const log = join(this.folder, "qemu.log");
    const said = existsSync(log) ? readFileSync(log, "utf8") : "no log";
    return `noted ${JSON.stringify(this.noted())}; QEMU said: ${said}; its guest: ${this.serialText().slice(-2000)}`;
  }

  /** Ends its QEMU and its swtpm as a power cut would. Harmless when they have ended, or never were. */
  async kill(): Promise<void> {
    const noted = this.noted();
    for (const process of [noted?.qemu, noted?.swtpm]) {
      if (process == null) continue;
      signalProcess(process, "SIGKILL");
      if (!(await waitForEnd(process, 10_000))) throw new Error(`process ${process.pid} does not end`);
    }
    await this.hangUp();
  }
}
