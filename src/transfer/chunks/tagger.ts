/** The tag of a chunk: what the two ends compare in place of its bytes (SPEC.md, Tags). */
import { createCipheriv } from "node:crypto";
import { zeroTag } from "./tag-table.ts";

/**
 * Computes tags: AES-128-GMAC (NIST SP 800-38D) over the body, the nonce being the chunk's place
 * (u32 file, u64 chunk). One key serves one session; the tags go to the two ends alone, inside the
 * authenticated channel, so a guest that chooses the data knows neither key nor tags, and two
 * different contents of one place have equal tags with a probability below 2^-110.
 */
export class Tagger {
  readonly #key: Buffer;
  readonly #nonce = Buffer.alloc(12);

  /** Takes the session's 16-byte tag key. */
  constructor(key: Uint8Array) {
    if (key.length !== 16) throw new RangeError("a tag key has 16 bytes");
    this.#key = Buffer.from(key);
  }

  /** The 16-byte tag of a chunk's body; `zeroTag` for a body without runs. */
  tag(file: number, chunk: number, body: Buffer): Buffer {
    if (body.readUInt16BE(0) === 0) return zeroTag;
    this.#nonce.writeUInt32BE(file, 0);
    this.#nonce.writeBigUInt64BE(BigInt(chunk), 4);
    const gmac = createCipheriv("aes-128-gcm", this.#key, this.#nonce);
    gmac.setAAD(body);
    gmac.final();
    return gmac.getAuthTag();
  }
}
