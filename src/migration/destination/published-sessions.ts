/**
 * Which sessions published a VM in this store, according to the folders' vm.json: all that is known of a
 * session if the journal has lost it.
 */
import { type Dirent, readdirSync } from "node:fs";
import { join } from "node:path";
import { manifestName } from "../../protocol/names.ts";
import { storeFailure } from "../../transfer/landing/store-failure.ts";
import { readManifest } from "../../vm/folder/manifest.ts";

/** How many folders of a store are read; the others are ignored. */
const mostFolders = 65_536;

export class PublishedSessions {
  readonly #store: string;
  /** By session: which source it came from. */
  #sources: Map<string, string> | undefined;

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

  /** This session, of `peer`, has published its VM: it is known even when the journal has pruned it. */
  add(session: string, peer: string): void {
    this.load();
    this.#sources!.set(session, peer);
    const [oldest] = this.#sources!.keys();
    if (this.#sources!.size > mostFolders) this.#sources!.delete(oldest!);
  }

  /** Reads the store now, so that no source's question has to wait for it. */
  load(): void {
    this.#sources ??= this.#read();
  }

  #read(): Map<string, string> {
    const names = entriesOf(this.#store)
      .filter((entry) => entry.isDirectory() && !entry.name.startsWith("."))
      .slice(0, mostFolders);
    return new Map(names.flatMap(({ name }) => originOf(join(this.#store, name))));
  }
}

/** Throws MigrateError "store-failed": it may be away. */
function entriesOf(store: string): Dirent[] {
  try {
    return readdirSync(store, { withFileTypes: true });
  } catch (thrown) {
    throw storeFailure(thrown);
  }
}

/** The session that published this folder, and its source; none if that cannot be told. */
function originOf(folder: string): [session: string, from: string][] {
  try {
    const { ownership } = readManifest(join(folder, manifestName));
    return ownership === undefined ? [] : [[ownership.session, ownership.from]];
  } catch {
    // Nothing of ours, or nothing that can be read.
    return [];
  }
}
