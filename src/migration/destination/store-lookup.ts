/**
 * Where a destination searches for the chunks of an arriving VM: the files of a base, and the index of its
 * store. Not used on an insecure link, where anybody could find out what the store holds.
 */
import { randomBytes } from "node:crypto";
import { sharesBlocks } from "../../platform/files/copy-range.ts";
import type { LaneFinder } from "../../transfer/landing/lane-grant.ts";
import type { IndexKeeper } from "../../transfer/reuse/store/index-keeper.ts";
import { baseFiles, type Comparable, StoredIds } from "./base-files.ts";
import { MissBudgets } from "./peers/miss-budgets.ts";

export interface Lookup {
  /** Null if there is nothing to search. */
  finder: LaneFinder | null;
  /** True if the base that the source names is there. */
  base: boolean;
}

export class StoreLookup {
  readonly #store: string;
  readonly #keeper: IndexKeeper | null;
  /**
   * The key if no index is kept and only bases are searched: block hashes are then of use for one connection.
   */
  readonly #key = randomBytes(16);
  readonly #sharesBlocks: boolean;
  readonly #misses = new MissBudgets();
  readonly #stored: StoredIds;

  constructor(store: string, keeper: IndexKeeper | null) {
    this.#store = store;
    this.#stored = new StoredIds(store);
    this.#keeper = keeper;
    this.#sharesBlocks = canShare(store);
  }

  /** Returns what may hold data of a VM that `peer` offers; the names in the offer are checked already. */
  lookup(offer: Comparable, peer: string): Lookup {
    // What was put into the store since the last scan is found by the next lookup.
    this.#keeper?.scan();
    const { paths, found } = this.#bases(offer);
    const grant = this.#keeper?.grant ?? null;
    if (grant === null && paths.every((path) => path === null)) return { finder: null, base: found };
    const index = grant && { database: grant.database, store: grant.store };
    const key = grant?.key ?? this.#keeper?.key ?? this.#key;
    const misses = this.#misses.of(peer);
    return { finder: { key, index, bases: paths, sharesBlocks: this.#sharesBlocks, misses }, base: found };
  }

  /** To be called each minute. */
  refill(): void {
    this.#misses.refill();
  }

  /** A base only saves sending: if the search for it fails, the VM can still arrive. */
  #bases(offer: Comparable): ReturnType<typeof baseFiles> {
    try {
      return baseFiles(this.#store, offer, this.#stored);
    } catch {
      return { paths: offer.files.map(() => null), found: false };
    }
  }
}

/** If the attempt fails, the store's file system counts as one that cannot. */
function canShare(store: string): boolean {
  try {
    return sharesBlocks(store);
  } catch {
    return false;
  }
}
