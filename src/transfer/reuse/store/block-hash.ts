/**
 * Block hashes: a few bytes by which a host says what a block may be, so that the other can look whether
 * it has one like it. On the wire and in SPEC.md they are called fingerprints.
 *
 * A block hash is a hint and decides nothing. Every block has the same nonce, so whoever holds the
 * index key and sees many block hashes could make two blocks that share one; that costs the time of a
 * look in vain, and never a byte, because the chunk's tag under the session's fresh key is what decides.
 */
import { createCipheriv } from "node:crypto";
import { limits } from "../../../protocol/limits.ts";

const { blockBytes, blockHashBytes } = limits;
const zeroBlock = Buffer.alloc(blockBytes);
const nonce = Buffer.alloc(12);

/** Length in bytes of an index key. */
export const indexKeyBytes = 16;

/** Blocks of a file, or of a chunk, of `bytes` bytes; the last one may be shorter. */
export function blocksOf(bytes: number): number {
  return Math.ceil(bytes / blockBytes);
}

/** Length in bytes of block `index` of a file, or of a chunk, of `bytes` bytes. */
export function blockLength(bytes: number, index: number): number {
  return Math.min(blockBytes, bytes - index * blockBytes);
}

/** True if block hash `index` of a list says that its block is nothing but zeros. */
export function isNoBlockHash(hashes: Buffer, index: number): boolean {
  const at = index * blockHashBytes;
  return hashes.readUInt32LE(at) === 0 && hashes.readUInt32LE(at + 4) === 0;
}

/** Computes block hashes: the first 8 bytes of AES-128-GMAC (NIST SP 800-38D) over a block's bytes. */
export class BlockHasher {
  readonly #key: Buffer;

  /** Takes an index key of 16 bytes; throws RangeError for another length. */
  constructor(key: Uint8Array) {
    if (key.length !== indexKeyBytes) throw new RangeError(`an index key has ${indexKeyBytes} bytes`);
    this.#key = Buffer.from(key);
  }

  /** The 8-byte fingerprint of a block, zeros and all. A shorter block has another than a longer one. */
  hash(block: Buffer): Buffer {
    const gmac = createCipheriv("aes-128-gcm", this.#key, nonce);
    gmac.setAAD(block);
    gmac.final();
    return gmac.getAuthTag().subarray(0, blockHashBytes);
  }

  /**
   * The block hashes of the plain bytes of a chunk, or of any piece that begins at a block, one after
   * the other: 8 bytes for each block, zeros for one of zeros.
   */
  hashes(data: Buffer): Buffer {
    const hashes = Buffer.alloc(blocksOf(data.length) * blockHashBytes);
    for (let at = 0, to = 0; at < data.length; at += blockBytes, to += blockHashBytes) {
      const end = Math.min(at + blockBytes, data.length);
      if (data.compare(zeroBlock, 0, end - at, at, end) === 0) continue;
      this.hash(data.subarray(at, end)).copy(hashes, to);
    }
    return hashes;
  }

  /** Is block hash `index` of the list that of this block? */
  matches(block: Buffer, hashes: Buffer, index: number): boolean {
    const at = index * blockHashBytes;
    return this.hash(block).compare(hashes, at, at + blockHashBytes) === 0;
  }
}
