/**
 * A digest over a whole transfer, in the pieces it comes in: AES-128-GMAC (NIST SP 800-38D) with a key of
 * the run's own. Every suite has it, so that all bear its cost alike, and for `insecure` it is all there
 * is: there the key crosses the wire in the clear, and it catches damage, not an attacker.
 */
import { type CipherGCM, createCipheriv } from "node:crypto";

export const digestKeyBytes = 16;

/** SP 800-38D section 8: a key is used once, so that the nonce may be a constant. */
const nonce = Buffer.alloc(12);

export class StreamDigest {
  readonly #gmac: CipherGCM;

  /** Takes a key of 16 bytes that is used for nothing else. */
  constructor(key: Uint8Array) {
    if (key.length !== digestKeyBytes) throw new RangeError(`a digest key has ${digestKeyBytes} bytes`);
    this.#gmac = createCipheriv("aes-128-gcm", key, nonce);
  }

  update(bytes: Uint8Array): void {
    if (bytes.length > 0) this.#gmac.setAAD(bytes);
  }

  /** 32 hex digits. To be called once. */
  finish(): string {
    this.#gmac.final();
    return this.#gmac.getAuthTag().toString("hex");
  }
}
