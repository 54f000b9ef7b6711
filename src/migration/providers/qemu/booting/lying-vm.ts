/** A VM that lies in its folder and does not run: what it is by its vm.json, and the files that it needs. */
import { lstatSync } from "node:fs";
import { join } from "node:path";
import { MigrateError } from "../../../../protocol/errors.ts";
import { manifestName } from "../../../../protocol/names.ts";
import { checkImage } from "../../../../vm/disks/disk-format.ts";
import { type Manifest, tpmFolder } from "../../../../vm/folder/manifest.ts";
import type { VmModel } from "../../../../vm/qemu/definition/definition.ts";
import { hasTpm } from "../../../../vm/qemu/definition/model.ts";
import { readModel } from "../../../../vm/qemu/definition/schema.ts";

export interface LyingVm {
  definition: VmModel;
  /** Paths of its files, and of the folder with its TPM's state if it has one. */
  files: readonly string[];
  hasTpm: boolean;
}

/**
 * What a QEMU is started with for the VM in this folder. Throws MigrateError "vm-invalid" if that is not known, or a
 * file of it is not there.
 */
export function lyingVm(folder: string, manifest: Manifest): LyingVm {
  const definition = definitionOf(manifest, folder);
  return { definition, files: filesOf(definition, folder), hasTpm: hasTpm(definition) };
}

const invalid = (message: string, hint?: string, cause?: unknown) =>
  new MigrateError("vm-invalid", message, { hint, cause });

function definitionOf({ name, definition, files }: Manifest, folder: string): VmModel {
  const how = "docs/operating.md says how it is started by hand";
  if (files.some(({ kind }) => kind === "ram")) {
    throw invalid(
      `${name} was suspended when it arrived: its RAM lies in ${folder}, and what QEMU it needs is not known`,
      `start QEMU with what it had at its source and -incoming; ${how}`,
    );
  }
  if (definition === undefined) {
    throw invalid(
      `${join(folder, manifestName)} does not say what VM ${name} is: no memory, processor or card is known of it`,
      `only VMs that arrived while they ran have that; ${how}`,
    );
  }
  try {
    return readModel(definition);
  } catch (cause) {
    throw invalid(`${join(folder, manifestName)}: ${(cause as Error).message}`, undefined, cause);
  }
}

/** Paths of all that the VM needs, looked at. */
function filesOf(definition: VmModel, folder: string): string[] {
  const files = definition.files.map(({ name, kind, format }) => {
    const path = join(folder, name);
    if (!lstatSync(path, { throwIfNoEntry: false })?.isFile())
      throw invalid(`${name} of the VM is not in ${folder}, or is no regular file`);
    // A disk whose format is not raw could name another file, which QEMU would open.
    if (kind === "disk") checkImage(path, { shownAs: name, declared: format, forQemu: true });
    return path;
  });
  if (!hasTpm(definition)) return files;
  const tpm = join(folder, tpmFolder);
  if (!lstatSync(tpm, { throwIfNoEntry: false })?.isDirectory())
    throw invalid(`the state of the VM's TPM is not in ${folder}`);
  return [...files, tpm];
}
