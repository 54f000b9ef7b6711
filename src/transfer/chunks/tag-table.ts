/**
 * The tags of one file's chunks, 16 bytes each, by chunk index. Kept in slabs made on first use, so
 * that a sparse file of many TiB costs next to nothing; what has no slab is zero chunks.
 */
import { createHash } from "node:crypto";
import { chunkCount, chunkLength, limits } from "../../protocol/limits.ts";
import { dropSlab, SlabFile, type SlabOwner, useSlab } from "./tag-memory.ts";

const { tagBytes } = limits;
/** Tags in a slab: 64 KiB for 4 GiB of file. */
const slabTags = 4096;
const zeroSlab = Buffer.alloc(slabTags * tagBytes);

/** The tag of a chunk of nothing but zeros: a marker, not a MAC (SPEC.md, Tags). */
export const zeroTag: Buffer = Buffer.alloc(tagBytes);

export class TagTable implements SlabOwner {
  /** Logical size of the file in bytes. */
  readonly bytes: number;
  /** Number of chunks. */
  readonly chunks: number;
  /** Bytes of the chunks that are not zero. */
  heldBytes = 0;
  /** Null if it was written out. */
  readonly #slabs = new Map<number, Buffer | null>();
  readonly #file: SlabFile | undefined;
  /** The slab that was used last, which is the next one in most cases. */
  #last: { number: number; slab: Buffer } | undefined;

  /**
   * Takes the file's size in bytes. With `spillFolder` the tags may be written to a nameless file there, and
   * `close` must be called in the end.
   */
  constructor(bytes: number, spillFolder?: string) {
    this.bytes = bytes;
    this.chunks = chunkCount(bytes);
    this.#file = spillFolder === undefined ? undefined : new SlabFile(spillFolder);
  }

  /** A view of the tag of chunk `index`; valid until a tag is set. */
  get(index: number): Buffer {
    const slab = this.#slab(Math.floor(index / slabTags)) ?? zeroSlab;
    const at = (index % slabTags) * tagBytes;
    return slab.subarray(at, at + tagBytes);
  }

  isZero(index: number): boolean {
    return this.get(index).equals(zeroTag);
  }

  /** The first chunk at `from` or behind it that is not zeros; null if there is none. */
  nextData(from: number): number | null {
    if (this.heldBytes === 0) return null;
    for (let index = from; index < this.chunks; ) {
      const number = Math.floor(index / slabTags);
      const end = Math.min((number + 1) * slabTags, this.chunks);
      const slab = this.#peek(number);
      if (slab !== zeroSlab && !slab.equals(zeroSlab)) {
        for (; index < end; index++) {
          const at = (index % slabTags) * tagBytes;
          if (!slab.subarray(at, at + tagBytes).equals(zeroTag)) return index;
        }
      }
      index = end;
    }
    return null;
  }

  /** Sets the tag of chunk `index`; throws RangeError outside the file, and as node:fs does. */
  set(index: number, tag: Uint8Array): void {
    if (index < 0 || index >= this.chunks || tag.length !== tagBytes) {
      throw new RangeError(`no chunk ${index} in a file of ${this.chunks}`);
    }
    const number = Math.floor(index / slabTags);
    const isZero = zeroTag.equals(tag);
    let slab = this.#slab(number);
    if (slab === undefined) {
      if (isZero) return;
      slab = Buffer.alloc(slabTags * tagBytes);
      this.#slabs.set(number, slab);
      this.#use(number, slab);
    }
    const at = (index % slabTags) * tagBytes;
    const wasZero = zeroTag.equals(slab.subarray(at, at + tagBytes));
    if (wasZero !== isZero) this.heldBytes += chunkLength(this.bytes, index) * (isZero ? -1 : 1);
    slab.set(tag, at);
  }

  /** Copies the tags of `count` chunks from `first` on. */
  range(first: number, count: number): Buffer {
    const tags = Buffer.allocUnsafe(count * tagBytes);
    for (let done = 0; done < count; ) {
      const number = Math.floor((first + done) / slabTags);
      const from = (first + done) % slabTags;
      const some = Math.min(count - done, slabTags - from);
      this.#peek(number).copy(tags, done * tagBytes, from * tagBytes, (from + some) * tagBytes);
      done += some;
    }
    return tags;
  }

