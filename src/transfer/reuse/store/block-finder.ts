/**
 * Finds at the destination what a source describes: in the file of a base that has the same place, and
 * then in the index of the store. Runs in a door's Worker, one for each lane.
 *
 * What is found has been read just now and has the hash that was asked for. That is a hint still:
 * the chunk's tag decides. Nothing here throws; what cannot be read is not there.
 */
import { join } from "node:path";
import { limits } from "../../../protocol/limits.ts";
import { BlockHasher, blockLength, blocksOf, isNoBlockHash } from "./block-hash.ts";
import { BlockIndex, type IndexedPlace } from "./block-index.ts";
import { OpenCandidates } from "./open-candidates.ts";
import { shareBytes } from "./share-bytes.ts";

const { blockBytes, chunkBytes, blockHashBytes } = limits;

export interface FinderGrant {
  /** The index key, 16 bytes. */
  key: Uint8Array;
  /** Null if bases alone are looked at. */
  index: { database: string; store: string } | null;
  /** For each file of the VM, the file of a base VM with which it is compared place by place; null if there is none. */
  bases: (string | null)[];
}

/** A block that lies in a file of this host. */
export interface FoundBlock {
  path: string;
  offset: number;
  bytes: number;
}

export class BlockFinder {
  readonly #hasher: BlockHasher;
  readonly #bases: readonly (string | null)[];
  readonly #store: string;
  readonly #files: OpenCandidates;
  /** Undefined if there is none, or once it could not be read. */
  #index: BlockIndex | undefined;

  constructor(grant: FinderGrant) {
    this.#hasher = new BlockHasher(grant.key);
    this.#bases = grant.bases;
    this.#store = grant.index?.store ?? "";
    this.#files = new OpenCandidates(grant.index?.store ?? null, grant.bases);
    if (grant.index === null) return;
    try {
      this.#index = BlockIndex.openReadOnly(grant.index.database);
    } catch {
      // Damaged, or being made anew: bases are still looked at.
    }
  }

