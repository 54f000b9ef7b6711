/** Which folder of a store a VM that runs here comes from. */
import { realpathSync } from "node:fs";
import { dirname, join, sep } from "node:path";
import type { HostVm } from "../../../../vm/qemu/host-vms.ts";
import { RunFolder } from "../../../../vm/qemu/run-folder.ts";
import { vmLinkName } from "../arriving-command.ts";

/**
 * Whether a running VM is the one of that folder (absolute, all links resolved): a disk of it lies there, or the link
 * beside its QMP socket, which every VM has that this program started, leads there.
 */
export function runsFrom(vm: Pick<HostVm, "qmpPath" | "disks">, folder: string): boolean {
  const arrivedFrom = vm.qmpPath === null ? null : realPath(join(dirname(vm.qmpPath), vmLinkName));
  return arrivedFrom === folder || vm.disks.some((path) => realPath(path).startsWith(folder + sep));
}

/** The folders, absolute, of the VMs that run or ran in this home's run folders; one that is gone may be among them. */
export function foldersRunFrom(home: string): string[] {
  return RunFolder.all(home).flatMap(({ path }) => {
    const link = join(path, vmLinkName);
    const folder = realPath(link);
    return folder === link ? [] : [folder];
  });
}

function realPath(path: string): string {
  try {
    return realpathSync(path);
  } catch {
    return path;
  }
}
