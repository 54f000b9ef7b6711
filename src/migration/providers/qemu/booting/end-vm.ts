/**
 * Ending a VM that runs on this host: by its guest's power button, or at once. Its swtpm, its cgroup and what lies in
 * its run folder end with it.
 */
import { existsSync } from "node:fs";
import { isRunning, type ProcessId, waitForEnd } from "../../../../platform/process-id.ts";
import { MigrateError } from "../../../../protocol/errors.ts";
import { endFollowers } from "../../../../vm/qemu/attendants/start-attendants.ts";
import { endDaemon } from "../../../../vm/qemu/daemon.ts";
import { hostVms } from "../../../../vm/qemu/host-vms.ts";
import { connectTo } from "../../../../vm/qemu/launch.ts";
import type { Qmp } from "../../../../vm/qemu/qmp/qmp.ts";
import { RunFolder } from "../../../../vm/qemu/run-folder.ts";
import { endSwtpm, swtpmOf, tpmSocketName } from "../../../../vm/qemu/swtpm.ts";
import { endLimits } from "../../../../vm/qemu/vm-programs.ts";
import { spareQmpName } from "../arriving-command.ts";
import { entered, lockRun, qemusIn, statusOf } from "./running-here.ts";
import { runsFrom } from "./runs-from.ts";

/** How often the power button is pressed: a guest that is still booting has not seen the first time. */
const pressMs = 10_000;
/** How often it is looked whether the guest has switched itself off. */
const lookMs = 250;
/** How long QEMU may take to quit when it is told to: it writes its disks' last blocks. */
const quitMs = 15_000;
/** How long one may take to answer that is to be ended in any case. */
const shortMs = 5_000;
/** How long swtpm may take to follow its QEMU: it ends by itself. */
const followMs = 3_000;

export interface EndOptions {
  home: string;
  name: string;
  /** The VM's folder, absolute, with all links resolved. */
  folder: string;
  /** End QEMU at once, whatever its guest does. */
  now: boolean;
  /** How long the guest may take to switch itself off, in milliseconds. */
  timeoutMs: number;
  /** Called about every second with how long it has been waited, in milliseconds. */
  waiting: (waitedMs: number) => void;
  /** Its reason is thrown once it aborts; the guest may still switch itself off. */
  signal: AbortSignal;
}

/** It did not run; its guest switched itself off; or its QEMU was ended. */
export type Ended = "was-off" | "switched-off" | "cut";

/**
 * Ends the VM. Throws MigrateError "vm-running" if the guest does not switch itself off in time, or if another home
 * runs it; "vm-busy" if it is just being started, or arrives or leaves; and as `endDaemon` does.
 */
export async function endVm(options: EndOptions): Promise<Ended> {
  const { home, name, folder, now } = options;
  const run = RunFolder.at(home, name);
  const process = await find(run, options);
  if (process === null) {
    refuseOthers(folder, name);
    await clear(run, name);
    return "was-off";
  }
  // One that hangs is ended all the same, if that is what is asked for.
  const status = await statusOf({ process }, run, now ? shortMs : undefined).catch((thrown: unknown) => {
    if (now) return "hangs";
    if (!(thrown instanceof MigrateError)) throw thrown;
    throw new MigrateError(thrown.code, thrown.message, { hint: nowHint(name), cause: thrown });
  });
  if (status !== null) requireItsOwn(status, name);
  const wasOff = status === null || status === "shutdown";
  const ending =
    now || wasOff || status === "prelaunch" ? null : await switchOff(process, run, status, options);
  if (ending !== "switched-off") await quit(process, run);
  await clear(run, name);
  return ending ?? (now && !wasOff ? "cut" : "switched-off");
}

/** The QEMU of that VM; null if none runs. */
async function find(run: RunFolder, { name, folder }: EndOptions): Promise<ProcessId | null> {
  const unlock = lockRun(run, name);
  try {
    if (!existsSync(run.path)) return null;
    await entered(run);
    const there = qemusIn(run);
    const ours = there.find((vm) => runsFrom(vm, folder));
    if (ours === undefined && there.length > 0) {
      throw new MigrateError("vm-running", `what runs as ${name} on this host is the VM of another folder`, {
        hint: `its QMP socket is ${there[0]!.qmpPath}; give the folder that is meant`,
      });
    }
    return ours?.process ?? null;
  } finally {
    unlock();
  }
}

