/**
 * Whether the RAM image of a VM is one of the disks beside it. A VM that was restored from it and ran has written its
 * disks since: a guest whose old memory is restored on newer disks destroys its file systems. The state of its virtual TPM
 * beside it must be the one that was sealed with it likewise.
 */
import { MigrateError } from "../../../protocol/errors.ts";
import { tagsOf } from "../../../transfer/landing/read-tags.ts";
import { fileStamp } from "../../../vm/disks/file-place.ts";
import type { ManifestFile } from "../../../vm/folder/manifest.ts";
import type { Vm, VmFile } from "../../../vm/folder/vm-folder.ts";

/**
 * How much later than the end of its RAM image a disk may have been written: whoever saves a VM stops it first, so
 * that nothing is left for QEMU but to close the disks.
 */
const closingNs = 10_000_000_000n;

/**
 * Throws MigrateError "vm-invalid" if a disk of the VM has been written since its RAM was saved. vm.json tells it by the
 * stamps and digests of the files that arrived, which are read only where a stamp is another one; without
 * them, and for a RAM image that was saved since, the files' times do.
 */
export async function requireFreshRam(vm: Vm): Promise<void> {
  const ram = vm.files.find(({ kind }) => kind === "ram");
  if (ram === undefined) return;
  const disks = vm.files.filter(({ kind }) => kind === "disk");
  const arrived = arrivedFiles(vm);
  if (arrived === null) return requireOlder(vm, ram, disks);
  // Of a state that ran on, or of an older one, the saved RAM knows nothing: QEMU has put its own into it.
  for (const state of vm.files.filter(({ kind }) => kind === "tpm")) {
    if ((await arrived.isSame(state)) || !(await arrived.isSame(ram))) continue;
    throw new MigrateError(
      "vm-invalid",
      `${state.base} is not the state of the virtual TPM that was sealed with ${ram.base}: it is older, or newer, or another VM's`,
      {
        side: "source",
        hint: "Put the one back that came with it. Give --without-ram to send the VM as it was switched off, with this one.",
      },
    );
  }
  const touched = disks.filter((disk) => arrived.looks(disk) !== "same");
  if (touched.length === 0) return;
  if (!(await arrived.isSame(ram))) return requireOlder(vm, ram, touched);
  for (const disk of touched) {
    if (await arrived.isSame(disk)) continue;
    throw stale(vm, ram, `${disk.base} has been written since the two arrived`);
  }
}

/** Throws if one of the disks was written after the RAM image, by the files' times (inode(7)). */
function requireOlder(vm: Vm, ram: VmFile, disks: readonly VmFile[]): void {
  const newer = disks.find(({ mtimeNs }) => mtimeNs > ram.mtimeNs + closingNs);
  if (newer === undefined) return;
  const seconds = Number((newer.mtimeNs - ram.mtimeNs) / 1_000_000_000n);
  throw stale(vm, ram, `${newer.base} was written ${seconds} s after it`, ram.path);
}

function stale(vm: Vm, ram: VmFile, how: string, touchable?: string): MigrateError {
  const without = vm.folder === undefined ? "Leave out --ram" : "Give --without-ram";
  const trust =
    touchable === undefined
      ? "; if you know that no guest ran on them, name the files one by one (--name, --ram, --disk)"
      : `; if you know that they belong together (files that were copied one after the other), touch ${touchable}`;
  return new MigrateError("vm-invalid", `${ram.base} is not the RAM of these disks any more: ${how}`, {
    side: "source",
    hint: `To restore it would destroy what the guest has on them. ${without} to send the VM as it was switched off${trust}.`,
  });
}

interface ArrivedFiles {
  /** By size and stamp: "differs" and "same" are certain, "unknown" needs the file to be read. */
  looks(file: VmFile): "same" | "differs" | "unknown";
  isSame(file: VmFile): Promise<boolean>;
}

/** What vm.json says of the files as they arrived; null if it has no digests of all disks and the RAM. */
function arrivedFiles({ manifest }: Vm): ArrivedFiles | null {
  const digest = manifest?.digest;
  if (manifest === undefined || digest === undefined) return null;
  const known = new Map<string, { entry: ManifestFile; number: number }>();
  for (const [number, entry] of manifest.files.entries()) known.set(entry.file, { entry, number });
  const isJudged = ({ kind }: ManifestFile) => kind === "ram" || kind === "disk" || kind === "tpm";
  if (manifest.files.some((entry) => isJudged(entry) && entry.digest === undefined)) return null;
  const looks: ArrivedFiles["looks"] = (file) => {
    const { entry } = known.get(file.base)!;
    if (entry.bytes !== undefined && entry.bytes !== file.bytes) return "differs";
    return entry.stamp !== undefined && entry.stamp === fileStamp(file.path) ? "same" : "unknown";
  };
  return {
    looks,
    async isSame(file) {
      // What nobody sealed: a file of its TPM's that its swtpm made since.
      if (!known.has(file.base)) return false;
      const seen = looks(file);
      if (seen !== "unknown") return seen === "same";
      const { entry, number } = known.get(file.base)!;
      const tags = await tagsOf({
        path: file.path,
        file: number,
        bytes: file.bytes,
        tagKey: Buffer.from(digest.key, "hex"),
      });
      return tags.digest() === entry.digest;
    },
  };
}
