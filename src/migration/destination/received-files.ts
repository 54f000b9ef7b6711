/**
 * What a session has received: the staged files, the tags of their contents, and whether both can still be
 * believed.
 */
import { closeSync, constants, existsSync, openSync } from "node:fs";
import { availableMemoryBytes } from "../../platform/host.ts";
import { MigrateError } from "../../protocol/errors.ts";
import { chunkCount, chunkLength, limits } from "../../protocol/limits.ts";
import type { ReadBack, VerifyKind } from "../../protocol/offer.ts";
import { isImage } from "../../protocol/offer.ts";
import { encodeInventory } from "../../transfer/chunks/inventory.ts";
import { type BoundVm, streamParts, TagTable, vmDigest } from "../../transfer/chunks/tag-table.ts";
import type { LaneFinder, LaneGrant } from "../../transfer/landing/lane-grant.ts";
import { possessionProof } from "../../transfer/landing/possession.ts";
import { type TaggedFile, tagsOf } from "../../transfer/landing/read-tags.ts";
import { storeFailure } from "../../transfer/landing/store-failure.ts";
import { type StagedFile, Staging } from "../../vm/folder/staging.ts";

export interface SealOptions {
  streams?: readonly { stream: number; digest: string }[];
  verify?: VerifyKind;
  /** What the VM's digest holds beside the files. */
  bound?: BoundVm | undefined;
}

export class ReceivedFiles {
  readonly staging: Staging;
  readonly #store: string;
  #files: readonly StagedFile[];
  readonly #tagKey: Buffer;
  #tables: TagTable[] | undefined;
  /** The staged files' stamp when no lane was writing: the tags hold as long as it stays the same. */
  #stamp: string | undefined;
  /** True if the files may hold data that were there before the last `takeStock`. */
  #used = false;
  /** True between `prepare` and `takeStock` if the files are new. */
  #fresh = false;
  /** For each file, one bit per chunk that came since `takeStock`. */
  #came: Uint8Array[] = [];
  /**
   * True once a chunk came twice with different contents: then only the disk shows which of the two is there.
   */
  #mixed = false;

  readonly #read: (tagged: TaggedFile) => Promise<TagTable>;
  /** The files' stamp when they were read back and found right, and from where. */
  #readBack: { stamp: string; from: ReadBack } | undefined;

  /** `read` is what reads files to compare them with their tags. */
  constructor(
    store: string,
    session: string,
    files: readonly StagedFile[],
    tagKey: Buffer,
    read: (tagged: TaggedFile) => Promise<TagTable> = tagsOf,
  ) {
    this.#read = read;
    this.staging = new Staging(store, session, files);
    this.#store = store;
    this.#files = files;
    this.#tagKey = tagKey;
  }

