/**
 * What is done to the source's files once the destination owns the VM. Every step may be repeated: a file is
 * touched only if it is still the one that was sent (device, inode, birth time).
 */
import { existsSync, lstatSync, rmdirSync, rmSync, unlinkSync } from "node:fs";
import { dirname, join } from "node:path";
import { renameNoReplace, syncFolder } from "../../../platform/rename.ts";
import { MigrateError } from "../../../protocol/errors.ts";
import { fileIdentity } from "../../../vm/folder/file-identity.ts";
import type { SessionRecord } from "../../journal/journal.ts";

/** A file of a VM: its path, and the identity that it had (vm/folder/file-identity.ts). */
export interface OwnFile {
  path: string;
  identity: string;
}

/**
 * Renames, deletes or keeps `files`, the VM's own files, as `record.after` requires. Idempotent. Throws
 * MigrateError "io" if the system refuses.
 */
export function retireFiles(record: SessionRecord, files: readonly OwnFile[]): void {
  try {
    if (record.after === "delete") deleteEach(record, files);
    else if (record.after === "rename") {
      if (record.folder === null) for (const path of stillThere(files)) renameAside(path, record.session);
      else renameFolder(record, record.folder, files);
    }
  } catch (cause) {
    const what = record.after === "delete" ? "deleted" : "renamed";
    const why = (cause as NodeJS.ErrnoException).code ?? String(cause);
    throw new MigrateError("io", `its files here could not be ${what} (${why})`, { side: "source", cause });
  }
}

/**
 * Returns the files of a session that belong to the VM alone. Those from which it was started (kernels,
 * firmware, read-only images) do so only if they lie in the VM's folder: otherwise other VMs may use them.
 * Pure.
 */
export function ownFilesOf({ files, folder }: SessionRecord): OwnFile[] {
  return files.flatMap(({ kind, path, identity }) =>
    path === undefined || identity === undefined || (kind === "boot" && !isWithin(folder, path))
      ? []
      : [{ path, identity }],
  );
}

/** The paths that still lead to the files that were sent, each once. */
function stillThere(files: readonly OwnFile[]): string[] {
  return [
    ...new Set(files.filter(({ path, identity }) => fileIdentity(path) === identity).map(({ path }) => path)),
  ];
}

function isWithin(folder: string | null, path: string): boolean {
  return folder !== null && path.startsWith(`${folder}/`);
}

/** Retires a folder by one rename, so that it exists under exactly one of the two names. */
function renameFolder(record: SessionRecord, folder: string, files: readonly OwnFile[]): void {
  const paths = stillThere(files);
  // Files outside of the folder come first: once the folder is renamed, the paths of its own files no longer
  // lead to them.
  for (const path of paths) if (!isWithin(folder, path)) renameAside(path, record.session);
  if (paths.some((path) => isWithin(folder, path))) renameAside(folder, record.session);
}

/** True if none of the VM's files is left in its folder. */
function isEmptied(folder: string, files: readonly OwnFile[]): boolean {
  return files.every(({ path }) => !isWithin(folder, path) || !existsSync(path));
}

/** Renames a file to "*.migrated", or another such name if that is taken. Throws as node:fs does. */
export function renameAside(path: string, session: string): void {
  const names = [`${path}.migrated`, `${path}.migrated-${session.slice(0, 8)}`];
  for (const name of names) {
    try {
      renameNoReplace(path, name);
      syncFolder(dirname(path));
      return;
    } catch (thrown) {
      if ((thrown as NodeJS.ErrnoException).code !== "EEXIST" || name === names.at(-1)) throw thrown;
    }
  }
}

function deleteEach(record: SessionRecord, files: readonly OwnFile[]): void {
  const folders = new Set<string>();
  for (const path of stillThere(files)) {
    if (lstatSync(path).isDirectory()) rmSync(path, { recursive: true });
    else unlinkSync(path);
    folders.add(dirname(path));
  }
  if (record.folder !== null && isEmptied(record.folder, files)) {
    const manifest = join(record.folder, "vm.json");
    if (existsSync(manifest)) unlinkSync(manifest);
    // Only an empty folder is removed; anything else that somebody put there stays.
    for (const folder of [join(record.folder, "tpm"), record.folder]) {
      try {
        rmdirSync(folder);
      } catch {
        // Not there, or not empty.
      }
    }
    folders.add(dirname(record.folder));
  }
  for (const folder of folders) if (existsSync(folder)) syncFolder(folder);
}
