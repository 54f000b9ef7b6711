/**
 * The files that blocks are read from, open as long as they are of use. One that is deleted meanwhile
 * stays readable; one that is replaced is read as it was.
 */
import { closeSync, readSync } from "node:fs";
import { basename, dirname, sep } from "node:path";
import { openCandidate, openInFolder } from "./store-scan.ts";

/** Files that are open at once; another one takes the place of that which was used longest ago. */
const mostOpen = 32;

export class OpenCandidates {
  readonly #store: string | null;
  readonly #bases: ReadonlySet<string>;
  /** By path, the one used last at the end; null for what cannot be opened. */
  readonly #open = new Map<string, number | null>();

  /**
   * `store` holds the files of the index, null if there is none; `bases` are the absolute paths of
   * files that are candidates besides, of whatever owner. No other path is opened.
   */
  constructor(store: string | null, bases: readonly (string | null)[]) {
    this.#store = store;
    this.#bases = new Set(bases.filter((path) => path !== null));
  }

  /** A descriptor of the file, which stays this object's; null if it is no candidate. Never throws. */
  fd(path: string): number | null {
    let fd = this.#open.get(path);
    if (fd === undefined) {
      fd = this.#bases.has(path) ? openBase(path) : this.#openIndexed(path);
      if (this.#open.size === mostOpen) this.#close(this.#open.keys().next().value!);
    } else {
      this.#open.delete(path);
    }
    this.#open.set(path, fd);
    return fd;
  }

  /** Reads `room.length` bytes from `offset`; false if the file does not have them. Never throws. */
  read(path: string, offset: number, room: Buffer): boolean {
    const fd = this.fd(path);
    if (fd === null) return false;
    try {
      for (let at = 0; at < room.length; ) {
        const taken = readSync(fd, room, at, room.length - at, offset + at);
        if (taken === 0) return false;
        at += taken;
      }
      return true;
    } catch {
      return false;
    }
  }

  close(): void {
    for (const path of [...this.#open.keys()]) this.#close(path);
  }

  #close(path: string): void {
    const fd = this.#open.get(path);
    this.#open.delete(path);
    if (typeof fd === "number") closeSync(fd);
  }

  #openIndexed(path: string): number | null {
    const store = this.#store;
    if (store === null || !path.startsWith(store + sep)) return null;
    return openCandidate(store, path.slice(store.length + 1));
  }
}

/**
 * As openCandidate, for a file of whatever owner: neither a link that was put in place of its folder since the
 * base was looked for nor one in place of the file is followed.
 */
function openBase(path: string): number | null {
  return openInFolder(
    dirname(path),
    basename(path),
    () => true,
    (stat) => stat.isFile(),
  );
}
