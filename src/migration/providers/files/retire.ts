/**
 * What is done to the source's files once the destination owns the VM. Every step may be repeated: a file is
 * touched only if it is still the one that was sent (vm/folder/file-identity.ts).
 */
import { createHash } from "node:crypto";
import { accessSync, constants, existsSync, lstatSync, readdirSync, rmdirSync, unlinkSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { isMountPoint, mostNameBytes } from "../../../platform/files/filesystem.ts";
import { inPinnedFolder, renameNoReplace, syncFolder } from "../../../platform/files/rename.ts";
import { MigrateError } from "../../../protocol/errors.ts";
import { migratedSuffix } from "../../../protocol/names.ts";
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
      const { session, folder } = record;
      // Files outside of the folder come first: once that is renamed, the paths of its own files no longer lead to them.
      for (const file of files) {
        if (!isWithin(folder, file.path)) renameAside(file.path, session, (at) => isOurs(at, file, session));
      }
      // A folder is retired by one rename, so that it exists under exactly one of the two names.
      if (folder !== null) renameAside(folder, session, (at) => hasOurs(at, folder, files, session));
    }
  } catch (cause) {
    const what = record.after === "delete" ? "deleted" : "renamed";
    const why = (cause as NodeJS.ErrnoException).code ?? String(cause);
    throw new MigrateError("io", `its files here could not be ${what} (${why})`, { side: "source", cause });
  }
  const path = strange.find(exists);
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
  return [...new Set(files.filter((file) => isOurs(file.path, file, session)).map(({ path }) => path))];
}

/** True if `at`, now the path of this file, leads to it. */
function isOurs(at: string, { identity }: OwnFile, session?: string): boolean {
  return (
    isSameFile(fileIdentity(at), identity) || (session !== undefined && releaseMark(at)?.session === session)
  );
}

/** The paths at which something lies that is not the file that was sent, if that one was not renamed before. */
function strangers(record: SessionRecord, files: readonly OwnFile[]): string[] {
  const ours = stillThere(files, record.after === "rename" ? record.session : undefined);
  return files
    .filter(({ path }) => !ours.includes(path) && exists(path))
    .filter(({ path, identity }) => !isRenamed(record, path, identity))
    .map(({ path }) => path);
}

function exists(path: string): boolean {
  return lstatSync(path, { throwIfNoEntry: false }) !== undefined;
}

/** True if an earlier call has renamed the file, or the folder that it was in. */
function isRenamed({ folder, session }: SessionRecord, path: string, identity: string): boolean {
  const renamed = folder !== null && isWithin(folder, path) ? folder : path;
  return pathsAside(renamed, session).some((name) =>
    isSameFile(fileIdentity(name + path.slice(renamed.length)), identity),
  );
}

function isWithin(folder: string | null, path: string): boolean {
  return folder !== null && path.startsWith(`${folder}/`);
}

/** True if `at`, now the path of `folder`, leads to a folder with a file that was sent. */
function hasOurs(at: string, folder: string, files: readonly OwnFile[], session: string): boolean {
  return files.some(
    (file) => isWithin(folder, file.path) && isOurs(at + file.path.slice(folder.length), file, session),
  );
}

/** True if none of the VM's files is left in its folder. */
function isEmptied(folder: string, files: readonly OwnFile[]): boolean {
  return files.every(({ path }) => !isWithin(folder, path) || !existsSync(path));
}

/**
 * The paths that a file or folder of a session may get, the first one that is free. A name that is too long for the
 * file system with such an ending is cut, and keeps a few digits of its digest.
 */
export function pathsAside(path: string, session: string): string[] {
  const [folder, name] = [dirname(path), basename(path)];
  return namesAside(name, session, mostNameBytes(folder)).map((aside) => join(folder, aside));
}

