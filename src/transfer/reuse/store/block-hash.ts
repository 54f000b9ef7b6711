/**
 * Fingerprints of blocks: a few bytes by which a host says what a block may be, so that the other can
 * look whether it has one like it.
 *
 * A fingerprint is a hint and decides nothing. Every block has the same nonce, so whoever holds the
 * index key and sees many fingerprints could make two blocks that share one; that costs the time of a
 * look in vain, and never a byte, because the chunk's tag under the session's fresh key is what decides.
 */
import { createCipheriv } from "node:crypto";
import { limits } from "../../../protocol/limits.ts";

const { blockBytes, fingerprintBytes } = limits;
const zeroBlock = Buffer.alloc(blockBytes);
const nonce = Buffer.alloc(12);

/** Length in bytes of an index key. */
export const indexKeyBytes = 16;

/** What stands for a block of nothing but zeros, which has no fingerprint: 8 zero bytes. */
export const noFingerprint: Buffer = Buffer.alloc(fingerprintBytes);

/** Blocks of a file, or of a chunk, of `bytes` bytes; the last one may be shorter. */
export function blocksOf(bytes: number): number {
  return Math.ceil(bytes / blockBytes);
}

/** Length in bytes of block `index` of a file, or of a chunk, of `bytes` bytes. */
export function blockLength(bytes: number, index: number): number {
  return Math.min(blockBytes, bytes - index * blockBytes);
}

/** True where fingerprint `index` of a list says that its block is nothing but zeros. */
export function isNoFingerprint(prints: Buffer, index: number): boolean {
  const at = index * fingerprintBytes;
  return prints.readUInt32LE(at) === 0 && prints.readUInt32LE(at + 4) === 0;
}

/** Computes fingerprints: the first 8 bytes of AES-128-GMAC (NIST SP 800-38D) over a block's bytes. */
export class Fingerprinter {
  readonly #key: Buffer;

  /** Takes an index key of 16 bytes; throws RangeError for another length. */
  constructor(key: Uint8Array) {
    if (key.length !== indexKeyBytes) throw new RangeError(`an index key has ${indexKeyBytes} bytes`);
    this.#key = Buffer.from(key);
  }

  /** The 8-byte fingerprint of a block, zeros and all. A shorter block has another than a longer one. */
  print(block: Buffer): Buffer {
    const gmac = createCipheriv("aes-128-gcm", this.#key, nonce);
    gmac.setAAD(block);
    gmac.final();
    return gmac.getAuthTag().subarray(0, fingerprintBytes);
  }

  /**
   * The fingerprints of the plain bytes of a chunk, or of any piece that begins at a block, one after
   * the other: 8 bytes for each block, `noFingerprint` for one of zeros.
   */
  prints(data: Buffer): Buffer {
    const prints = Buffer.alloc(blocksOf(data.length) * fingerprintBytes);
    for (let at = 0, to = 0; at < data.length; at += blockBytes, to += fingerprintBytes) {
      const end = Math.min(at + blockBytes, data.length);
      if (data.compare(zeroBlock, 0, end - at, at, end) === 0) continue;
      this.print(data.subarray(at, end)).copy(prints, to);
    }
    return prints;
  }

  /** Is fingerprint `index` of the list that of this block? */
  matches(block: Buffer, prints: Buffer, index: number): boolean {
    const at = index * fingerprintBytes;
    return this.print(block).compare(prints, at, at + fingerprintBytes) === 0;
  }
}
