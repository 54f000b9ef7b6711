/** Who uses the files of a running VM beside its own programs. */
import { readdirSync, statSync } from "node:fs";
import { basename, join } from "node:path";
import { requireUnheld, type VmPart } from "../../../../vm/holders/file-holders.ts";
import type { RunningVm } from "../../../../vm/qemu/running-vm.ts";

/** As `Departure.requireUnheld`: disks and the TPM's state leave with the VM, what it was started from may not. */
export function requireUnheldBesides({ disks, boot, tpm, process }: RunningVm): string | null {
  const own = [process.pid, ...(tpm === null ? [] : [tpm.swtpm.pid])];
  const state = tpm === null ? [] : readdirSync(tpm.state.path).map((name) => join(tpm.state.path, name));
  const parts = [
    ...disks.map(({ path, dev, ino }) => ({ path, base: basename(path), dev, ino, leaves: true })),
    ...boot.map(({ path, dev, ino }) => ({ path, base: basename(path), dev, ino, leaves: false })),
    ...state.flatMap(partOf),
  ];
  return requireUnheld(parts, own);
}

/** Nothing if there is no such file by now: swtpm replaces them. */
function partOf(path: string): VmPart[] {
  const stat = statSync(path, { bigint: true, throwIfNoEntry: false });
  return stat === undefined
    ? []
    : [{ path, base: basename(path), dev: stat.dev, ino: stat.ino, leaves: true }];
}
