/**
 * A secret that only one TPM can open, and only if it holds the key of a given Name: TPM2_MakeCredential in software
 * (TPM 2.0 Library Part 1, 24; Part 3, 12.6), at the verifier, who needs no TPM.
 */
import { constants, createCipheriv, createECDH, createHmac, publicEncrypt, randomBytes } from "node:crypto";
import { MigrateError } from "../../protocol/errors.ts";
import { sized } from "../structures/marshal.ts";
import { type EccArea, type PublicArea, parsePublic } from "../structures/public-area.ts";
import { keyObjectOf } from "../structures/signature.ts";
import { peerFault } from "../structures/structure-reader.ts";
import { kdfA, kdfE } from "./key-derivation.ts";

export interface Credential {
  /** TPMS_ID_OBJECT: what stands in a TPM2B_ID_OBJECT. */
  credentialBlob: Buffer;
  /** What stands in a TPM2B_ENCRYPTED_SECRET. */
  encryptedSecret: Buffer;
}

const nothing = Buffer.alloc(0);
const label = "IDENTITY";

/**
 * Seals `secret` (at most as long as the endorsement key's hash) to the TPM with the endorsement key `ekPublic`
 * (TPMT_PUBLIC) for as long as it holds the key of that Name. Throws MigrateError "attestation" for an endorsement key that protects
 * nothing or is no key.
 */
export function makeCredential(ekPublic: Buffer, name: Buffer, secret: Buffer): Credential {
  const area = parsePublic(ekPublic, fault);
  const { nameHash: hash, symmetric } = area;
  if (symmetric === null) throw fault("it protects nothing");
  if (secret.length > hash.bytes) throw new MigrateError("bug", "The secret of a credential is too long.");
  const { seed, encryptedSecret } = shareSeed(area);
  const encryptionKey = kdfA(seed, {
    ...{ hash, label: "STORAGE", contextU: name, contextV: nothing, bits: symmetric.keyBits },
  });
  const cipher = createCipheriv(`aes-${symmetric.keyBits}-cfb`, encryptionKey, Buffer.alloc(16));
  const encrypted = Buffer.concat([cipher.update(sized(secret)), cipher.final()]);
  const macKey = kdfA(seed, {
    ...{ hash, label: "INTEGRITY", contextU: nothing, contextV: nothing, bits: hash.bytes * 8 },
  });
  const mac = createHmac(hash.name, macKey).update(encrypted).update(name).digest();
  return { credentialBlob: Buffer.concat([sized(mac), encrypted]), encryptedSecret };
}

const fault = peerFault("The endorsement key");

/** A seed that the TPM with this key can know as well, and what it needs for that (Part 1, B.10.3 and C.6.1). */
function shareSeed(area: PublicArea): { seed: Buffer; encryptedSecret: Buffer } {
  if (area.kind === "ecc") return shareByPoint(area);
  const seed = randomBytes(area.nameHash.bytes);
  const encryptedSecret = publicEncrypt(
    {
      key: keyObjectOf(area, fault),
      padding: constants.RSA_PKCS1_OAEP_PADDING,
      oaepHash: area.nameHash.name,
      oaepLabel: Buffer.from(`${label}\0`),
    },
    seed,
  );
  return { seed, encryptedSecret };
}

function shareByPoint({ curve, nameHash: hash, x, y }: EccArea): { seed: Buffer; encryptedSecret: Buffer } {
  const ours = createECDH(curve.openssl);
  const point = ours.generateKeys();
  const ourX = point.subarray(1, 1 + curve.bytes);
  const ourY = point.subarray(1 + curve.bytes);
  let z: Buffer;
  try {
    z = ours.computeSecret(Buffer.concat([Buffer.of(4), x, y]));
  } catch {
    throw fault("its point is not on its curve");
  }
  const seed = kdfE(z, { hash, label, contextU: ourX, contextV: x, bits: hash.bytes * 8 });
  return { seed, encryptedSecret: Buffer.concat([sized(ourX), sized(ourY)]) };
}
