/**
 * What becomes of the source's files once the destination owns the VM. Every step may be done again:
 * only a file that is still the very one that was sent (device, inode, birth) is touched.
 */
import { existsSync, lstatSync, rmdirSync, rmSync, unlinkSync } from "node:fs";
import { dirname, join } from "node:path";
import { renameNoReplace, syncFolder } from "../../../platform/rename.ts";
import { MigrateError } from "../../../protocol/errors.ts";
import { fileIdentity } from "../../../vm/folder/file-identity.ts";
import type { SessionRecord } from "../../journal/journal.ts";

/** A file of a VM: where it is, and which file that was (vm/folder/file-identity.ts). */
export interface OwnFile {
  path: string;
  identity: string;
}

/**
 * Renames, deletes or keeps `files`, the VM's own, as the session says. Throws MigrateError "io" if the system
 * does not let us.
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
 * The files of a session that are the VM's own. What it was started from (kernels, firmware, read-only images) is
 * not, unless it lies in the VM's folder: others may use it.
 */
export function ownFilesOf({ files, folder }: SessionRecord): OwnFile[] {
  return files.flatMap(({ kind, path, identity }) =>
    path === undefined || identity === undefined || (kind === "boot" && !isWithin(folder, path))
      ? []
      : [{ path, identity }],
  );
}

/** The paths that still lead to the very files that were sent, each once. */
function stillThere(files: readonly OwnFile[]): string[] {
  return [
    ...new Set(files.filter(({ path, identity }) => fileIdentity(path) === identity).map(({ path }) => path)),
  ];
}

function isWithin(folder: string | null, path: string): boolean {
  return folder !== null && path.startsWith(`${folder}/`);
}

/** A folder is retired by one rename: it is there under the old name or under the new one. */
function renameFolder(record: SessionRecord, folder: string, files: readonly OwnFile[]): void {
  const paths = stillThere(files);
  // What lies elsewhere first: once the folder has another name, its files are not found any more.
  for (const path of paths) if (!isWithin(folder, path)) renameAside(path, record.session);
  if (paths.some((path) => isWithin(folder, path))) renameAside(folder, record.session);
}

/** Whether nothing of the VM is left in its folder. */
function isEmptied(folder: string, files: readonly OwnFile[]): boolean {
  return files.every(({ path }) => !isWithin(folder, path) || !existsSync(path));
}

function renameAside(path: string, session: string): void {
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
    // Only an empty folder goes; whatever else somebody put there stays.
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
