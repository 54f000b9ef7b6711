/**
 * Which sessions published a VM in this store, according to the folders' vm.json: all that is known of a
 * session if the journal has lost it.
 */
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { manifestName } from "../../protocol/names.ts";
import { readManifest } from "../../vm/folder/manifest.ts";

/** How many folders of a store are read; the others are ignored. */
const mostFolders = 65_536;

export class PublishedSessions {
  readonly #store: string;
  #sessions: Set<string> | undefined;

  constructor(store: string) {
    this.#store = store;
  }

  /**
   * True if this session published a folder of the store before this process began. The store is read once,
   * at the first call: whatever was published since then has a record. Throws as node:fs does.
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
    // Not a folder of this program, or not readable.
    return undefined;
  }
}
