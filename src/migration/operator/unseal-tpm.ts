/** Opens the sealed state of a virtual TPM into a folder of its own. */
import { closeSync, fstatSync, mkdirSync, openSync, readdirSync, readSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { syncFolder } from "../../platform/files/rename.ts";
import { MigrateError } from "../../protocol/errors.ts";
import { openState, sealedStateMaxBytes } from "../../vm/tpm/sealed-state.ts";

/**
 * Writes the state that is sealed in `file` into `folder`, which is made (0700) or is empty. Returns the VM's name and
 * the names of the files. Throws MigrateError "file-unusable" if either cannot be used, and as `openState`; nothing is
 * written before the passphrase has proven right.
 */
export async function unsealTpm(
  file: string,
  folder: string,
  passphrase: string,
): Promise<{ vm: string; files: string[] }> {
  const { vm, files } = await openState(readBounded(file), passphrase);
  try {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    if (readdirSync(folder).length > 0) throw refusal(`${folder} is not empty`);
    for (const { name, bytes } of files)
      writeFileSync(join(folder, name), bytes, { mode: 0o600, flag: "wx", flush: true });
    syncFolder(folder);
  } catch (thrown) {
    if (thrown instanceof MigrateError) throw thrown;
    const why = (thrown as { code?: unknown }).code ?? String(thrown);
    throw refusal(`${folder} cannot be written to (${why})`, thrown);
  } finally {
    for (const { bytes } of files) bytes.fill(0);
  }
  return { vm, files: files.map(({ name }) => name) };
}

function readBounded(path: string): string {
  let fd: number;
  try {
    fd = openSync(path, "r");
  } catch (thrown) {
    throw refusal(`${path} cannot be read (${(thrown as { code?: unknown }).code})`, thrown);
  }
  try {
    const { size } = fstatSync(fd);
    if (size > sealedStateMaxBytes) throw refusal(`${path} is longer than any sealed state`);
    const bytes = Buffer.alloc(size);
    return bytes.toString("latin1", 0, readSync(fd, bytes, 0, size, 0));
  } catch (thrown) {
    if (thrown instanceof MigrateError) throw thrown;
    throw refusal(`${path} cannot be read (${(thrown as { code?: unknown }).code})`, thrown);
  } finally {
    closeSync(fd);
  }
}

function refusal(message: string, cause?: unknown): MigrateError {
  return new MigrateError("file-unusable", message, {
    hint: "Give the file that the move left (*.sealed-SESSION), and a folder that is new or empty.",
    cause,
  });
}
