/**
 * What a session has received: the staged files, the tags of what lies in them, and whether either
 * can still be believed.
 */
import { existsSync } from "node:fs";
import { MigrateError } from "../../protocol/errors.ts";
import { chunkCount, chunkLength, limits } from "../../protocol/limits.ts";
import { encodeInventory } from "../../transfer/chunks/inventory.ts";
import { streamParts, TagTable, vmDigest } from "../../transfer/chunks/tag-table.ts";
import type { LaneFinder, LaneGrant } from "../../transfer/landing/lane-grant.ts";
import { tagsOf } from "../../transfer/landing/read-tags.ts";
import { storeFailure } from "../../transfer/landing/store-failure.ts";
import { type StagedFile, Staging } from "../../vm/folder/staging.ts";

export class ReceivedFiles {
  readonly staging: Staging;
  readonly #files: readonly StagedFile[];
  readonly #tagKey: Buffer;
  #tables: TagTable[] | undefined;
  /** The staged files' stamp when nobody was writing; what was known then holds while it is the same. */
  #stamp: string | undefined;
  /** True where the files may hold something that no chunk since the last `takeStock` put there. */
  #used = false;
  /** True between `prepare` and `takeStock` of files that were made just now. */
  #fresh = false;
  /** Per file, a bit for each chunk that came since `takeStock`. */
  #came: Uint8Array[] = [];
  /** True once a chunk came twice with different contents: then the disk alone knows what is there. */
  #mixed = false;

  constructor(store: string, session: string, files: readonly StagedFile[], tagKey: Buffer) {
    this.staging = new Staging(store, session, files);
    this.#files = files;
    this.#tagKey = tagKey;
  }

  /** Makes folder and files. Throws MigrateError "no-room" or "store-failed"; nothing is left then. */
  prepare(): void {
    try {
      this.#used = this.staging.prepare();
      this.#fresh = !this.#used;
      if (this.#fresh) this.#tables = this.#files.map(({ bytes }) => new TagTable(bytes));
    } catch (thrown) {
      this.staging.remove();
      throw storeFailure(thrown);
    }
  }

  /**
   * Gets ready to receive. Gives true where something is there already: then the tags say what.
   * Nothing is believed of files that this process did not leave as they are now: they are read.
   */
  async takeStock(): Promise<boolean> {
    this.#came = this.#files.map(({ bytes }) => new Uint8Array(Math.ceil(chunkCount(bytes) / 8)));
    if (this.#mixed) this.forget();
    this.#mixed = false;
    if (this.#fresh) {
      this.#fresh = false;
      return false;
    }
    // What an earlier link's chunks left counts as well: a page that is zero now must be made zero.
    this.#used = true;
    try {
      if (this.#tables !== undefined && this.#stamp === this.staging.stamp()) return true;
      this.staging.prepare();
      this.#tables = await readTags(this.staging, this.#tagKey);
      return true;
    } catch (thrown) {
      throw storeFailure(thrown);
    }
  }

  /**
   * From here on chunks may come again with other contents: what came until now counts as what was there
   * before. To be called when no lane writes, and all that was written has been heard of.
   */
  comeAgain(): void {
    this.#used = true;
    if (!this.#mixed)
      this.#came = this.#files.map(({ bytes }) => new Uint8Array(Math.ceil(chunkCount(bytes) / 8)));
  }

  /** Remembers what the files look like now; to be called when no lane writes. */
  rest(): void {
    if (this.#tables && existsSync(this.staging.folder)) this.#stamp = this.staging.stamp();
  }

  forget(): void {
    this.#tables = undefined;
    this.#stamp = undefined;
  }

  remove(): void {
    this.forget();
    this.staging.remove();
  }

  /** What a lane needs to write into the files; `finder` is where it looks for what is described to it. */
  grant(session: string, finder: LaneFinder | null = null): LaneGrant {
    return {
      session,
      tagKey: this.#tagKey,
      files: this.staging.paths.map((path, i) => ({ path, bytes: this.#files[i]!.bytes })),
      used: this.#used,
      finder,
    };
  }

  /**
   * Chunks that a lane has checked and written: `places` are pairs of (file, chunk). Tells `arrived`
   * the bytes of those that were not here before.
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

  /** Bytes of each file in chunks that are known to hold data. */
  heldBytes(): number[] {
    return (this.#tables ?? []).map((table) => {
      let bytes = 0;
      for (const { first, count } of table.stretches()) {
        for (let chunk = first; chunk < first + count; chunk++) {
          if (!table.isZero(chunk)) bytes += chunkLength(table.bytes, chunk);
        }
      }
      return bytes;
    });
  }

  /** INVENTORY frames for all that is not zero (SPEC.md). */
  *inventory(): Generator<Buffer> {
    for (const [file, table] of (this.#tables ?? []).entries()) {
      for (const { first, count } of table.stretches()) {
        yield encodeInventory(file, first, table.range(first, count));
      }
    }
  }

  /**
   * Compares with the digests that the source computed over what it sent, then brings every byte to
   * the disk. `streams` are a running VM's, which count in the VM's digest. Throws MigrateError:
   * "integrity" where they differ, "no-room" or "store-failed" where the disk fails.
   */
  async seal(
    name: string,
    digest: string,
    fileDigests: readonly string[],
    streams: readonly { stream: number; digest: string }[] = [],
  ): Promise<void> {
    const differs = (what: string) =>
      new MigrateError("integrity", `${what} differs between source and destination`, {
        side: "destination",
      });
    if (this.#mixed) this.forget();
    try {
      this.#tables ??= await readTags(this.staging, this.#tagKey);
      const digests = this.#tables.map((table) => table.digest());
      for (const [i, file] of this.#files.entries()) {
        if (digests[i] !== fileDigests[i]) throw differs(file.name);
      }
      const files = this.#files.map((file, i) => ({ kind: file.kind, name: file.name, digest: digests[i]! }));
      if (
        fileDigests.length !== files.length ||
        vmDigest(name, [...files, ...streamParts(streams)]) !== digest
      )
        throw differs("the VM's digest");
      // What a release would find wrong must not be said to be ready.
      this.staging.checkPresent();
      await this.staging.sync();
    } catch (thrown) {
      throw storeFailure(thrown);
    }
  }
}

/** What lies in the staged files, as tags. */
async function readTags({ paths, files }: Staging, tagKey: Uint8Array): Promise<TagTable[]> {
  const tables: TagTable[] = [];
  for (const [i, path] of paths.entries()) tables.push(await tagsOf(path, i, files[i]!.bytes, tagKey));
  return tables;
}
