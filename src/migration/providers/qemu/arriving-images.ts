/**
 * The files into which the QEMU and the TPM of an arriving VM write: created empty, and synced to disk at the
 * end.
 */
import { constants, existsSync, readdirSync, rmSync } from "node:fs";
import { open } from "node:fs/promises";
import { join } from "node:path";
import { syncFolder } from "../../../platform/files/rename.ts";
import { makeFolder, type Staging } from "../../../vm/folder/staging.ts";
import { makeBlankImage } from "../../../vm/qemu/images/blank-image.ts";
import type { VmPrograms } from "../../../vm/qemu/vm-programs.ts";
import type { ArrivingQemuRecord } from "./qemu-records.ts";

/**
 * Creates the mirrored disks and the TPM's folder anew: what an earlier QEMU left there is of no use. Throws
 * MigrateError, and as node:fs does.
 */
export async function makeImages(
  machine: ArrivingQemuRecord,
  staging: Staging,
  hasTpm: boolean,
  programs: VmPrograms,
): Promise<void> {
  for (const disk of machine.disks) {
    const path = join(staging.folder, disk.name);
    rmSync(path, { force: true });
    await makeBlankImage(path, disk, (argv) => {
      programs.giveFiles({ disks: [disk.name], boot: [] });
      return programs.qemuImg(argv, disk.name);
    });
  }
  if (!hasTpm) return;
  rmSync(join(staging.folder, "tpm"), { recursive: true, force: true });
  makeFolder(join(staging.folder, "tpm"));
  programs.giveTpm();
}

/**
 * Resolves once everything that QEMU and the TPM have written so far is on disk (fsync(2)). Throws as node:fs
 * does.
 */
export async function syncImages(machine: ArrivingQemuRecord, staging: Staging): Promise<void> {
  const tpm = join(staging.folder, "tpm");
  const states = existsSync(tpm) ? readdirSync(tpm).map((name) => join(tpm, name)) : [];
  for (const path of [...machine.disks.map(({ name }) => join(staging.folder, name)), ...states]) {
    const file = await open(path, constants.O_RDWR | constants.O_NOFOLLOW);
    try {
      await file.sync();
    } finally {
      await file.close();
    }
  }
  if (existsSync(tpm)) syncFolder(tpm);
}
