/** A VM of this host that does not run, and is not started while something is done with its files. */
import { existsSync } from "node:fs";
import { dirname } from "node:path";
import { isRunning } from "../../../../platform/process-id.ts";
import { MigrateError } from "../../../../protocol/errors.ts";
import { hostVms } from "../../../../vm/qemu/host-vms.ts";
import { RunFolder } from "../../../../vm/qemu/run-folder.ts";
import { lockRun } from "./running-here.ts";
import { runsFrom } from "./runs-from.ts";

export interface VmPlace {
  home: string;
  name: string;
  /** The VM's folder, absolute, with all links resolved. */
  folder: string;
}

/** Throws MigrateError "vm-running" if a QEMU of this host has the VM. */
export function requireAtRest({ name, folder }: Pick<VmPlace, "name" | "folder">): void {
  const there = hostVms().find((vm) => runsFrom(vm, folder));
  if (there === undefined) return;
  throw new MigrateError("vm-running", `${name} runs (process ${there.process.pid})`, {
    hint: there.qmpPath === null ? "end it first" : `end it first; its QMP socket is ${there.qmpPath}`,
  });
}

/**
 * Does `work` while no `migrate start` can start the VM, and returns what it returns. `work` is given a function that
 * removes the run folder which an ended QEMU left. Throws MigrateError "vm-running" if it runs, "vm-busy" if it is being
 * started, and what `work` throws.
 */
export async function withVmAtRest<T>(
  { home, name, folder }: VmPlace,
  work: (removeRunFolder: () => void) => T | Promise<T>,
): Promise<T> {
  const run = RunFolder.at(home, name);
  const unlock = lockRun(run, name);
  try {
    requireAtRest({ name, folder });
    return await work(() => {
      // One of that name that runs from elsewhere, or whose folder cannot be read, keeps what it has.
      const noted = run.noted();
      const isOther = hostVms().some(({ qmpPath }) => qmpPath !== null && dirname(qmpPath) === run.path);
      const programs = [noted?.qemu, noted?.swtpm].filter((id) => id != null);
      if (noted === null || isOther || programs.some(isRunning) || !existsSync(run.path)) return;
      run.remove();
    });
  } finally {
    unlock();
  }
}
