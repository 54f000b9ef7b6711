/**
 * How a suite seals one record into the body that follows its header, and opens it again. Each protection has
 * the state of one direction of one lane. Native code (node:crypto) does the work but for
 * ChaCha20-Poly1305, which it lacks and @noble/ciphers has.
 *
 *   cbc     IV | ciphertext | HMAC-SHA1      IV fresh and unpredictable a record (RFC 5246 section 6.2.3.2)
 *   stream  ciphertext | HMAC-SHA1           the keystream continues where the last record ended
 *   aead    ciphertext | tag                 nonce = IV xor sequence number (RFC 8446 section 5.3)
 *
 * The MAC is over the header, which has the sequence number in it, and over everything before it in the
 * body (encrypt-then-MAC, RFC 7366); an AEAD has the header as associated data.
 */

import {
  type Cipheriv,
  createCipheriv,
  createDecipheriv,
  createHmac,
  randomBytes,
  timingSafeEqual,
} from "node:crypto";
import { chacha20poly1305 } from "@noble/ciphers/chacha.js";
import { MigrateError } from "../../../protocol/errors.ts";
import type { AeadSuite, CbcSuite, RecordSuite, StreamSuite } from "../../statistics/suite.ts";
import type { Meter } from "../account/operation-meter.ts";
import type { RecordKeys } from "./record-keys.ts";

const macBytes = 20;
const tagBytes = 16;

export interface RecordProtection {
  /** Bytes of the body of a record with so much plaintext. */
  bodyBytes(plainBytes: number): number;
  /** The body in pieces; `header` is the record's, with its sequence number. */
  seal(header: Buffer, sequence: bigint, plain: Buffer): Buffer[];
  /**
   * The plaintext of a body that came. Throws MigrateError "integrity" if it is not what was sealed
   * under this header, before a byte of it is decrypted.
   */
  open(header: Buffer, sequence: bigint, body: Buffer): Buffer;
}

/** The protection of one direction of one lane; tells `meter` what it does. */
export function recordProtection(suite: RecordSuite, keys: RecordKeys, meter: Meter): RecordProtection {
  switch (suite.kind) {
    case "cbc":
      return new CbcProtection(suite, keys, meter);
    case "stream":
      return new StreamProtection(suite, keys, meter);
    case "aead":
      return new AeadProtection(suite, keys, meter);
  }
}

/** The part before the MAC, if the MAC is right. */
function verified(key: Buffer, header: Buffer, body: Buffer, meter: Meter): Buffer {
  meter.to("verify");
  if (body.length < macBytes) throw forged();
  const covered = body.subarray(0, body.length - macBytes);
  const expected = createHmac("sha1", key).update(header).update(covered).digest();
  if (!timingSafeEqual(expected, body.subarray(body.length - macBytes))) throw forged();
  return covered;
}

class CbcProtection implements RecordProtection {
  readonly #suite: CbcSuite;
  readonly #keys: RecordKeys;
  readonly #meter: Meter;

  constructor(suite: CbcSuite, keys: RecordKeys, meter: Meter) {
    this.#suite = suite;
    this.#keys = keys;
    this.#meter = meter;
  }

  bodyBytes(plainBytes: number): number {
    const { blockBytes } = this.#suite;
    return blockBytes + (Math.floor(plainBytes / blockBytes) + 1) * blockBytes + macBytes;
  }

