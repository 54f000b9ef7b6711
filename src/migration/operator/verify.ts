/** `migrate verify`: checks whether a VM's folder still holds the bytes that arrived. */
import { realpathSync, statSync } from "node:fs";
import { basename, join } from "node:path";
import { MigrateError } from "../../protocol/errors.ts";
import { vmDigest } from "../../transfer/chunks/tag-table.ts";
import { tagsOf } from "../../transfer/landing/read-tags.ts";
import { readManifest } from "../../vm/folder/manifest.ts";

export interface VerifiedFile {
  file: string;
  ok: boolean;
  expected: string;
  /** Null if the file is gone. */
  actual: string | null;
}

export interface Verification {
  ok: boolean;
  name: string;
  files: VerifiedFile[];
  /** The VM's digest, computed from the files as they are now. */
  digest: string;
}

/** Called after each file with the bytes read so far and in total. */
export type VerifyProgress = (doneBytes: number, bytes: number) => void;

/**
 * Reads every file of the VM in `folder`, and compares it with the digests in its vm.json. Throws
 * MigrateError "vm-invalid" if there is no vm.json or it contains no digests, as that of a VM which came while it ran.
 */
export async function verifyVm(folder: string, progress: VerifyProgress): Promise<Verification> {
  const manifest = readManifest(join(folder, "vm.json"));
  const { digest } = manifest;
  if (digest === undefined && manifest.ownership !== undefined) throw neverStill(manifest.name);
  if (digest === undefined || manifest.files.some((file) => file.digest === undefined)) {
    throw new MigrateError("vm-invalid", `${folder}/vm.json carries no digests`, {
      hint: "a VM gets them when it arrives at a destination",
    });
  }
  const tagKey = Buffer.from(digest.key, "hex");
  const bytes = manifest.files.reduce((sum, file) => sum + (file.bytes ?? 0), 0);
  let doneBytes = 0;
  const files: VerifiedFile[] = [];
  for (const [i, file] of manifest.files.entries()) {
    const path = join(folder, file.file);
    const expected = file.digest!;
    const size = sizeOf(path);
    let actual: string | null = null;
    if (size !== null) {
      const tags = await tagsOf({ path: realpathSync(path), file: i, bytes: size, tagKey });
      actual = tags.digest();
    }
    doneBytes += file.bytes ?? 0;
    progress(doneBytes, bytes);
    files.push({ file: file.file, ok: actual === expected, expected, actual });
  }
  const found = vmDigest(
    manifest.name,
    manifest.files.map(({ kind, file }, i) => ({
      kind,
      name: basename(file),
      digest: files[i]!.actual ?? "",
    })),
    digest.bound === true ? { vm: manifest.id ?? "", ek: manifest.tpm?.ek } : undefined,
  );
  return {
    ok: found === digest.vm && files.every(({ ok }) => ok),
    name: manifest.name,
    files,
    digest: found,
  };
}

/** What arrives as files has digests: this one came while it ran. */
function neverStill(name: string): MigrateError {
  const said = `${name} arrived while it ran, and its disks have changed since: there is nothing to compare them with`;
  return new MigrateError("vm-invalid", said, {
    hint: "Both sides checked its RAM and its disks as they were sent. It has digests once it is moved or copied while it is switched off.",
  });
}

function sizeOf(path: string): number | null {
  try {
    return statSync(path).size;
  } catch {
    return null;
  }
}