/** As `pathsAside`, for names of at most `mostBytes` bytes of UTF-8. Pure. */
export function namesAside(name: string, session: string, mostBytes: number): string[] {
  const id = session.slice(0, 8);
  const whole = [`${name}${migratedSuffix}`, `${name}${migratedSuffix}-${id}`].filter(
    (aside) => Buffer.byteLength(aside) <= mostBytes,
  );
  if (whole.length === 2) return whole;
  const digest = createHash("sha256").update(name).digest("hex").slice(0, 8);
  const ending = `-${digest}${migratedSuffix}-${id}`;
  const room = mostBytes - ending.length;
  // A character of which bytes are missing becomes U+FFFD, which is left out.
  const cut = Buffer.from(name)
    .subarray(0, room)
    .toString("utf8")
    .replace(/\ufffd+$/, "");
  return [...whole, cut + ending];
}

/**
 * Looks whether `retireFiles` could do its work in the end: after the handover it would be too late. Throws MigrateError
 * "vm-invalid", naming the file, if a folder may not be written to or something is mounted on a file.
 */
export function requireRetirable(
  { after, folder }: Pick<SessionRecord, "after" | "folder">,
  files: readonly Pick<OwnFile, "path">[],
): void {
  if (after !== "rename" && after !== "delete") return;
  const paths = files.map(({ path }) => (after === "rename" && isWithin(folder, path) ? folder! : path));
  for (const path of new Set(paths)) {
    const why = whyUnretirable(path);
    if (why === null) continue;
    throw new MigrateError("vm-invalid", `${path} could not be ${after}d once the VM has moved: ${why}`, {
      side: "source",
      hint: "See that its folder can be written to, or leave the files as they are: --after keep.",
    });
  }
}

function whyUnretirable(path: string): string | null {
  try {
    accessSync(dirname(path), constants.W_OK | constants.X_OK);
  } catch (thrown) {
    return `its folder cannot be written to (${(thrown as NodeJS.ErrnoException).code})`;
  }
  return isMountPoint(path) ? "something is mounted there" : null;
}

/**
 * Renames what is at `path` if `isIt` says so. The folders above may be another user's, who replaces them by links: so
 * look and rename go through the one folder.
 */
export function renameAside(path: string, session: string, isIt: (at: string) => boolean): void {
  if (!exists(path)) return;
  inPinnedFolder(path, (folder, name) => {
    const at = join(folder, name);
    if (!isIt(at)) return;
    const names = pathsAside(at, session);
    for (const aside of names) {
      try {
        renameNoReplace(at, aside);
        syncFolder(folder);
        return;
      } catch (thrown) {
        if ((thrown as NodeJS.ErrnoException).code !== "EEXIST" || aside === names.at(-1)) throw thrown;
      }
    }
  });
}

/** Deletes a file, or a folder with the files in it, if it is the one that was sent; pinned as in `renameAside`. */
function deleteOne(file: OwnFile): void {
  inPinnedFolder(file.path, (folder, name) => {
    const at = join(folder, name);
    if (!isOurs(at, file)) return;
    if (!lstatSync(at).isDirectory()) return unlinkSync(at);
    // The name in the middle stands for any file of the folder.
    inPinnedFolder(join(at, "state"), (inside) => {
      if (!isSameFile(fileIdentity(`${inside}/.`), file.identity)) return;
      for (const entry of readdirSync(inside, { withFileTypes: true })) {
        if (!entry.isDirectory()) unlinkSync(join(inside, entry.name));
      }
    });
    removeIfEmpty(at);
  });
}

/** Only an empty folder is removed; anything else that somebody put there stays. */
function removeIfEmpty(folder: string): void {
  try {
    rmdirSync(folder);
  } catch {
    // Not there, or not empty.
  }
}

function deleteEach(record: SessionRecord, files: readonly OwnFile[]): void {
  const folders = new Set<string>();
  for (const file of files) {
    if (!isOurs(file.path, file)) continue;
    deleteOne(file);
    folders.add(dirname(file.path));
  }
  if (record.folder !== null && isEmptied(record.folder, files)) {
    const manifest = join(record.folder, "vm.json");
    if (existsSync(manifest)) unlinkSync(manifest);
    removeIfEmpty(join(record.folder, "tpm"));
    removeIfEmpty(record.folder);
    folders.add(dirname(record.folder));
  }
  for (const folder of folders) if (existsSync(folder)) syncFolder(folder);
}
