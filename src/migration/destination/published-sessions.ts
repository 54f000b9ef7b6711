/**
 * Which sessions published a VM in this store, according to the folders' vm.json: all that is known of a
 * session if the journal has lost it.
 */
import { lstatSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { manifestName } from "../../protocol/names.ts";
import { readManifest } from "../../vm/folder/manifest.ts";
import type { SessionRecord } from "../journal/journal.ts";

/** A folder that a session published, and the source that the session came from. */
type Published = Pick<SessionRecord, "session" | "peer" | "name">;

/** How many folders of a store are read; the others are ignored. */
const mostFolders = 65_536;

export class PublishedSessions {
  readonly #store: string;
  /** By session: which source it came from. */
  #sources: Map<string, string> | undefined;
  /** By folder: which source the VM in it came from. */
  readonly #folders = new Map<string, string>();

  constructor(store: string) {
    this.#store = store;
  }

  /**
   * True if a folder of the store was published by this session, which came from `peer`; of somebody else's session a
   * source is not told. The store is read once, at the first question; what is published since then is to be added.
   */
  has(session: string, peer: string): boolean {
    this.load();
    return this.#sources?.get(session) === peer;
  }

  /** This session has published its VM: it is known even when the journal has pruned it. */
  add(published: Published): void {
    this.load();
    this.#note(published, this.#sources!);
  }

  /**
   * How many VMs that came from this source lie in the store, under the names that they came with: one that was moved on,
   * or deleted, is none. Looks at each of them.
   */
  countOf(peer: string): number {
    this.load();
    let count = 0;
    for (const [name, from] of this.#folders) if (from === peer && this.#lies(name, peer)) count++;
    return count;
  }

  #note({ session, peer, name }: Published, sources: Map<string, string>, folder = name): void {
    sources.set(session, peer);
    // A folder of another name than its VM's is one that was moved on.
    if (folder === name) this.#folders.set(name, peer);
    for (const map of [sources, this.#folders]) {
      const [oldest] = map.keys();
      if (map.size > mostFolders) map.delete(oldest!);
    }
  }

  /** A vm.json that cannot be read is that of the VM that was put there. */
  #lies(name: string, peer: string): boolean {
    const folder = join(this.#store, name);
    if (lstatSync(join(folder, manifestName), { throwIfNoEntry: false }) === undefined) return false;
    return (originOf(folder)?.peer ?? peer) === peer;
  }

  /** Reads the store now, so that no source's question has to wait for it. */
  load(): void {
    this.#sources ??= this.#read();
  }

  #read(): Map<string, string> {
    const names = readdirSync(this.#store, { withFileTypes: true })
      .filter((entry) => entry.isDirectory() && !entry.name.startsWith("."))
      .slice(0, mostFolders);
    const sources = new Map<string, string>();
    for (const { name } of names) {
      const origin = originOf(join(this.#store, name));
      if (origin !== null) this.#note(origin, sources, name);
    }
    return sources;
  }
}

/** The session that published this folder, and its source; null if that cannot be told. */
function originOf(folder: string): Published | null {
  try {
    const { name, ownership } = readManifest(join(folder, manifestName));
    return ownership === undefined ? null : { name, session: ownership.session, peer: ownership.from };
  } catch {
    // Nothing of ours, or nothing that can be read.
    return null;
  }
}
