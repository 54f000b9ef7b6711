/** The QEMU in a run folder: whether one runs there, what it says of its VM, and that only one process starts one. */
import { closeSync, mkdirSync, openSync } from "node:fs";
import { dirname, join } from "node:path";
import { tryFlock } from "../../../../platform/files/locks.ts";
import { argumentsOf, isRunning, type ProcessId } from "../../../../platform/process-id.ts";
import { MigrateError } from "../../../../protocol/errors.ts";
import { isEntering } from "../../../../vm/confinement/confinement.ts";
import { endDaemon } from "../../../../vm/qemu/daemon.ts";
import { type HostVm, hostVms } from "../../../../vm/qemu/host-vms.ts";
import { connectTo } from "../../../../vm/qemu/launch.ts";
import { runState } from "../../../../vm/qemu/outgoing/guest-watch.ts";
import type { RunFolder } from "../../../../vm/qemu/run-folder.ts";
import { spareQmpName } from "../arriving-command.ts";

/** How long a QEMU that an earlier start began may take to answer, in milliseconds. */
const answerMs = 15_000;
const pollMs = 20;

export type ReachableVm = HostVm & { qmpPath: string };

/** The QEMUs whose QMP socket is in this run folder. */
export function qemusIn(run: RunFolder): ReachableVm[] {
  const isOurs = (vm: HostVm): vm is ReachableVm => vm.qmpPath !== null && dirname(vm.qmpPath) === run.path;
  return hostVms().filter(isOurs);
}

/**
 * Only one process at a time starts the VM; the kernel keeps the lock as long as it lives (flock(2)). Returns what
 * gives it back. Throws MigrateError "vm-busy" if another process has it.
 */
export function lockRun(run: RunFolder, name: string): () => void {
  const folder = dirname(run.path);
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  // No VM's name begins with a point.
  const fd = openSync(join(folder, `.${name}.lock`), "a", 0o600);
  if (tryFlock(fd)) return () => closeSync(fd);
  closeSync(fd);
  throw new MigrateError("vm-busy", `${name} is being started by another process`, {
    hint: "wait for that one; migrate ls shows what runs",
  });
}

/** Waits until the programs of an earlier start are what they were started to be: each gives up its rights first. */
export async function entered(run: RunFolder): Promise<void> {
  const { qemu = null, swtpm = null } = run.noted() ?? {};
  const lateAtMs = performance.now() + answerMs;
  for (const process of [qemu, swtpm]) {
    if (process === null) continue;
    while (isRunning(process) && isEntering(argumentsOf(process.pid) ?? [])) {
      if (performance.now() > lateAtMs) await endDaemon(process);
      else await Bun.sleep(pollMs);
    }
  }
}

/**
 * What QEMU says of its VM, once it answers; null if it ends. Asked on the socket that no serve holds. Throws MigrateError
 * "vm-running" if it does not answer.
 */
export async function statusOf(
  { process }: { process: ProcessId },
  run: RunFolder,
  withinMs = answerMs,
): Promise<string | null> {
  for (const lateAtMs = performance.now() + withinMs; isRunning(process); await Bun.sleep(pollMs)) {
    try {
      using qmp = await connectTo(process, run.socket(spareQmpName), { timeoutMs: withinMs });
      return await runState(qmp);
    } catch (cause) {
      // Not there yet, or about to end.
      if (performance.now() < lateAtMs) continue;
      const said = `a QEMU of this VM runs (process ${process.pid}) and does not answer`;
      throw new MigrateError("vm-running", said, { hint: "end it, and start the VM again", cause });
    }
  }
  return null;
}
