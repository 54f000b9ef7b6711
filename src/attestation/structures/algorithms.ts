/** The algorithms and curves that are spoken of with a TPM: TPM 2.0 Library Part 2, 6.3 (TPM_ALG_ID) and 6.4. Pure. */
import type { Bank } from "./platform-state.ts";

export const algorithm = {
  rsa: 0x0001,
  sha1: 0x0004,
  aes: 0x0006,
  sha256: 0x000b,
  sha384: 0x000c,
  sha512: 0x000d,
  nothing: 0x0010,
  ecdsa: 0x0018,
  ecc: 0x0023,
  cfb: 0x0043,
} as const;

/** A hash as node:crypto names it, its length in bytes and its name with a TPM. */
export interface Hash {
  name: Bank;
  id: number;
  bytes: number;
}

const hashes: readonly Hash[] = [
  { name: "sha256", id: algorithm.sha256, bytes: 32 },
  { name: "sha384", id: algorithm.sha384, bytes: 48 },
];

/** The hash of that TPM_ALG_ID, if it is one that is taken. */
export function hashOf(id: number): Hash | undefined {
  return hashes.find((hash) => hash.id === id);
}

export function bankHash(bank: Bank): Hash {
  const hash = hashes.find(({ name }) => name === bank);
  if (hash === undefined) throw new TypeError(`no bank ${bank}`);
  return hash;
}

/** A curve: its name in RFC 7518 and in OpenSSL, and the length of a coordinate in bytes. */
export interface Curve {
  id: number;
  jwk: "P-256" | "P-384";
  openssl: "prime256v1" | "secp384r1";
  bytes: number;
}

export const curves: readonly Curve[] = [
  { id: 0x0003, jwk: "P-256", openssl: "prime256v1", bytes: 32 },
  { id: 0x0004, jwk: "P-384", openssl: "secp384r1", bytes: 48 },
];

export const p256 = 0x0003;
export const p384 = 0x0004;