  /**
   * Creates the folder and the files. Throws MigrateError "no-room" or "store-failed", and then leaves
   * nothing behind.
   */
  prepare(): void {
    try {
      this.#used = this.staging.prepare();
      this.#fresh = !this.#used;
      if (this.#fresh) this.#tables = this.#files.map(({ bytes }) => new TagTable(bytes, this.#store));
    } catch (thrown) {
      this.staging.remove();
      throw storeFailure(thrown);
    }
  }

  /**
   * Prepares to receive. Returns true if the files may hold data already: the tags then tell which. If
   * another process may have changed the files, they are read. Throws MigrateError "no-room" or
   * "store-failed".
   */
  async takeStock(): Promise<boolean> {
    this.#came = this.#files.map(({ bytes }) => new Uint8Array(Math.ceil(chunkCount(bytes) / 8)));
    if (this.#mixed) this.forget();
    this.#mixed = false;
    if (this.#fresh) {
      this.#fresh = false;
      return false;
    }
    // Chunks of an earlier link count as well: a page that is zero now has to be overwritten with zeros.
    this.#used = true;
    try {
      if (this.#tables !== undefined && this.#stamp === this.staging.stamp()) return true;
      this.staging.prepare();
      this.forget();
      this.#tables = await this.#readTags();
      return true;
    } catch (thrown) {
      throw storeFailure(thrown);
    }
  }

  /**
   * From now on chunks may come again with other contents: what came until now counts as what was there
   * before. To be called while no lane writes, and after every written chunk has been reported to `wrote`.
   */
  comeAgain(): void {
    this.#used = true;
    if (!this.#mixed)
      this.#came = this.#files.map(({ bytes }) => new Uint8Array(Math.ceil(chunkCount(bytes) / 8)));
  }

  /** The same files, of which some are longer now; `takeStock` makes them so, and reads what is there. */
  grow(files: readonly StagedFile[]): void {
    this.#files = files;
    this.staging.grow(files);
    this.forget();
  }

  /** Remembers the files' stamp; to be called while no lane writes. */
  rest(): void {
    if (this.#tables && existsSync(this.staging.folder)) this.#stamp = this.staging.stamp();
  }

  forget(): void {
    for (const table of this.#tables ?? []) table.close();
    this.#tables = undefined;
    this.#stamp = undefined;
  }

  remove(): void {
    this.forget();
    this.staging.remove();
  }

  /**
   * Returns what a lane needs to write into the files. With `finder`, it looks up what the source only
   * describes.
   */
  grant(session: string, finder: LaneFinder | null = null): LaneGrant {
    return {
      session,
      tagKey: this.#tagKey,
      files: this.staging.paths.map((path, i) => {
        const { bytes, kind, format } = this.#files[i]!;
        return { path, bytes, ...(isImage(kind) ? { image: format ?? "unknown" } : {}) };
      }),
      used: this.#used,
      finder,
    };
  }

  /**
   * Takes chunks that a lane has checked and written: `places` are pairs of (file, chunk), `tags` their tags,
   * one after the other. Calls `arrived` with the bytes of those that were not here before.
   */
  wrote(places: Uint32Array, tags: Uint8Array, arrived: (file: number, bytes: number) => void): void {
    for (let i = 0; i < places.length / 2; i++) {
      const file = places[i * 2]!;
      const chunk = places[i * 2 + 1]!;
      const table = this.#tables?.[file];
      if (table === undefined) continue;
      const tag = tags.subarray(i * limits.tagBytes, (i + 1) * limits.tagBytes);
      const first = table.isZero(chunk);
      if (this.#cameAgain(file, chunk) && !table.get(chunk).equals(tag)) this.#mixed = true;
      table.set(chunk, tag);
      if (first) arrived(file, chunkLength(table.bytes, chunk));
    }
  }

  #cameAgain(file: number, chunk: number): boolean {
    const bits = this.#came[file]!;
    const bit = 1 << (chunk & 7);
    const again = (bits[chunk >> 3]! & bit) !== 0;
    bits[chunk >> 3]! |= bit;
    return again;
  }

  /** Returns the bytes of each file that lie in chunks with data. */
  heldBytes(): number[] {
    return (this.#tables ?? []).map((table) => table.heldBytes);
  }

  /** Returns the INVENTORY frames for all chunks that are not zero (SPEC.md). */
  *inventory(): Generator<Buffer> {
    for (const [file, table] of (this.#tables ?? []).entries()) {
      for (const { first, count } of table.stretches()) {
        yield encodeInventory(file, first, table.range(first, count));
      }
    }
  }

  /**
   * Compares the files with the source's digests, then syncs them to disk. `streams` are the digests of a
   * running VM's streams, which are part of the VM's digest. With `verify` what was written is then read back.
   * Returns from where it was. Throws MigrateError: "integrity" if a digest differs, "no-room" or "store-failed" if
   * the disk fails.
   */
  async seal(
    name: string,
    digest: string,
    fileDigests: readonly string[],
    { streams = [], verify = "off", bound }: SealOptions = {},
  ): Promise<ReadBack> {
    const differs = (what: string) =>
      new MigrateError("integrity", `${what} differs between source and destination`, {
        side: "destination",
      });
    if (this.#mixed) this.forget();
    try {
      const wasRead = this.#tables === undefined;
      this.#tables ??= await this.#readTags();
      const digests: string[] = [];
      for (const table of this.#tables) digests.push(await table.digestInTurns());
      for (const [i, file] of this.#files.entries()) {
        if (digests[i] !== fileDigests[i]) throw differs(file.name);
      }
      const files = this.#files.map((file, i) => ({ kind: file.kind, name: file.name, digest: digests[i]! }));
      if (
        fileDigests.length !== files.length ||
        vmDigest(name, [...files, ...streamParts(streams)], bound) !== digest
      )
        throw differs("the VM's digest");
      // Whatever would make the release fail must not be answered with READY.
      this.staging.checkPresent();
      await this.staging.sync();
      return await this.#compareWithDisk(fileDigests, verify, wasRead);
    } catch (thrown) {
      throw storeFailure(thrown);
    }
  }

  /**
   * The answer to a challenge (hex) about a VM whose seal was right and whose digest is this: what lies on the disk
   * is read. Throws MigrateError "store-failed".
   */
  proof(challenge: string, digest: string): string {
    const fds = new Map<number, number>();
    const fdOf = (file: number) => {
      const fd =
        fds.get(file) ?? openSync(this.staging.paths[file]!, constants.O_RDONLY | constants.O_NOFOLLOW);
      fds.set(file, fd);
      return fd;
    };
    try {
      const of = { tagKey: this.#tagKey, challenge: Buffer.from(challenge, "hex"), digest };
      return possessionProof(of, this.#tables ?? [], fdOf);
    } catch (thrown) {
      throw storeFailure(thrown);
    } finally {
      for (const fd of fds.values()) closeSync(fd);
    }
  }

  /**
   * Reads what lies in the store: another program may have written to it, or the disk have lost it. `wasRead` is true
   * if the digests that were compared are already of what was read.
   */
  async #compareWithDisk(
    fileDigests: readonly string[],
    verify: VerifyKind,
    wasRead: boolean,
  ): Promise<ReadBack> {
    const from = this.#placeToRead(verify);
    if (from === "none" || (from === "memory" && wasRead)) return wasRead ? "memory" : from;
    const stamp = this.staging.stamp();
    if (this.#readBack?.stamp === stamp && this.#readBack.from === from) return from;
    if (from === "disk") this.staging.dropFromMemory();
    const wrong = await this.#wrongOnDisk(fileDigests);
    if (wrong !== undefined) {
      // What is there counts: the source sends again what is wrong of it.
      this.forget();
      const said = `${wrong.name} is not on the destination's disk as it came: something else writes there, or the disk fails`;
      throw new MigrateError("integrity", said, {
        side: "destination",
        hint: "the same command sends again what is wrong of it",
      });
    }
    this.#readBack = { stamp, from };
    return from;
  }

  /** The first file that is not what its digest says; undefined if all are. */
  async #wrongOnDisk(fileDigests: readonly string[]): Promise<StagedFile | undefined> {
    const tables = await this.#readTags();
    try {
      for (const [i, table] of tables.entries()) {
        if ((await table.digestInTurns()) !== fileDigests[i]) return this.#files[i]!;
      }
      return undefined;
    } finally {
      for (const table of tables) table.close();
    }
  }

  #placeToRead(verify: VerifyKind): ReadBack {
    if (verify === "off") return "none";
    if (verify === "disk") return "disk";
    // Whatever memory does not hold would be read from the disk, which may take as long as the move did.
    return this.staging.allocatedBytes() <= availableMemoryBytes() / 2 ? "memory" : "none";
  }

  /** Reads the staged files, and returns their tags. */
  async #readTags(): Promise<TagTable[]> {
    const tables: TagTable[] = [];
    try {
      for (const [file, path] of this.staging.paths.entries()) {
        const { bytes } = this.#files[file]!;
        const spillFolder = this.#store;
        tables.push(await this.#read({ path, file, bytes, tagKey: this.#tagKey, spillFolder }));
      }
    } catch (thrown) {
      for (const table of tables) table.close();
      throw thrown;
    }
    return tables;
  }
}
