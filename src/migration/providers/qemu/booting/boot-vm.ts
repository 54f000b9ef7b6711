/**
 * Starting a VM that lies on this host, from its definition: in a run folder as one that arrives has, so that
 * whatever finds such a VM (`migrate ls`, `send`) finds this one too.
 */
import { randomBytes } from "node:crypto";
import { closeSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import type { ProcessId } from "../../../../platform/process-id.ts";
import { MigrateError } from "../../../../protocol/errors.ts";
import { openTaps } from "../../../../vm/confinement/taps.ts";
import { tpmFolder } from "../../../../vm/folder/manifest.ts";
import { requireUnheld } from "../../../../vm/holders/file-holders.ts";
import { endFollowers, screenOf, startAttendants } from "../../../../vm/qemu/attendants/start-attendants.ts";
import { endDaemon } from "../../../../vm/qemu/daemon.ts";
import { cardOutcomes, networkNotes } from "../../../../vm/qemu/definition/command-line.ts";
import type { VmModel } from "../../../../vm/qemu/definition/definition.ts";
import { checkHostRoom, hostRoom } from "../../../../vm/qemu/host-room.ts";
import { hostVms } from "../../../../vm/qemu/host-vms.ts";
import { startQemu } from "../../../../vm/qemu/launch.ts";
import { resumeGuest } from "../../../../vm/qemu/outgoing/resume-guest.ts";
import { qmpFailure } from "../../../../vm/qemu/qmp/qmp-error.ts";
import { qmpSocketName, RunFolder } from "../../../../vm/qemu/run-folder.ts";
import { endSwtpm, startSwtpm, swtpmOf, tpmSocketName } from "../../../../vm/qemu/swtpm.ts";
import { endLimits, filesOf, VmPrograms } from "../../../../vm/qemu/vm-programs.ts";
import {
  commandLineOf,
  firstTap,
  type QemuPolicy,
  requirePrograms,
  spareQmpName,
  vmLinkName,
} from "../arriving-command.ts";
import { entered, lockRun, qemusIn, type ReachableVm, statusOf } from "./running-here.ts";
import { runsFrom } from "./runs-from.ts";

export interface BootOptions {
  home: string;
  name: string;
  /** The VM's folder, absolute, with all links resolved. */
  folder: string;
  definition: VmModel;
  policy: QemuPolicy;
}

export interface BootedVm {
  /** Path of its QMP socket. */
  qmpPath: string;
  process: ProcessId;
  /** It was there before: nothing was started. */
  wasThere: boolean;
  /** Where its screen is shown, as a sentence; undefined if it is not. */
  screen: string | undefined;
  /** Sentences on what is behind its network cards, and on what could not be looked at. */
  notes: readonly string[];
}

/**
 * Starts the VM; one that runs from this folder already stays as it is. What an earlier call that was killed left
 * behind is ended first. Throws MigrateError: "vm-running" if another program has the VM, "name-taken" if another VM
 * runs under its name, "vm-busy" if another process starts it, "policy" if this host cannot be what it needs, and
 * "qemu-failed"; nothing is left running then.
 */
export async function bootVm(options: BootOptions): Promise<BootedVm> {
  const { home, name, folder, definition, policy } = options;
  const run = RunFolder.at(home, name);
  const unlock = lockRun(run, name);
  try {
    const notes = networkNotes(definition, cardOutcomes(definition, policy.net), "here");
    const there = await endLeftOver(run, folder, name);
    if (there !== null) {
      const screen = screenOf(run, name);
      return { qmpPath: there.qmpPath, process: there.process, wasThere: true, notes, screen };
    }
    refuseOthers(folder);
    const unseen = refuseHolders(definition, folder);
    requirePrograms(definition, []);
    checkHostRoom(definition, hostRoom(), "this host");
    const process = await boot(options, run);
    const all = unseen === null ? notes : [...notes, unseen];
    const screen = screenOf(run, name);
    return { qmpPath: run.socket(qmpSocketName), process, wasThere: false, notes: all, screen };
  } finally {
    unlock();
  }
}

async function boot({ folder, definition, policy }: BootOptions, run: RunFolder): Promise<ProcessId> {
  const { argv, hasTpm, network, bridges } = commandLineOf(definition, policy, run, "boots");
  const id = randomBytes(16).toString("hex");
  run.make(id);
  try {
    run.link(vmLinkName, folder);
    const house = { run, folder, finalFolder: folder, stores: [dirname(folder)], id };
    const programs = new VmPrograms(policy.confinement, house);
    programs.limit(definition);
    if (hasTpm) programs.giveTpm();
    programs.giveFiles(filesOf(definition));
    if (hasTpm) {
      const stateFolder = join(folder, tpmFolder);
      await startSwtpm({ stateFolder, run, confined: (words) => programs.swtpm(words) });
    }
    const kept = bridges.map((_, n) => firstTap + n);
    const command = programs.qemu(argv, filesOf(definition), { network, kept });
    const taps = openTaps(bridges);
    const qemu = await startQemu(command, run, { descriptors: taps }).finally(() => taps.map(closeSync));
    try {
      programs.pin([qmpSocketName, spareQmpName].map((name) => run.socket(name)));
      await startAttendants(definition, { run, programs, vnc: policy.vnc });
      const answer = await resumeGuest(qemu.qmp);
      if (answer.outcome === "refused") throw answer.why;
    } catch (thrown) {
      await qemu.kill();
      throw thrown;
    }
    qemu.qmp.close();
    return qemu.process;
  } catch (thrown) {
    const noted = run.noted();
    if (noted !== null) await endFollowers(noted);
    endLimits(id);
    run.remove();
    throw here(qmpFailure(thrown, "destination"));
  }
}

/** The error without a side: there is one host alone. */
function here(error: MigrateError): MigrateError {
  return new MigrateError(error.code, error.message, { hint: error.hint, cause: error });
}

/**
 * Ends what an earlier start that was killed left behind: a QEMU that was never told to run, an swtpm without one.
 * Returns the VM if it is there; null if there is nothing any more.
 */
async function endLeftOver(run: RunFolder, folder: string, name: string): Promise<ReachableVm | null> {
  await entered(run);
  for (const vm of qemusIn(run)) {
    const status = await statusOf(vm, run);
    if (status === null) continue;
    if (status === "prelaunch") await endDaemon(vm.process);
    else if (runsFrom(vm, folder)) return vm;
    else {
      throw new MigrateError("name-taken", `a VM called ${name} runs on this host already`, {
        hint: `its QMP socket is ${vm.qmpPath}`,
      });
    }
  }
  const swtpm = swtpmOf(run.socket(tpmSocketName));
  if (swtpm !== null) await endSwtpm(swtpm.process);
  const noted = run.noted();
  if (noted !== null) await endFollowers(noted);
  return null;
}

/** Throws MigrateError "vm-running" if a QEMU of anybody else's has a disk of the VM. */
function refuseOthers(folder: string): void {
  const other = hostVms().find((vm) => runsFrom(vm, folder));
  if (other === undefined) return;
  throw new MigrateError("vm-running", `the VM runs already: process ${other.process.pid} has its disks`, {
    hint: other.qmpPath === null ? "end it, and start the VM again" : `its QMP socket is ${other.qmpPath}`,
  });
}

/**
 * Throws MigrateError if anybody can change a disk of the VM, or has made a disk of it: a loop device or a mapping as
 * much as a program. Returns what could not be looked at, as a sentence; null if all could.
 */
function refuseHolders({ files }: VmModel, folder: string): string | null {
  const parts = files.map(({ name }) => {
    const path = join(folder, name);
    const { dev, ino } = statSync(path, { bigint: true });
    return { path, base: name, dev, ino, leaves: false };
  });
  try {
    return requireUnheld(parts, []);
  } catch (thrown) {
    if (!(thrown instanceof MigrateError)) throw thrown;
    throw new MigrateError(thrown.code, thrown.message, {
      hint: "End that use first: two who write to a disk destroy it.",
      cause: thrown,
    });
  }
}