  /**
   * Looks for the blocks of a chunk by their hashes (8 bytes each, zeros for a block without data)
   * and reads each that it finds into its place in `room`, which is as long as the chunk. Returns for each
   * block where it is, or null: not found, or without data. The places of blocks without data are left
   * alone; what stands at those of blocks that were not found is of no meaning.
   */
  find(file: number, chunk: number, hashes: Buffer, room: Buffer): (FoundBlock | null)[] {
    const found = new Array<FoundBlock | null>(blocksOf(room.length)).fill(null);
    const base = this.#bases[file] ?? null;
    if (base !== null) {
      const sought = (i: number) =>
        isNoBlockHash(hashes, i) ? null : placed(base, chunk * chunkBytes + i * blockBytes, room, i);
      this.#take(
        found.map((_, i) => sought(i)),
        hashes,
        room,
        found,
      );
    }
    if (this.#index !== undefined && found.some((block, i) => block === null && !isNoBlockHash(hashes, i))) {
      this.#takeIndexed(this.#index, hashes, room, found);
    }
    return found;
  }

  /** True if block `i` of a chunk has the hash that was told of it; `chunk` is all of the chunk. */
  isDescribed(chunk: Buffer, i: number, hashes: Buffer): boolean {
    const from = i * blockBytes;
    return this.#hasher.matches(chunk.subarray(from, from + blockLength(chunk.length, i)), hashes, i);
  }

  /**
   * Reads found blocks again into their places in `room`; the other places are left alone. False if
   * one cannot be read or has another hash now.
   */
  read(found: readonly (FoundBlock | null)[], hashes: Buffer, room: Buffer): boolean {
    const again = new Array<FoundBlock | null>(found.length).fill(null);
    this.#take(found, hashes, room, again);
    return again.every((block, i) => block !== null || found[i] === null);
  }

  /**
   * Puts found blocks into a file of ours, from `offset` on, so that they share room on the disk with
   * those they were found in (platform/copy-range.ts, sharesBlocks). `room` is the chunk as it must be,
   * its tag checked. The blocks may have changed since they were read, so each is read where it stands
   * now, and written if it has changed. True when all of them stand there, byte for byte; false if
   * the file system cannot, and then some may stand there and none is wrong. Throws as node:fs does if
   * the file cannot be written.
   */
  share(found: readonly (FoundBlock | null)[], room: Buffer, fd: number, offset: number): boolean {
    let all = true;
    forStretches(found, (from, end) => {
      const first = found[from]!;
      const bytes = room.subarray(from * blockBytes, end * blockBytes);
      const source = this.#files.fd(first.path);
      if (
        !all ||
        source === null ||
        !shareBytes(source, first.offset, fd, offset + from * blockBytes, bytes)
      ) {
        all = false;
      }
    });
    return all;
  }

  close(): void {
    this.#files.close();
    this.#loseIndex();
  }

  /** Looks up what is not found yet, and reads it; each block may have several places. */
  #takeIndexed(index: BlockIndex, hashes: Buffer, room: Buffer, found: (FoundBlock | null)[]): void {
    const places = this.#lookUp(index, hashes, found);
    // A place right behind that of the block before is read together with it.
    let before: IndexedPlace | undefined;
    const first = places.map((each) => {
      const next = each.find(({ file, block }) => file === before?.file && block === before.block + 1);
      before = next ?? each[0];
      return before;
    });
    const block = (place: IndexedPlace | undefined, i: number): FoundBlock | null => {
      const path = place === undefined ? null : this.#pathOf(index, place.file);
      return path === null ? null : placed(path, place!.block * blockBytes, room, i);
    };
    this.#take(first.map(block), hashes, room, found);
    for (const [i, each] of places.entries()) {
      for (const place of each) {
        if (found[i] !== null) break;
        if (place === first[i]) continue;
        const only = new Array<FoundBlock | null>(found.length).fill(null);
        only[i] = block(place, i);
        this.#take(only, hashes, room, found);
      }
    }
  }

  /** For each block that is sought and was not found, where one like it may lie. */
  #lookUp(index: BlockIndex, hashes: Buffer, found: readonly (FoundBlock | null)[]): IndexedPlace[][] {
    try {
      return index.atOnce(() =>
        found.map((block, i) => {
          if (block !== null || isNoBlockHash(hashes, i)) return [];
          return index.lookup(hashes.subarray(i * blockHashBytes, (i + 1) * blockHashBytes));
        }),
      );
    } catch {
      this.#loseIndex();
      return found.map(() => []);
    }
  }

  #pathOf(index: BlockIndex, file: number): string | null {
    if (this.#index === undefined) return null;
    try {
      const path = index.pathOf(file);
      return path === null ? null : join(this.#store, path);
    } catch {
      this.#loseIndex();
      return null;
    }
  }

  /**
   * Reads the blocks that are sought into their places, those that lie side by side at once, and notes in
   * `found` each that has its hash.
   */
  #take(
    sought: readonly (FoundBlock | null)[],
    hashes: Buffer,
    room: Buffer,
    found: (FoundBlock | null)[],
  ): void {
    forStretches(sought, (from, end) => this.#takeStretch(sought, from, end, hashes, room, found));
  }

  #takeStretch(
    sought: readonly (FoundBlock | null)[],
    from: number,
    end: number,
    hashes: Buffer,
    room: Buffer,
    found: (FoundBlock | null)[],
  ): void {
    const { path, offset } = sought[from]!;
    const stretch = room.subarray(from * blockBytes, end * blockBytes);
    if (!this.#files.read(path, offset, stretch)) {
      // The file may end in it: each block on its own.
      if (end - from === 1) return;
      for (let i = from; i < end; i++) this.#takeStretch(sought, i, i + 1, hashes, room, found);
      return;
    }
    for (let i = from; i < end; i++) {
      const block = room.subarray(i * blockBytes, (i + 1) * blockBytes);
      if (this.#hasher.matches(block, hashes, i)) found[i] = sought[i]!;
    }
  }

  #loseIndex(): void {
    const index = this.#index;
    this.#index = undefined;
    try {
      index?.close();
    } catch {
      // It is of no use any more in any case.
    }
  }
}

/** Block `i` of a chunk as long as `room`, at `offset` of a file. */
function placed(path: string, offset: number, room: Buffer, i: number): FoundBlock {
  return { path, offset, bytes: blockLength(room.length, i) };
}

/** Calls `each` with the first and the end of every run of blocks that lie side by side in one file. */
function forStretches(
  blocks: readonly (FoundBlock | null)[],
  each: (from: number, end: number) => void,
): void {
  for (let from = 0, end = 0; from < blocks.length; from = end) {
    const first = blocks[from];
    end = from + 1;
    if (first == null) continue;
    while (end < blocks.length && continues(first, blocks[end], end - from)) end++;
    each(from, end);
  }
}

function continues(first: FoundBlock, next: FoundBlock | null | undefined, blocks: number): boolean {
  return next != null && next.path === first.path && next.offset === first.offset + blocks * blockBytes;
}
