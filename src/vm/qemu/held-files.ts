/**
 * The files of a VM whose QEMU has them open: those that it never writes, and the disks of one that stands
 * held. QEMU's own locks keep others away; what QEMU itself writes shows in the files' times.
 */

import { type BigIntStats, closeSync, constants, fstatSync, openSync } from "node:fs";
import { statBlockBytes } from "../../platform/files/filesystem.ts";
import { MigrateError } from "../../protocol/errors.ts";
import type { OpenFiles } from "../folder/open-files.ts";
import type { VmFile } from "../folder/vm-folder.ts";

interface HeldFile {
  file: VmFile;
  fd: number;
  before: BigIntStats;
}

export class HeldFiles implements OpenFiles {
  readonly #files: HeldFile[] = [];

  /** Opens every file for reading. Throws MigrateError "source-changed" if one cannot be opened any more. */
  static open(files: readonly VmFile[]): HeldFiles {
    const held = new HeldFiles();
    try {
      for (const file of files) {
        const fd = openSync(file.path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
        const before = fstatSync(fd, { bigint: true });
        held.#files.push({ file, fd, before });
        // Who runs the VM may have put another file there since it was looked at, one that QEMU may not read.
        if (before.dev !== file.dev || before.ino !== file.ino) throw replaced(file);
      }
      return held;
    } catch (cause) {
      held.close();
      if (cause instanceof MigrateError) throw cause;
      const code = String((cause as { code?: unknown }).code);
      throw new MigrateError("source-changed", `a file of the VM cannot be opened (${code})`, {
        side: "source",
        cause,
      });
    }
  }

  fd(index: number): number {
    return this.#files[index]!.fd;
  }

  bytes(index: number): number {
    return Number(this.#files[index]!.before.size);
  }

  allocatedBytes(index: number): number {
    return Number(this.#files[index]!.before.blocks) * statBlockBytes;
  }

  verify(): void {
    for (const { file, fd, before } of this.#files) {
      if (!hasChanged(before, fstatSync(fd, { bigint: true }))) continue;
      throw new MigrateError("source-changed", `${file.base} changed since the migration began`, {
        side: "source",
        hint: "Something writes to it beside QEMU.",
      });
    }
  }

  /** Numbers of the files that were written since they were last looked at; from here on they count as unchanged. */
  changed(): number[] {
    return this.#files.flatMap((held, index) => {
      const now = fstatSync(held.fd, { bigint: true });
      if (!hasChanged(held.before, now)) return [];
      held.before = now;
      return [index];
    });
  }

  close(): void {
    for (const { fd } of this.#files.splice(0)) closeSync(fd);
  }
}

function replaced({ base }: VmFile): MigrateError {
  return new MigrateError("source-changed", `${base} was replaced by another file`, { side: "source" });
}

function hasChanged(before: BigIntStats, now: BigIntStats): boolean {
  return now.size !== before.size || now.mtimeNs !== before.mtimeNs || now.ctimeNs !== before.ctimeNs;
}