  /** Numbers of the first chunk of each stretch of `slabTags` chunks that may hold more than zeros. */
  *stretches(): Generator<{ first: number; count: number }> {
    for (const number of [...this.#slabs.keys()].sort((a, b) => a - b)) {
      const first = number * slabTags;
      yield { first, count: Math.min(slabTags, this.chunks - first) };
    }
  }

  /**
   * The file's digest, "sha256:<hex>": SHA-256 over a label, the size and every tag in order
   * (SPEC.md, Digests).
   */
  digest(): string {
    const digesting = this.#digesting();
    for (;;) {
      const { done, value } = digesting.next();
      if (done) return value;
    }
  }

  /** As `digest`, and gives other work a turn in between. No tag may be set meanwhile. */
  async digestInTurns(): Promise<string> {
    const digesting = this.#digesting();
    for (;;) {
      const { done, value } = digesting.next();
      if (done) return value;
      await new Promise<void>((turn) => setImmediate(turn));
    }
  }

  /** Forgets the tags, and what was written out of them. */
  close(): void {
    for (const slab of this.#slabs.values()) if (slab !== null) dropSlab(slab);
    this.#slabs.clear();
    this.#last = undefined;
    this.heldBytes = 0;
    this.#file?.close();
  }

  /** @internal Called by what limits the memory of all tables. */
  spill(number: number): void {
    const slab = this.#slabs.get(number);
    if (slab === undefined || slab === null) return;
    this.#file!.write(number, slab);
    this.#slabs.set(number, null);
    if (this.#last?.number === number) this.#last = undefined;
  }

  *#digesting(): Generator<void, string> {
    const hash = createHash("sha256").update("migrate file v1\0");
    const size = Buffer.alloc(8);
    size.writeBigUInt64BE(BigInt(this.bytes));
    hash.update(size);
    for (let first = 0; first < this.chunks; first += slabTags) {
      const slab = this.#peek(first / slabTags);
      hash.update(slab.subarray(0, Math.min(slabTags, this.chunks - first) * tagBytes));
      // 2 MiB, some milliseconds.
      if ((first / slabTags) % 32 === 31) yield;
    }
    return `sha256:${hash.digest("hex")}`;
  }

  #slab(number: number): Buffer | undefined {
    if (this.#last?.number === number) return this.#last.slab;
    let slab = this.#slabs.get(number);
    if (slab === undefined) return undefined;
    if (slab === null) {
      slab = this.#peek(number);
      this.#slabs.set(number, slab);
    }
    this.#use(number, slab);
    return slab;
  }

  #use(number: number, slab: Buffer): void {
    this.#last = { number, slab };
    if (this.#file !== undefined) useSlab(slab, this, number);
  }

  /** The slab as it is, or a copy of one that was written out: to be read, once. */
  #peek(number: number): Buffer {
    const slab = this.#slabs.get(number);
    if (slab !== null) return slab ?? zeroSlab;
    const copy = Buffer.allocUnsafeSlow(slabTags * tagBytes);
    this.#file!.read(number, copy);
    return copy;
  }
}

/** What identifies a file within a VM's digest. */
export interface DigestedFile {
  kind: string;
  name: string;
  digest: string;
}

/** What a VM's digest holds together beside its files: its UUID, and its virtual TPM's endorsement key if that is known. */
export interface BoundVm {
  vm: string;
  ek?: string | undefined;
}

/** The VM's digest over its files in the order of the offer (SPEC.md, Digests); `bound` if it holds more than those. */
export function vmDigest(name: string, files: DigestedFile[], bound?: BoundVm): string {
  const hash = createHash("sha256").update(bound === undefined ? "migrate vm v1\0" : "migrate vm v2\0");
  const more = bound === undefined ? [] : [bound.vm, bound.ek ?? ""];
  for (const part of [name, ...more, ...files.flatMap((file) => [file.kind, file.name, file.digest])]) {
    const bytes = Buffer.from(part);
    const length = Buffer.alloc(4);
    length.writeUInt32BE(bytes.length);
    hash.update(length).update(bytes);
  }
  return `sha256:${hash.digest("hex")}`;
}

/** A running VM's streams as parts of its digest, in their order. */
export function streamParts(streams: readonly { stream: number; digest: string }[]): DigestedFile[] {
  return streams.map(({ stream, digest }) => ({ kind: "stream", name: String(stream), digest }));
}