/** Throws MigrateError "vm-running" if the VM runs, and not in a run folder of this home. */
function refuseOthers(folder: string, name: string): void {
  const other = hostVms().find((vm) => runsFrom(vm, folder));
  if (other === undefined) return;
  throw new MigrateError("vm-running", `${name} runs, and this home did not start it`, {
    hint: `its QEMU is process ${other.process.pid}; whoever started it ends it`,
  });
}

/** A VM that is on its way belongs to its move (QEMU qapi/run-state.json). */
function requireItsOwn(status: string, name: string): void {
  const way = { inmigrate: "arriving", "finish-migrate": "leaving", postmigrate: "leaving" }[status];
  if (way === undefined) return;
  throw new MigrateError("vm-busy", `${name} is just ${way}`, {
    hint: "migrate status shows its session; migrate resolve gives one up",
  });
}

/**
 * Presses the power button until the guest has switched itself off (QEMU qapi/machine.json, system_powerdown).
 * Returns null if QEMU stays with a guest that is off (-no-shutdown).
 */
async function switchOff(
  process: ProcessId,
  run: RunFolder,
  status: string,
  { name, timeoutMs, waiting, signal }: EndOptions,
): Promise<"switched-off" | null> {
  if (!["running", "suspended"].includes(status)) {
    throw new MigrateError(
      "vm-running",
      `${name} stands still (${status}): its guest hears no power button`,
      {
        hint: nowHint(name),
      },
    );
  }
  const since = performance.now();
  let pressedAtMs = Number.NEGATIVE_INFINITY;
  let toldMs = 0;
  for (;;) {
    const waitedMs = performance.now() - since;
    if (waitedMs >= timeoutMs) break;
    signal.throwIfAborted();
    if (waitedMs - pressedAtMs >= pressMs) {
      await press(process, run);
      pressedAtMs = waitedMs;
    }
    if (waitedMs - toldMs >= 1000) {
      waiting(waitedMs);
      toldMs = waitedMs;
    }
    if (await waitForEnd(process, Math.min(lookMs, timeoutMs - waitedMs))) return "switched-off";
    if ((await statusOf({ process }, run)) === "shutdown") return null;
  }
  const seconds = Math.round(timeoutMs / 1000);
  throw new MigrateError(
    "vm-running",
    `${name} has not switched itself off within ${seconds} s, and still runs`,
    {
      hint: `its guest does not listen to its power button, or needs longer (--timeout); ${nowHint(name)}`,
    },
  );
}

function nowHint(name: string): string {
  return `migrate stop ${name} --now ends it, which to its guest is a power cut`;
}

async function press(process: ProcessId, run: RunFolder): Promise<void> {
  await asked(process, run, (qmp) => qmp.execute("system_powerdown"));
}

async function quit(process: ProcessId, run: RunFolder): Promise<void> {
  const hears = await asked(process, run, (qmp) => qmp.execute("quit"));
  if (hears && (await waitForEnd(process, quitMs))) return;
  // One that does not answer is asked by SIGTERM, on which it quits as well (qemu(1)), before it is killed.
  await endDaemon(process, { politeMs: hears ? quitMs : shortMs });
}

/** Says something to QEMU on the socket that no serve holds. Returns whether it was heard. */
async function asked(
  process: ProcessId,
  run: RunFolder,
  ask: (qmp: Qmp) => Promise<unknown>,
): Promise<boolean> {
  try {
    using qmp = await connectTo(process, run.socket(spareQmpName), { timeoutMs: shortMs });
    await ask(qmp);
    return true;
  } catch {
    // It may have ended before its answer was read.
    return !isRunning(process);
  }
}

/** Ends what follows a QEMU that is gone, and leaves of the run folder what the VM said. */
async function clear(run: RunFolder, name: string): Promise<void> {
  let unlock: () => void;
  try {
    unlock = lockRun(run, name);
  } catch {
    // It is being started again, which clears the place itself.
    return;
  }
  try {
    if (!existsSync(run.path) || qemusIn(run).length > 0) return;
    const swtpm = swtpmOf(run.socket(tpmSocketName))?.process;
    if (swtpm !== undefined && !(await waitForEnd(swtpm, followMs))) await endSwtpm(swtpm);
    const noted = run.noted();
    if (noted === null) return;
    await endFollowers(noted);
    endLimits(noted.session);
    run.sweep();
  } finally {
    unlock();
  }
}
