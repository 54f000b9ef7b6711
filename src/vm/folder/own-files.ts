/**
 * What in a VM's folder is the VM's own, by its vm.json, and taking exactly that away. What somebody else put there
 * stays, and the folder with it. No link is followed, and vm.json goes last: whoever is killed on the way begins again.
 */
import { type BigIntStats, lstatSync, readdirSync, rmdirSync, unlinkSync } from "node:fs";
import { dirname, join } from "node:path";
import { inPinnedFolder, syncFolder } from "../../platform/files/rename.ts";
import { manifestName } from "../../protocol/names.ts";
import { type Manifest, tpmFolder } from "./manifest.ts";

/** What swtpm keeps in a state folder (swtpm(8), --tpmstate): the state of a TPM 1.2 or 2.0, and its lock. */
export const swtpmFile = /^(?:tpm2?-00\.(?:permall|volatilestate|savestate)|\.lock)$/;

export interface FolderEntry {
  /** Relative to the VM's folder. */
  name: string;
  bytes: number;
  /** Device and inode, as it was looked at: what lies there by then goes only if it is the same file. */
  file: string;
}

export interface OwnEntries {
  /** The VM's own files that are there, in the order in which they are deleted. */
  own: FolderEntry[];
  /** Names of all else in the folder. */
  others: string[];
}

/** Looks into the VM's folder. Throws as node:fs does if it cannot be read. */
export function ownEntries(folder: string, manifest: Pick<Manifest, "files">): OwnEntries {
  const named = new Set(manifest.files.map(({ file }) => file));
  const others: string[] = [];
  const own: FolderEntry[] = [];
  const look = (name: string, isOwn: boolean) => {
    const entry = entryOf(folder, name);
    // Where a file of the VM was is something else now.
    if (isOwn && typeof entry === "object") own.push(entry);
    else if (entry !== "gone") others.push(name);
  };
  const entries = readdirSync(folder, { withFileTypes: true });
  for (const entry of entries.sort((one, other) => (one.name < other.name ? -1 : 1))) {
    if (entry.name === manifestName) continue;
    if (entry.name === tpmFolder && entry.isDirectory()) {
      for (const name of readdirSync(join(folder, tpmFolder)).sort()) {
        const path = join(tpmFolder, name);
        look(path, named.has(path) || swtpmFile.test(name));
      }
    } else look(entry.name, named.has(entry.name));
  }
  look(manifestName, true);
  return { own, others };
}

/** What swtpm keeps in a state folder that lies outside of the VM's. Throws as node:fs does. */
export function tpmEntries(folder: string): FolderEntry[] {
  return readdirSync(folder)
    .filter((name) => swtpmFile.test(name))
    .map((name) => entryOf(folder, name))
    .filter((entry) => typeof entry === "object");
}

/** A file, as it is now. */
function entryOf(folder: string, name: string): FolderEntry | "gone" | "no file" {
  const stat = lstatSync(join(folder, name), { bigint: true, throwIfNoEntry: false });
  if (stat === undefined) return "gone";
  return stat.isFile() ? { name, bytes: Number(stat.blocks) * 512, file: placeOf(stat) } : "no file";
}

const placeOf = ({ dev, ino }: BigIntStats): string => `${dev}:${ino}`;

/**
 * Deletes the files, then the folders that are empty now; durable when it returns. `removed` is told of each. Throws as
 * node:fs does.
 */
export function deleteOwn(
  folder: string,
  own: readonly FolderEntry[],
  removed: (name: string) => void = () => {},
): void {
  // Whoever may write to the folder above may put another one in its place meanwhile.
  inPinnedFolder(join(folder, manifestName), (pinned) => {
    for (const entry of own) {
      if (entry.name === manifestName) {
        removeIfEmpty(join(pinned, tpmFolder));
        syncFolder(pinned);
      }
      unlinkIfSame(pinned, entry);
      removed(entry.name);
    }
    removeIfEmpty(join(pinned, tpmFolder));
    syncFolder(pinned);
  });
  removeIfEmpty(folder);
  syncFolder(dirname(folder));
}

/** Any of the folders above may lead elsewhere by now, to a file of that name which is not the VM's. */
function unlinkIfSame(pinned: string, { name, file }: FolderEntry): void {
  inPinnedFolder(join(pinned, name), (inside, base) => {
    const path = join(inside, base);
    const stat = lstatSync(path, { bigint: true, throwIfNoEntry: false });
    if (stat?.isFile() === true && placeOf(stat) === file) unlinkSync(path);
  });
}

/** A folder with something in it stays. */
function removeIfEmpty(folder: string): void {
  try {
    rmdirSync(folder);
  } catch {
    // Not there, not empty, or a link that somebody put there.
  }
}
