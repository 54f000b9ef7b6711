/**
 * Which files of the store an arriving VM is compared with, chunk by chunk: those of the VM that the source
 * names as its base, or of an earlier stay of the same VM. All names are checked before, and all paths are
 * made here.
 */
import { closeSync, constants, fstatSync, lstatSync, openSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { manifestName } from "../../protocol/names.ts";
import type { Offer } from "../../protocol/offer.ts";
import { type Manifest, parseManifest } from "../../vm/folder/manifest.ts";
import { relativePath } from "../../vm/folder/staging.ts";

/** How many folders of a store are searched for an earlier stay of a VM. */
const mostFolders = 4096;
/** Folders that are read for one offer: those that are new, and of the others some. */
const readAtOnce = 256;
const readAgain = 16;
/** In bytes; far more than a vm.json with all files of one VM needs. */
const mostManifestBytes = 1024 * 1024;

interface BaseFile {
  kind: string | null;
  /** Path relative to the VM's folder. */
  name: string;
}

/** The fields of an offer that decide; their names are checked already (protocol/names.ts). */
export type Comparable = Pick<Offer, "name" | "vm" | "files" | "base">;

/**
 * Returns, for each offered file, the path of the file in the store to compare it with, or null. `found` is
 * true if the base that the offer names is there. If the offer names none, `found` is false, and an earlier
 * stay of the VM is searched for, in what `stored` knows. Throws as node:fs does.
 */
export function baseFiles(
  store: string,
  offer: Comparable,
  stored = new StoredIds(store),
): { paths: (string | null)[]; found: boolean } {
  const nothing = offer.files.map(() => null);
  if (offer.base !== undefined) {
    const folder = join(store, offer.base);
    const files = filesOf(folder);
    return files.length === 0
      ? { paths: nothing, found: false }
      : { paths: pair(folder, files, offer), found: true };
  }
  const folder = earlierLife(store, offer, stored);
  return { paths: folder === null ? nothing : pair(folder, filesOf(folder), offer), found: false };
}

/** The folder of a VM that has the same id, or the name that `migrate send` gives to what it moved away. */
function earlierLife(store: string, { name, vm }: Comparable, stored: StoredIds): string | null {
  const names = namesIn(store)
    .filter((folder) => !folder.startsWith("."))
    .slice(0, mostFolders);
  const aside = names.find(
    (folder) =>
      (folder === `${name}.migrated` || folder.startsWith(`${name}.migrated-`)) &&
      isOwnFolder(join(store, folder)),
  );
  if (aside !== undefined) return join(store, aside);
  const same = stored.find(names, vm);
  return same === null ? null : join(store, same);
}

/**
 * Which VMs lie in a store, by their ids, as far as it was looked at: an offer must not cost a read of every vm.json
 * there is. What it does not know yet it learns with the next offers; it is a hint and no more.
 */
export class StoredIds {
  readonly #store: string;
  /** By folder; null for one that has no vm.json of ours. The one that was read longest ago comes first. */
  readonly #ids = new Map<string, string | null>();

  constructor(store: string) {
    this.#store = store;
  }

  /** Returns which of these folders holds the VM of that id; null if none is known to. */
  find(names: readonly string[], vm: string): string | null {
    const there = new Set(names);
    for (const name of [...this.#ids.keys()]) if (!there.has(name)) this.#ids.delete(name);
    // A folder may have got another VM since it was read.
    const again = [...this.#ids.keys()].slice(0, readAgain);
    const fresh = names.filter((name) => !this.#ids.has(name)).slice(0, readAtOnce);
    for (const name of [...again, ...fresh]) this.#read(name);
    for (const name of names) if (this.#ids.get(name) === vm && this.#read(name) === vm) return name;
    return null;
  }

  #read(name: string): string | null {
    const folder = join(this.#store, name);
    const id = isOwnFolder(folder) ? (manifestOf(folder)?.id ?? null) : null;
    this.#ids.delete(name);
    this.#ids.set(name, id);
    return id;
  }
}

/**
 * The folder's vm.json; undefined if there is none that can be read. The store may be writable for others, so
 * a link that somebody put there is not followed, and a pipe is not waited for.
 */
function manifestOf(folder: string): Manifest | undefined {
  const { O_RDONLY, O_NOFOLLOW, O_NONBLOCK } = constants;
  let fd: number | undefined;
  try {
    fd = openSync(join(folder, manifestName), O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
    const stat = fstatSync(fd);
    if (!stat.isFile() || stat.size > mostManifestBytes) return undefined;
    return parseManifest(readFileSync(fd, "utf8"), manifestName);
  } catch {
    return undefined;
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
}

/** True for a folder that belongs to this user. */
function isOwnFolder(path: string): boolean {
  const stat = lstatSync(path, { throwIfNoEntry: false });
  return stat?.isDirectory() === true && stat.uid === process.geteuid?.();
}

/** The files of a VM's folder: those that its vm.json names or, without one, all that are there. */
function filesOf(folder: string): BaseFile[] {
  if (!isOwnFolder(folder)) return [];
  const manifest = manifestOf(folder);
  if (manifest !== undefined) return manifest.files.map(({ kind, file }) => ({ kind, name: file }));
  return namesIn(folder)
    .filter((name) => name !== manifestName)
    .filter((name) => lstatSync(join(folder, name), { throwIfNoEntry: false })?.isFile())
    .map((name) => ({ kind: null, name }));
}

/**
 * Pairs each offered file with the base's file of the same name or, failing that, of the same position among
 * its kind.
 */
function pair(folder: string, base: readonly BaseFile[], { files }: Comparable): (string | null)[] {
  return files.map((file, i) => {
    // A TPM's state is never compared: it is small, and secret.
    if (file.kind === "tpm") return null;
    const ofKind = base.filter(({ kind }) => kind === null || kind === file.kind);
    const nth = files.slice(0, i).filter(({ kind }) => kind === file.kind).length;
    const match = ofKind.find(({ name }) => name === relativePath(file)) ?? ofKind[nth];
    return match === undefined ? null : join(folder, match.name);
  });
}

function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder).sort();
  } catch {
    return [];
  }
}
