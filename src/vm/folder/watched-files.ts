/** The source's files, open and watched: they must not change between the first byte and the last. */
import { type BigIntStats, closeSync, fstatSync, openSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import { statBlockBytes } from "../../platform/files/filesystem.ts";
import { holdAgainstQemu, isLocked, qemuHolds } from "../../platform/files/locks.ts";
import { MigrateError } from "../../protocol/errors.ts";
import type { OpenFiles } from "./open-files.ts";
import type { Vm, VmFile } from "./vm-folder.ts";

interface WatchedFile {
  file: VmFile;
  fd: number;
  /** What it was like when it was opened. */
  then: BigIntStats;
}

/** The sentences here name a file by its base name alone: they may be sent to the peer. */
function changed(file: VmFile, how: string, cause?: unknown): MigrateError {
  return new MigrateError("source-changed", `${file.base} ${how} since the migration began`, {
    side: "source",
    hint: "Something still writes to the VM's files; stop it and send the VM again.",
    cause,
  });
}

function running(file: VmFile): MigrateError {
  return new MigrateError(
    "vm-running",
    `${file.base} is in use by a running QEMU; suspend the VM and quit QEMU first`,
    { side: "source" },
  );
}

/**
 * All files of a VM, open for reading until `close`. While it is open, no QEMU can take one of the
 * disks for writing, if the file system has locks.
 */
export class WatchedFiles implements OpenFiles, Disposable {
  readonly #files: WatchedFile[] = [];
  readonly #unguarded: string[] = [];

  private constructor() {}

  /**
   * Opens every file. Throws MigrateError "vm-running" if a QEMU holds one for writing or a swtpm
   * holds the TPM's state, "source-changed" if one is not what `vm` says any more.
   */
  static open(vm: Vm): WatchedFiles {
    const watched = new WatchedFiles();
    try {
      checkTpmUnused(vm);
      for (const file of vm.files) watched.#open(file);
      return watched;
    } catch (thrown) {
      watched.close();
      throw thrown;
    }
  }

  /** Base names of the disks that could not be guarded: their file system has no locks. */
  get unguarded(): readonly string[] {
    return this.#unguarded;
  }

  /** The descriptor of `vm.files[index]`; read by position, since others read through it too. */
  fd(index: number): number {
    return this.#files[index]!.fd;
  }

  bytes(index: number): number {
    return Number(this.#files[index]!.then.size);
  }

  allocatedBytes(index: number): number {
    return Number(this.#files[index]!.then.blocks) * statBlockBytes;
  }

  /**
   * Throws MigrateError "source-changed" if a file changed, shrank, grew, vanished or was replaced
   * since it was opened. A change of its rights, owner or link count counts as one (ctime of inode(7)).
   */
  verify(): void {
    for (const { file, fd, then } of this.#files) {
      const there = statByPath(file);
      if (there.dev !== then.dev || there.ino !== then.ino)
        throw changed(file, "was replaced by another file");
      compare(file, then, fstatSync(fd, { bigint: true }));
    }
  }

  /**
   * Resolves once a write from now on would give a file other times than it has: until then, one that comes right
   * after another may leave them as they are. Throws as `verify`.
   */
  async settled(): Promise<void> {
    const waitMs = Math.max(0, ...this.#files.map(({ then }) => unsettledMs(then, Date.now())));
    if (waitMs > 0) await Bun.sleep(waitMs);
    this.verify();
  }

  close(): void {
    for (const { fd } of this.#files.splice(0)) closeSync(fd);
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #open(file: VmFile): void {
    let fd: number;
    try {
      fd = openSync(file.path, "r");
    } catch (thrown) {
      const code = (thrown as { code?: unknown }).code;
      throw changed(file, code === "ENOENT" ? "vanished" : `became unreadable (${String(code)})`, thrown);
    }
    // The lock belongs to this descriptor; in the list it is closed whatever happens next.
    const then = fstatSync(fd, { bigint: true });
    this.#files.push({ file, fd, then });
    if (then.dev !== file.dev || then.ino !== file.ino) throw changed(file, "was replaced by another file");
    compare(file, { size: BigInt(file.bytes), mtimeNs: file.mtimeNs }, then);
    if (file.kind === "disk") this.#guard(file, fd);
    else if (qemuHolds(fd)) throw running(file);
  }

  #guard(file: VmFile, fd: number): void {
    let held: boolean;
    try {
      held = holdAgainstQemu(fd);
    } catch {
      // No locks on this file system: what QEMU writes shows in the file's times, which `verify` reads.
      this.#unguarded.push(file.base);
      return;
    }
    if (!held) throw running(file);
  }
}

/** Linux stamps files by its timer's ticks: 10 ms with the slowest (CONFIG_HZ_100; inode(7)). */
const tickMs = 20;
/** FAT counts mtime in two seconds, and older network file systems all times in whole ones. */
const coarseTickMs = 2_000;
const nsPerSec = 1_000_000_000n;

/** For how many milliseconds from `nowMs` on a write to such a file might leave its times as they are. Pure. */
export function unsettledMs(
  { mtimeNs, ctimeNs }: Pick<BigIntStats, "mtimeNs" | "ctimeNs">,
  nowMs: number,
): number {
  const isCoarse = mtimeNs % nsPerSec === 0n && ctimeNs % nsPerSec === 0n;
  const stepMs = isCoarse ? coarseTickMs : tickMs;
  const ageMs = nowMs - Number((ctimeNs > mtimeNs ? ctimeNs : mtimeNs) / 1_000_000n);
  // Older than the step: settled. In the future: the file system's clock is another one, and its age is not known.
  return ageMs > stepMs ? 0 : Math.min(stepMs, stepMs - ageMs);
}

/** What is compared; ctime only if it is known. */
type Looks = Pick<BigIntStats, "size" | "mtimeNs"> & Partial<Pick<BigIntStats, "ctimeNs">>;

function compare(file: VmFile, then: Looks, now: BigIntStats): void {
  if (now.size < then.size) throw changed(file, "shrank");
  if (now.size > then.size) throw changed(file, "grew");
  if (now.mtimeNs !== then.mtimeNs || (then.ctimeNs !== undefined && now.ctimeNs !== then.ctimeNs)) {
    throw changed(file, "changed");
  }
}

function statByPath(file: VmFile): BigIntStats {
  try {
    return statSync(file.path, { bigint: true });
  } catch (thrown) {
    throw changed(file, "vanished", thrown);
  }
}

/** swtpm locks `.lock` in its state folder while it runs (swtpm(8), since 0.7). */
function checkTpmUnused(vm: Vm): void {
  const folders = new Set(vm.files.filter(({ kind }) => kind === "tpm").map(({ path }) => dirname(path)));
  for (const folder of folders) {
    let fd: number;
    try {
      fd = openSync(join(folder, ".lock"), "r");
    } catch {
      continue;
    }
    try {
      if (!isLocked(fd)) continue;
      throw new MigrateError(
        "vm-running",
        "The virtual TPM's state is in use by a running swtpm; suspend the VM and quit QEMU first",
        { side: "source" },
      );
    } finally {
      closeSync(fd);
    }
  }
}
