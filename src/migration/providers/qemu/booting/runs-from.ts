/** Which folder of a store a VM that runs here comes from. */
import { realpathSync } from "node:fs";
import { dirname, join, sep } from "node:path";
import type { HostVm } from "../../../../vm/qemu/host-vms.ts";
import { vmLinkName } from "../arriving-command.ts";

/**
 * Whether a running VM is the one of that folder (absolute, all links resolved): a disk of it lies there, or the link
 * beside its QMP socket, which every VM has that this program started, leads there.
 */
export function runsFrom(vm: Pick<HostVm, "qmpPath" | "disks">, folder: string): boolean {
  const arrivedFrom = vm.qmpPath === null ? null : realPath(join(dirname(vm.qmpPath), vmLinkName));
  return arrivedFrom === folder || vm.disks.some((path) => realPath(path).startsWith(folder + sep));
}

function realPath(path: string): string {
  try {
    return realpathSync(path);
  } catch {
    return path;
  }
}
