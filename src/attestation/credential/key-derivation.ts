/** The key derivation functions of a TPM: KDFa and KDFe (TPM 2.0 Library Part 1, 11.4.10). Pure. */
import { createHash, createHmac } from "node:crypto";
import type { Hash } from "../structures/algorithms.ts";
import { u32 } from "../structures/marshal.ts";

interface Derivation {
  hash: Hash;
  /** ASCII; the zero byte that ends it is added here. */
  label: string;
  /** What follows the label, of each of the two parties. */
  contextU: Uint8Array;
  contextV: Uint8Array;
  /** A multiple of 8. */
  bits: number;
}

/** SP 800-108 in counter mode with HMAC (11.4.10.2). `bits` are the length of the result. */
export function kdfA(key: Uint8Array, derivation: Derivation): Buffer {
  const { hash, label, contextU, contextV, bits } = derivation;
  return derive(derivation, (counter) =>
    createHmac(hash.name, key)
      .update(u32(counter))
      .update(`${label}\0`)
      .update(contextU)
      .update(contextV)
      .update(u32(bits))
      .digest(),
  );
}

/** SP 800-56A's concatenation of a shared secret (11.4.10.3): `z` is the x coordinate of the shared point. */
export function kdfE(z: Uint8Array, derivation: Derivation): Buffer {
  const { hash, label, contextU, contextV } = derivation;
  return derive(derivation, (counter) =>
    createHash(hash.name)
      .update(u32(counter))
      .update(z)
      .update(`${label}\0`)
      .update(contextU)
      .update(contextV)
      .digest(),
  );
}

function derive({ hash, bits }: Derivation, block: (counter: number) => Buffer): Buffer {
  const blocks = Array.from({ length: Math.ceil(bits / (hash.bytes * 8)) }, (_, at) => block(at + 1));
  return Buffer.concat(blocks).subarray(0, bits / 8);
}