  seal(header: Buffer, _sequence: bigint, plain: Buffer): Buffer[] {
    this.#meter.to("encrypt");
    const iv = randomBytes(this.#suite.blockBytes);
    const cipher = createCipheriv(this.#suite.cipher, this.#keys.encryption, iv);
    const blocks = cipher.update(plain);
    const last = cipher.final();
    this.#meter.to("mac");
    const mac = createHmac("sha1", this.#keys.mac)
      .update(header)
      .update(iv)
      .update(blocks)
      .update(last)
      .digest();
    return [iv, blocks, last, mac];
  }

  open(header: Buffer, _sequence: bigint, body: Buffer): Buffer {
    const { cipher, blockBytes } = this.#suite;
    const covered = verified(this.#keys.mac, header, body, this.#meter);
    if (covered.length < 2 * blockBytes || covered.length % blockBytes !== 0) throw forged();
    this.#meter.to("decrypt");
    const decipher = createDecipheriv(cipher, this.#keys.encryption, covered.subarray(0, blockBytes));
    decipher.setAutoPadding(false);
    const padded = decipher.update(covered.subarray(blockBytes));
    decipher.final();
    // The MAC was right, so a wrong padding is the sealer's own; an attacker learns nothing from it.
    const padding = padded[padded.length - 1]!;
    if (padding < 1 || padding > blockBytes) throw forged();
    return padded.subarray(0, padded.length - padding);
  }
}

class StreamProtection implements RecordProtection {
  readonly #cipher: Cipheriv;
  readonly #macKey: Buffer;
  readonly #meter: Meter;

  constructor(suite: StreamSuite, keys: RecordKeys, meter: Meter) {
    this.#cipher = createCipheriv(suite.cipher, keys.encryption, null);
    this.#macKey = keys.mac;
    this.#meter = meter;
  }

  bodyBytes(plainBytes: number): number {
    return plainBytes + macBytes;
  }

  seal(header: Buffer, _sequence: bigint, plain: Buffer): Buffer[] {
    this.#meter.to("encrypt");
    const ciphertext = this.#cipher.update(plain);
    this.#meter.to("mac");
    return [ciphertext, createHmac("sha1", this.#macKey).update(header).update(ciphertext).digest()];
  }

  open(header: Buffer, _sequence: bigint, body: Buffer): Buffer {
    const covered = verified(this.#macKey, header, body, this.#meter);
    this.#meter.to("decrypt");
    // Encryption and decryption of a stream cipher are the same.
    return this.#cipher.update(covered);
  }
}

/** A cipher that authenticates what it encrypts, and other data along with it. */
interface Aead {
  /** Ciphertext and tag, in pieces. */
  seal(key: Buffer, nonce: Buffer, header: Buffer, plain: Buffer): Buffer[];
  /** Throws if what is to be opened is shorter than its tag or not what was sealed. */
  open(key: Buffer, nonce: Buffer, header: Buffer, body: Buffer): Buffer;
}

const aeads: Readonly<Record<AeadSuite["cipher"], Aead>> = {
  "aes-128-gcm": {
    seal(key, nonce, header, plain) {
      const cipher = createCipheriv("aes-128-gcm", key, nonce);
      cipher.setAAD(header);
      const ciphertext = cipher.update(plain);
      cipher.final();
      return [ciphertext, cipher.getAuthTag()];
    },
    open(key, nonce, header, body) {
      const decipher = createDecipheriv("aes-128-gcm", key, nonce, { authTagLength: tagBytes });
      decipher.setAAD(header);
      decipher.setAuthTag(body.subarray(body.length - tagBytes));
      const plain = decipher.update(body.subarray(0, body.length - tagBytes));
      decipher.final();
      return plain;
    },
  },
  "chacha20-poly1305": {
    seal: (key, nonce, header, plain) => [bufferOn(chacha20poly1305(key, nonce, header).encrypt(plain))],
    open: (key, nonce, header, body) => bufferOn(chacha20poly1305(key, nonce, header).decrypt(body)),
  },
};

class AeadProtection implements RecordProtection {
  readonly #aead: Aead;
  readonly #keys: RecordKeys;
  readonly #meter: Meter;

  constructor(suite: AeadSuite, keys: RecordKeys, meter: Meter) {
    this.#aead = aeads[suite.cipher];
    this.#keys = keys;
    this.#meter = meter;
  }

  bodyBytes(plainBytes: number): number {
    return plainBytes + tagBytes;
  }

  seal(header: Buffer, sequence: bigint, plain: Buffer): Buffer[] {
    this.#meter.to("encrypt");
    return this.#aead.seal(this.#keys.encryption, nonceOf(this.#keys.iv, sequence), header, plain);
  }

  open(header: Buffer, sequence: bigint, body: Buffer): Buffer {
    this.#meter.to("decrypt");
    if (body.length < tagBytes) throw forged();
    try {
      return this.#aead.open(this.#keys.encryption, nonceOf(this.#keys.iv, sequence), header, body);
    } catch {
      throw forged();
    }
  }
}

/** RFC 8446 section 5.3: the sequence number in 64 bits, padded on the left, XORed with the IV. */
export function nonceOf(iv: Buffer, sequence: bigint): Buffer {
  const nonce = Buffer.from(iv);
  nonce.writeBigUInt64BE(nonce.readBigUInt64BE(4) ^ sequence, 4);
  return nonce;
}

function bufferOn(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
}

function forged(): MigrateError {
  return new MigrateError("integrity", "a record is not what the source sealed", { side: "destination" });
}
