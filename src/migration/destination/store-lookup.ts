/**
 * What a destination looks through for the chunks of a VM that arrives: the files of a base, and the index
 * of its store. Not for an insecure link, where anybody could ask what the store holds.
 */
import { randomBytes } from "node:crypto";
import { sharesBlocks } from "../../platform/copy-range.ts";
import type { LaneFinder } from "../../transfer/landing/lane-grant.ts";
import type { IndexKeeper } from "../../transfer/reuse/store/index-keeper.ts";
import { baseFiles, type Comparable } from "./base-files.ts";

export interface Lookup {
  /** Null where there is nothing to look through. */
  finder: LaneFinder | null;
  /** The base that the source names is there. */
  base: boolean;
}

export class StoreLookup {
  readonly #store: string;
  readonly #keeper: IndexKeeper | null;
  /** For bases alone, where no index is kept: block hashes are then of use for one connection. */
  readonly #key = randomBytes(16);
  readonly #sharesBlocks: boolean;

  constructor(store: string, keeper: IndexKeeper | null) {
    this.#store = store;
    this.#keeper = keeper;
    this.#sharesBlocks = canShare(store);
  }

  /** Looks for what may serve a VM that is offered; names in the offer are checked. */
  lookup(offer: Comparable): Lookup {
    // What was put there since the last look is found next time.
    this.#keeper?.scan();
    const { paths, found } = this.#bases(offer);
    const grant = this.#keeper?.grant ?? null;
    if (grant === null && paths.every((path) => path === null)) return { finder: null, base: found };
    const index = grant && { database: grant.database, store: grant.store };
    const key = grant?.key ?? this.#keeper?.key ?? this.#key;
    return { finder: { key, index, bases: paths, sharesBlocks: this.#sharesBlocks }, base: found };
  }

  /** A base is a help and no more: what keeps it from being looked for keeps nothing from arriving. */
  #bases(offer: Comparable): ReturnType<typeof baseFiles> {
    try {
      return baseFiles(this.#store, offer);
    } catch {
      return { paths: offer.files.map(() => null), found: false };
    }
  }
}

/** A store that cannot even be tried is one that cannot. */
function canShare(store: string): boolean {
  try {
    return sharesBlocks(store);
  } catch {
    return false;
  }
}
