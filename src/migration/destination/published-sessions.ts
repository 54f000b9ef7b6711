/**
 * Which sessions published a VM of this store, as the folders themselves say (vm.json): what is known of a
 * session if the journal has lost it.
 */
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { manifestName } from "../../protocol/names.ts";
import { readManifest } from "../../vm/folder/manifest.ts";

/** Folders that are looked at: a store with more is looked at as far as this. */
const mostFolders = 65_536;

export class PublishedSessions {
  readonly #store: string;
  #sessions: Set<string> | undefined;

  constructor(store: string) {
    this.#store = store;
  }

  /**
   * True if a folder of the store was published by this session before this process began. The store is read
   * once, at the first question: what was published since then has a record.
   */
  has(session: string): boolean {
    this.#sessions ??= this.#read();
    return this.#sessions.has(session);
  }

  #read(): Set<string> {
    const names = readdirSync(this.#store, { withFileTypes: true })
      .filter((entry) => entry.isDirectory() && !entry.name.startsWith("."))
      .slice(0, mostFolders);
    return new Set(names.flatMap(({ name }) => sessionOf(join(this.#store, name)) ?? []));
  }
}

function sessionOf(folder: string): string | undefined {
  try {
    return readManifest(join(folder, manifestName)).ownership?.session;
  } catch {
    // Nothing of ours, or nothing that can be read.
    return undefined;
  }
}
