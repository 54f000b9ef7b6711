/**
 * The public area of a TPM's key: TPMT_PUBLIC (TPM 2.0 Library Part 2, 12.2.4), its Name (Part 1, 16), and what its
 * attributes say (Part 2, 8.3). RSA and ECC keys alone; anything else is refused. Pure.
 */
import { createHash } from "node:crypto";
import { algorithm, type Curve, curves, type Hash, hashOf } from "./algorithms.ts";
import { sized, u16, u32 } from "./marshal.ts";
import { type Fault, peerFault, StructureReader } from "./structure-reader.ts";

/** TPMA_OBJECT, Part 2, 8.3. */
export const attribute = {
  fixedTpm: 0x0000_0002,
  fixedParent: 0x0000_0010,
  sensitiveDataOrigin: 0x0000_0020,
  userWithAuth: 0x0000_0040,
  adminWithPolicy: 0x0000_0080,
  noDa: 0x0000_0400,
  encryptedDuplication: 0x0000_0800,
  restricted: 0x0001_0000,
  decrypt: 0x0002_0000,
  sign: 0x0004_0000,
} as const;

/** A symmetric cipher that a storage key has for what it protects: AES in CFB mode. */
export interface Symmetric {
  keyBits: 128 | 256;
}

interface AreaOfAnyKind {
  nameHash: Hash;
  /** TPMA_OBJECT. */
  attributes: number;
  /** A digest of nameHash, or empty. */
  authPolicy: Buffer;
  /** Null for a key that protects nothing. */
  symmetric: Symmetric | null;
}

export interface EccArea extends AreaOfAnyKind {
  kind: "ecc";
  curve: Curve;
  /** The hash of ECDSA where the key signs so and with nothing else; null where it has no scheme of its own. */
  ecdsa: Hash | null;
  /** The point, each coordinate in full length; empty in a template. */
  x: Buffer;
  y: Buffer;
}

export interface RsaArea extends AreaOfAnyKind {
  kind: "rsa";
  keyBits: number;
  exponent: number;
  /** Empty in a template. */
  modulus: Buffer;
}

export type PublicArea = EccArea | RsaArea;

const digestMaxBytes = 64;
const modulusMaxBytes = 512;
const defaultExponent = 65_537;

/**
 * Reads the bytes of a whole TPMT_PUBLIC. Throws `fault`, MigrateError "attestation" where none is given, for what
 * is cut, longer than that, of another kind than RSA or ECC, or of algorithms that are not taken.
 */
export function parsePublic(bytes: Buffer, fault: Fault = peerFault("A public key")): PublicArea {
  const reader = new StructureReader(bytes, fault);
  const area = readPublic(reader);
  reader.end();
  return area;
}

/** Reads a TPMT_PUBLIC where the reader stands; throws its fault. */
function readPublic(reader: StructureReader): PublicArea {
  const type = reader.u16();
  const nameHash = hashOf(reader.u16());
  if (nameHash === undefined) throw reader.fault("its Name is made with a hash that is not taken");
  const attributes = reader.u32();
  const authPolicy = reader.sized(digestMaxBytes);
  if (authPolicy.length !== 0 && authPolicy.length !== nameHash.bytes)
    throw reader.fault("its policy has not the length of its hash");
  if (type === algorithm.ecc) {
    return { kind: "ecc", nameHash, attributes, authPolicy, ...readEcc(reader) };
  }
  if (type === algorithm.rsa) {
    return { kind: "rsa", nameHash, attributes, authPolicy, ...readRsa(reader) };
  }
  throw reader.fault("it is neither an RSA nor an ECC key");
}

