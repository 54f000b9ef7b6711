/**
 * What is done to the source's files once the destination owns the VM. Every step may be repeated: a file is
 * touched only if it is still the one that was sent (vm/folder/file-identity.ts).
 */
import { existsSync, lstatSync, rmdirSync, rmSync, unlinkSync } from "node:fs";
import { dirname, join } from "node:path";
import { renameNoReplace, syncFolder } from "../../../platform/rename.ts";
import { MigrateError } from "../../../protocol/errors.ts";
import { fileIdentity, isSameFile } from "../../../vm/folder/file-identity.ts";
import { releaseMark } from "../../../vm/folder/release-mark.ts";
import type { SessionRecord } from "../../journal/journal.ts";

/** A file of a VM: its path, and the identity that it had (vm/folder/file-identity.ts). */
export interface OwnFile {
  path: string;
  identity: string;
}

/**
 * Renames, deletes or keeps `files`, the VM's own files, as `record.after` requires. Idempotent. Throws
 * MigrateError "io" if the system refuses, or if another file than the sent one has its name and the sent one is
 * not where an earlier call has put it.
 */
export function retireFiles(record: SessionRecord, files: readonly OwnFile[]): void {
  const strange = record.after === "keep" || record.after === "copy" ? [] : strangers(record, files);
  try {
    if (record.after === "delete") deleteEach(record, files);
    else if (record.after === "rename") {
      const ours = stillThere(files, record.session);
      if (record.folder === null) for (const path of ours) renameAside(path, record.session);
      else renameFolder(record, record.folder, ours);
    }
  } catch (cause) {
    const what = record.after === "delete" ? "deleted" : "renamed";
    const why = (cause as NodeJS.ErrnoException).code ?? String(cause);
    throw new MigrateError("io", `its files here could not be ${what} (${why})`, { side: "source", cause });
  }
  const [path] = strange;
  if (path === undefined) return;
  const what = record.after === "delete" ? "deleted" : "renamed";
  throw new MigrateError("io", `${path} is not the file that was sent, and was not ${what}`, {
    side: "source",
    hint: `the file that was sent is not known here any more: see that nothing starts a VM from it. Move ${path} away, or rename it yourself, and run the command again`,
  });
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

/**
 * The paths that still lead to the files that were sent, each once; with `session` also those whose mark says that
 * this session released them.
 */
function stillThere(files: readonly OwnFile[], session?: string): string[] {
  const ours = files.filter(
    ({ path, identity }) =>
      isSameFile(fileIdentity(path), identity) ||
      (session !== undefined && releaseMark(path)?.session === session),
  );
  return [...new Set(ours.map(({ path }) => path))];
}

/** The paths at which something lies that is not the file that was sent, if that one was not renamed before. */
function strangers(record: SessionRecord, files: readonly OwnFile[]): string[] {
  const ours = stillThere(files, record.after === "rename" ? record.session : undefined);
  return files
    .filter(({ path }) => !ours.includes(path) && lstatSync(path, { throwIfNoEntry: false }) !== undefined)
    .filter(({ path, identity }) => !isRenamed(record, path, identity))
    .map(({ path }) => path);
}

/** True if an earlier call has renamed the file, or the folder that it was in. */
function isRenamed({ folder, session }: SessionRecord, path: string, identity: string): boolean {
  const renamed = folder !== null && isWithin(folder, path) ? folder : path;
  return namesAside(renamed, session).some((name) =>
    isSameFile(fileIdentity(name + path.slice(renamed.length)), identity),
  );
}

function isWithin(folder: string | null, path: string): boolean {
  return folder !== null && path.startsWith(`${folder}/`);
}

/** Retires a folder by one rename, so that it exists under exactly one of the two names. */
function renameFolder(record: SessionRecord, folder: string, paths: readonly string[]): void {
  // Files outside of the folder come first: once the folder is renamed, the paths of its own files no longer
  // lead to them.
  for (const path of paths) if (!isWithin(folder, path)) renameAside(path, record.session);
  if (paths.some((path) => isWithin(folder, path))) renameAside(folder, record.session);
}

/** True if none of the VM's files is left in its folder. */
function isEmptied(folder: string, files: readonly OwnFile[]): boolean {
  return files.every(({ path }) => !isWithin(folder, path) || !existsSync(path));
}

/** The names that a file or folder of a session may get, the first one that is free. */
function namesAside(path: string, session: string): string[] {
  return [`${path}.migrated`, `${path}.migrated-${session.slice(0, 8)}`];
}

function renameAside(path: string, session: string): void {
  const names = namesAside(path, session);
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
