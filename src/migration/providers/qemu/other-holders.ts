/** Who uses the files of a running VM beside its own programs. */
import { readdirSync, statSync } from "node:fs";
import { basename, join } from "node:path";
import { requireUnheld, type VmPart } from "../../../vm/holders/file-holders.ts";
import type { RunningVm } from "../../../vm/qemu/running-vm.ts";

/** As `Departure.requireUnheld`: disks and the TPM's state leave with the VM, what it was started from may not. */
export function requireUnheldBesides({ disks, boot, tpm, process }: RunningVm): string | null {
  const own = [process.pid, ...(tpm === null ? [] : [tpm.swtpm.pid])];
  const state = tpm === null ? [] : readdirSync(tpm.stateFolder).map((name) => join(tpm.stateFolder, name));
  const parts = [
    ...[...disks.map(({ path }) => path), ...state].flatMap((path) => partOf(path, true)),
    ...boot.flatMap(({ path }) => partOf(path, false)),
  ];
  return requireUnheld(parts, own);
}

/** Nothing if there is no such file by now: what reads it says so. */
function partOf(path: string, leaves: boolean): VmPart[] {
  const stat = statSync(path, { bigint: true, throwIfNoEntry: false });
  return stat === undefined ? [] : [{ path, base: basename(path), dev: stat.dev, ino: stat.ino, leaves }];
}
