/**
 * The tags of one file's chunks, 16 bytes each, by chunk index. Kept in slabs made on first use, so
 * that a sparse file of many TiB costs next to nothing; what has no slab is zero chunks.
 */
import { createHash } from "node:crypto";
import { chunkCount, limits } from "../../protocol/limits.ts";

const { tagBytes } = limits;
/** Tags in a slab: 64 KiB for 4 GiB of file. */
const slabTags = 4096;
const zeroSlab = Buffer.alloc(slabTags * tagBytes);

/** The tag of a chunk of nothing but zeros: a marker, not a MAC (SPEC.md, Tags). */
export const zeroTag: Buffer = Buffer.alloc(tagBytes);

export class TagTable {
  /** Logical size of the file in bytes. */
  readonly bytes: number;
  /** Number of chunks. */
  readonly chunks: number;
  readonly #slabs = new Map<number, Buffer>();

  constructor(bytes: number) {
    this.bytes = bytes;
    this.chunks = chunkCount(bytes);
  }

  /** A view of the tag of chunk `index`; valid until it is set again. */
  get(index: number): Buffer {
    const slab = this.#slabs.get(Math.floor(index / slabTags)) ?? zeroSlab;
    const at = (index % slabTags) * tagBytes;
    return slab.subarray(at, at + tagBytes);
  }

  isZero(index: number): boolean {
    return this.get(index).equals(zeroTag);
  }

  /** Sets the tag of chunk `index`; throws RangeError outside the file. */
  set(index: number, tag: Uint8Array): void {
    if (index < 0 || index >= this.chunks || tag.length !== tagBytes) {
      throw new RangeError(`no chunk ${index} in a file of ${this.chunks}`);
    }
    const number = Math.floor(index / slabTags);
    let slab = this.#slabs.get(number);
    if (slab === undefined) {
      if (zeroTag.equals(tag)) return;
      slab = Buffer.alloc(slabTags * tagBytes);
      this.#slabs.set(number, slab);
    }
    slab.set(tag, (index % slabTags) * tagBytes);
  }

  /** Copies the tags of `count` chunks from `first` on. */
  range(first: number, count: number): Buffer {
    const tags = Buffer.allocUnsafe(count * tagBytes);
    for (let i = 0; i < count; i++) tags.set(this.get(first + i), i * tagBytes);
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
    const hash = createHash("sha256").update("migrate file v1\0");
    const size = Buffer.alloc(8);
    size.writeBigUInt64BE(BigInt(this.bytes));
    hash.update(size);
    for (let first = 0; first < this.chunks; first += slabTags) {
      const slab = this.#slabs.get(first / slabTags) ?? zeroSlab;
      hash.update(slab.subarray(0, Math.min(slabTags, this.chunks - first) * tagBytes));
    }
    return `sha256:${hash.digest("hex")}`;
  }
}

/** What identifies a file within a VM's digest. */
export interface DigestedFile {
  kind: string;
  name: string;
  digest: string;
}

/** The VM's digest over its files in the order of the offer (SPEC.md, Digests). */
export function vmDigest(name: string, files: DigestedFile[]): string {
  const hash = createHash("sha256").update("migrate vm v1\0");
  for (const part of [name, ...files.flatMap((file) => [file.kind, file.name, file.digest])]) {
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
