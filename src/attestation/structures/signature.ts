/**
 * Signatures of a TPM's key: TPMT_SIGNATURE (TPM 2.0 Library Part 2, 11.3.4), of which ECDSA alone is taken, and
 * whether one holds.
 */
import { createPublicKey, type KeyObject, verify } from "node:crypto";
import { algorithm, type Hash, hashOf } from "./algorithms.ts";
import { type PublicArea, parsePublic } from "./public-area.ts";
import { type Fault, peerFault, StructureReader } from "./structure-reader.ts";

export interface EcdsaSignature {
  hash: Hash;
  r: Buffer;
  s: Buffer;
}

const coordinateMaxBytes = 48;

/** Reads a whole TPMT_SIGNATURE. Throws `fault`, MigrateError "attestation" where none is given. */
export function parseSignature(bytes: Buffer, fault: Fault = peerFault("The signature")): EcdsaSignature {
  const reader = new StructureReader(bytes, fault);
  if (reader.u16() !== algorithm.ecdsa) throw reader.fault("it is not ECDSA");
  const hash = hashOf(reader.u16());
  if (hash === undefined) throw reader.fault("it is over a hash that is not taken");
  const [r, s] = [reader.sized(coordinateMaxBytes), reader.sized(coordinateMaxBytes)];
  reader.end();
  return { hash, r, s };
}

/**
 * The public key as node:crypto has it. Throws `fault` where the numbers are no key: a point that is not on its
 * curve, or an area that is a template.
 */
export function keyObjectOf(area: PublicArea, fault: Fault = peerFault("A public key")): KeyObject {
  const text = (bytes: Buffer) => bytes.toString("base64url");
  try {
    if (area.kind === "ecc") {
      const { curve, x, y } = area;
      return createPublicKey({
        format: "jwk",
        key: { kty: "EC", crv: curve.jwk, x: text(x), y: text(y) },
      });
    }
    const exponent = Buffer.from(area.exponent.toString(16).padStart(6, "0"), "hex");
    return createPublicKey({
      format: "jwk",
      key: { kty: "RSA", n: text(area.modulus), e: text(exponent) },
    });
  } catch {
    throw fault("its numbers are no key");
  }
}

/**
 * Whether `signature` (TPMT_SIGNATURE) over `data` is by the ECDSA key of `publicBytes` (TPMT_PUBLIC), by the hash
 * that the key has for it. Throws MigrateError "attestation" where one of them cannot be read.
 */
export function verifySignature(publicBytes: Buffer, data: Buffer, signature: Buffer): boolean {
  const area = parsePublic(publicBytes);
  const { hash, r, s } = parseSignature(signature);
  if (area.kind !== "ecc" || area.ecdsa?.id !== hash.id) return false;
  const { bytes } = area.curve;
  if (r.length > bytes || s.length > bytes) return false;
  const raw = Buffer.alloc(2 * bytes);
  r.copy(raw, bytes - r.length);
  s.copy(raw, 2 * bytes - s.length);
  return verify(hash.name, data, { key: keyObjectOf(area), dsaEncoding: "ieee-p1363" }, raw);
}