function readEcc(reader: StructureReader) {
  const symmetric = readSymmetric(reader);
  const scheme = reader.u16();
  if (scheme !== algorithm.nothing && scheme !== algorithm.ecdsa)
    throw reader.fault("it signs by a scheme that is not taken");
  const ecdsa = scheme === algorithm.ecdsa ? hashOf(reader.u16()) : null;
  if (ecdsa === undefined) throw reader.fault("it signs with a hash that is not taken");
  const curveId = reader.u16();
  const curve = curves.find(({ id }) => id === curveId);
  if (curve === undefined) throw reader.fault("it is on a curve that is not taken");
  if (reader.u16() !== algorithm.nothing) throw reader.fault("it derives keys in a way that is not taken");
  const [x, y] = [reader.sized(curve.bytes), reader.sized(curve.bytes)];
  // A TPM may leave out zeros before a coordinate (Part 1, C.8).
  const full = (bytes: Buffer) =>
    bytes.length === 0 ? bytes : Buffer.concat([Buffer.alloc(curve.bytes - bytes.length), bytes]);
  return { symmetric, ecdsa, curve, x: full(x), y: full(y) };
}

function readRsa(reader: StructureReader) {
  const symmetric = readSymmetric(reader);
  if (reader.u16() !== algorithm.nothing) throw reader.fault("it has a scheme that is not taken");
  const keyBits = reader.u16();
  if (keyBits !== 2048 && keyBits !== 3072 && keyBits !== 4096)
    throw reader.fault(`it is an RSA key of ${keyBits} bits`);
  const exponent = reader.u32() || defaultExponent;
  if (exponent !== defaultExponent) throw reader.fault("its exponent is not 65537");
  const modulus = reader.sized(modulusMaxBytes);
  if (modulus.length !== 0 && modulus.length !== keyBits / 8)
    throw reader.fault("its modulus has not the length that it says");
  return { symmetric, keyBits, exponent, modulus };
}

function readSymmetric(reader: StructureReader): Symmetric | null {
  const id = reader.u16();
  if (id === algorithm.nothing) return null;
  const keyBits = reader.u16();
  if (id !== algorithm.aes || (keyBits !== 128 && keyBits !== 256) || reader.u16() !== algorithm.cfb)
    throw reader.fault("it protects others with a cipher that is not taken");
  return { keyBits };
}

/** The area as a TPM marshals it. */
export function encodePublic(area: PublicArea): Buffer {
  const { nameHash, attributes, authPolicy, symmetric } = area;
  const cipher =
    symmetric === null
      ? u16(algorithm.nothing)
      : Buffer.concat([u16(algorithm.aes), u16(symmetric.keyBits), u16(algorithm.cfb)]);
  const head = (type: number) =>
    Buffer.concat([u16(type), u16(nameHash.id), u32(attributes), sized(authPolicy), cipher]);
  if (area.kind === "rsa") {
    const { keyBits, exponent, modulus } = area;
    return Buffer.concat([
      head(algorithm.rsa),
      u16(algorithm.nothing),
      u16(keyBits),
      // Zero stands for the default (Part 2, 12.2.3.5).
      u32(exponent === defaultExponent ? 0 : exponent),
      sized(modulus),
    ]);
  }
  const { ecdsa, curve, x, y } = area;
  const scheme =
    ecdsa === null ? u16(algorithm.nothing) : Buffer.concat([u16(algorithm.ecdsa), u16(ecdsa.id)]);
  return Buffer.concat([
    head(algorithm.ecc),
    scheme,
    u16(curve.id),
    u16(algorithm.nothing),
    sized(x),
    sized(y),
  ]);
}

/**
 * The Name of the object with this public area: the hash's id and the hash over the bytes as they came. Throws
 * `fault`, as parsePublic.
 */
export function nameOf(publicBytes: Buffer, fault: Fault = peerFault("A public key")): Buffer {
  const { nameHash } = parsePublic(publicBytes, fault);
  return Buffer.concat([u16(nameHash.id), createHash(nameHash.name).update(publicBytes).digest()]);
}

/** Whether two public areas are one but for `unique`: what a template is to the key that was made from it. */
export function hasTemplate(area: PublicArea, template: PublicArea): boolean {
  const bare = (of: PublicArea): Buffer => {
    const none = Buffer.alloc(0);
    return encodePublic(of.kind === "ecc" ? { ...of, x: none, y: none } : { ...of, modulus: none });
  };
  return bare(area).equals(bare(template));
}
