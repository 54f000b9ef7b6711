/**
 * What becomes of the source's files once the destination owns the VM. Every step may be done again:
 * only a file that is still the very one that was sent (device, inode, birth) is touched.
 */
import { existsSync, lstatSync, rmdirSync, rmSync, unlinkSync } from "node:fs";
import { dirname, join } from "node:path";
import { renameNoReplace, syncFolder } from "../../../platform/rename.ts";
import { MigrateError } from "../../../protocol/errors.ts";
import type { SessionRecord } from "../../journal/journal.ts";
import { sourceMachine } from "../../journal/machine-record.ts";

/** "dev:ino:birthtimeNs": recognises a file under any name; null where there is none. */
export function fileIdentity(path: string): string | null {
  try {
    const { dev, ino, birthtimeNs } = lstatSync(path, { bigint: true });
    return `${dev}:${ino}:${birthtimeNs}`;
  } catch {
    return null;
  }
}

/** Renames, deletes or keeps, as the session says. Throws MigrateError "io" where the system does not let us. */
export function retireFiles(record: SessionRecord): void {
  try {
    if (record.after === "delete") deleteEach(record);
    else if (record.after === "rename") {
      if (record.folder === null) renameEach(record);
      else renameFolder(record, record.folder);
    }
  } catch (cause) {
    const what = record.after === "delete" ? "deleted" : "renamed";
    const why = (cause as NodeJS.ErrnoException).code ?? String(cause);
    throw new MigrateError("io", `its files here could not be ${what} (${why})`, { side: "source", cause });
  }
}

/** What a VM was started from (kernels, firmware, read-only images) is not its own: others may use it. */
function ours(record: SessionRecord): string[] {
  const files = [
    ...record.files.filter(({ kind, path }) => kind !== "boot" || isWithin(record.folder, path)),
    ...(sourceMachine(record.machine)?.retire ?? []),
  ];
  const found = files.flatMap(({ path, identity }) =>
    path !== undefined && identity !== undefined && fileIdentity(path) === identity ? [path] : [],
  );
  // The disks of a VM that ran stand in both lists where they went as files.
  return [...new Set(found)];
}

function isWithin(folder: string | null, path: string | undefined): boolean {
  return folder !== null && path?.startsWith(`${folder}/`) === true;
}

/** Whether nothing of the VM is left in its folder. */
function isEmptied(record: SessionRecord, folder: string): boolean {
  const files = [...record.files, ...(sourceMachine(record.machine)?.retire ?? [])];
  return files.every(({ path }) => path === undefined || !isWithin(folder, path) || !existsSync(path));
}

/** A folder is retired by one rename: it is there under the old name or under the new one. */
function renameFolder(record: SessionRecord, folder: string): void {
  const paths = ours(record);
  // What lies elsewhere first: once the folder has another name, its files are not found any more.
  for (const path of paths) if (!isWithin(folder, path)) renameAside(path, record.session);
  if (paths.some((path) => isWithin(folder, path))) renameAside(folder, record.session);
}

function renameEach(record: SessionRecord): void {
  for (const path of ours(record)) renameAside(path, record.session);
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

function deleteEach(record: SessionRecord): void {
  const folders = new Set<string>();
  for (const path of ours(record)) {
    if (lstatSync(path).isDirectory()) rmSync(path, { recursive: true });
    else unlinkSync(path);
    folders.add(dirname(path));
  }
  if (record.folder !== null && isEmptied(record, record.folder)) {
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
