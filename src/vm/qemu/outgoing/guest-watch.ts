/**
 * Watches what others do to a VM while it is moved: who pauses it, resumes it, or switches it off. What it is at
 * the switchover is what moves, and what it is taken back as (QEMU qapi/run-state.json).
 */
import * as v from "valibot";
import { MigrateError } from "../../../protocol/errors.ts";
import type { Qmp, QmpEvent } from "../qmp/qmp.ts";

const statusSchema = v.object({ status: v.string() });

/** In these the guest would run if nothing held it; a disk error is tried again where the VM is resumed. */
const running: readonly string[] = ["running", "io-error"];
/** QEMU's own stops on the way. */
const switchingOver: readonly string[] = ["finish-migrate", "postmigrate"];
const paused: readonly string[] = ["paused", "postmigrate"];

/** Why a VM in this state cannot be moved, and what helps. */
const unmovable: Readonly<Record<string, readonly [why: string, hint: string]>> = {
  suspended: [
    "sleeps (ACPI S3), and could not be woken at the destination",
    "Wake it (system_wakeup) first.",
  ],
  shutdown: ["has been switched off", "Quit its QEMU, and send its files."],
  "guest-panicked": ["has panicked", "Look at it, reset it (system_reset, cont) or quit its QEMU."],
  prelaunch: ["has not been started yet", 'Say "cont" to its QEMU, or quit it and send its files.'],
  inmigrate: ["is still arriving from elsewhere", "Wait until it runs here."],
  watchdog: ["was stopped by its watchdog", 'Say "cont" to its QEMU, or reset it.'],
};

/** Throws MigrateError "vm-invalid" if a VM in this run state cannot be moved. Returns true if it runs. */
export function requireMovable(status: string): boolean {
  if (running.includes(status)) return true;
  if (paused.includes(status)) return false;
  throw cannotMove(status, "The VM");
}

function cannotMove(status: string, who: string): MigrateError {
  const [why, hint] = unmovable[status] ?? [
    `is in the state "${status}", in which it cannot be moved`,
    undefined,
  ];
  return new MigrateError("vm-invalid", `${who} ${why}`, { side: "source", hint });
}

/** Returns QEMU's run state. Throws QmpError. */
export async function runState(qmp: Qmp): Promise<string> {
  return (await qmp.ask(statusSchema, "query-status")).status;
}

export class GuestWatch {
  readonly #qmp: Qmp;
  readonly #changed: (runs: boolean) => void;
  readonly #failed = Promise.withResolvers<never>();
  #runs: boolean;
  /** Set once this program, or QEMU at the switchover, has stopped the guest. */
  #isHeld = false;
  #reason: MigrateError | undefined;
  /** QEMU has given its migration up, and resumes the guest itself. */
  #hasGivenUp = false;
  /** How often the guest was resumed: an event is handled before the answer that came with it, and is the newer. */
  #resumes = 0;
  #asking: Promise<void> = Promise.resolve();
  #unlisten: () => void;

  /**
   * `runs` is whether the guest runs now; `changed` is called whenever others pause or resume it.
   */
  constructor(qmp: Qmp, runs: boolean, changed: (runs: boolean) => void) {
    this.#qmp = qmp;
    this.#runs = runs;
    this.#changed = changed;
    this.#failed.promise.catch(() => {});
    this.#unlisten = qmp.onEvent((event) => this.#onEvent(event));
  }

  /** True if the guest would run now if the move did not hold it. */
  get runs(): boolean {
    return this.#runs;
  }

  /** Rejects with MigrateError once the VM is in a state in which it cannot be moved. */
  get failed(): Promise<never> {
    return this.#failed.promise;
  }

  /** Why the VM cannot be moved any more; undefined while it can. */
  get reason(): MigrateError | undefined {
    return this.#reason;
  }

  /** Stops the guest, and flushes its disks (QEMU does so whenever it stops one). Throws MigrateError, and QmpError. */
  async stop(): Promise<void> {
    let resumes: number;
    let status: string;
    do {
      resumes = this.#resumes;
      status = await runState(this.#qmp);
    } while (resumes !== this.#resumes);
    this.#become(requireMovable(status));
    this.#isHeld = true;
    if (this.#runs) await this.#qmp.execute("stop");
  }

  /** To be called when QEMU has stopped the guest for the last part: from here on it must not run. */
  async hold(): Promise<void> {
    this.#isHeld = true;
    await this.#asking;
    if (this.#reason !== undefined) throw this.#reason;
  }

  /** Throws MigrateError if the guest has run since it was held; and QmpError. */
  async requireHeld(): Promise<void> {
    if (this.#reason === undefined && (await runState(this.#qmp)) === "running") this.#fail(resumed(), true);
    if (this.#reason !== undefined) throw this.#reason;
  }

  /** Events are no concern of the move any more. Idempotent. */
  close(): void {
    this.#unlisten();
    this.#unlisten = () => {};
  }

  #onEvent({ event, data }: QmpEvent): void {
    switch (event) {
      case "STOP":
        if (!this.#isHeld) this.#asking = this.#asking.then(() => this.#askWhy());
        break;
      case "MIGRATION":
        this.#hasGivenUp = data.status === "failed";
        break;
      case "RESUME":
        this.#resumes++;
        // What waits for QEMU's migration says why that ended.
        if (this.#isHeld && !this.#hasGivenUp) this.#fail(resumed(), true);
        else this.#become(true);
        break;
      case "SUSPEND":
        this.#fail(cannotMove("suspended", "The VM"), false);
        break;
      case "SHUTDOWN":
        this.#fail(switchedOff(data.guest === true), false);
        break;
    }
  }

  /** The guest was stopped, by QEMU for the last part or by others: its state tells which. */
  async #askWhy(): Promise<void> {
    const resumes = this.#resumes;
    let status: string;
    try {
      status = await runState(this.#qmp);
    } catch {
      // QEMU is gone or busy with the last part: whatever waits for it reports that.
      return;
    }
    if (switchingOver.includes(status) || resumes !== this.#resumes) return;
    try {
      this.#become(requireMovable(status));
    } catch (thrown) {
      this.#fail(thrown as MigrateError, false);
    }
  }

  #become(runs: boolean): void {
    if (runs === this.#runs) return;
    this.#runs = runs;
    this.#changed(runs);
  }

  /** The VM cannot be moved any more; `runs` is whether it is to go on where it is. */
  #fail(reason: MigrateError, runs: boolean): void {
    this.#become(runs);
    this.#reason ??= reason;
    this.#failed.reject(this.#reason);
  }
}

function resumed(): MigrateError {
  return new MigrateError("source-changed", "Another program has resumed the VM while it was being moved", {
    side: "source",
    hint: "It goes on here. See that nothing else controls it, and send it again.",
  });
}

function switchedOff(byGuest: boolean): MigrateError {
  const who = byGuest ? "The guest has switched itself off" : "The VM has been switched off";
  return new MigrateError("source-changed", `${who} while it was being moved`, {
    side: "source",
    hint: "Its disks are here, and whole: send them as files, or start it again and send it then.",
  });
}
