/**
 * The public areas from which keys are made in a TPM: those of endorsement keys (TCG EK Credential Profile for TPM
 * Family 2.0, Level 0, 2.x, Annex B), that of the attestation key, and those of a host's own key and its parent. Pure.
 */
import { createHash } from "node:crypto";
import { bankHash, curves, p256, p384 } from "./algorithms.ts";
import { u32 } from "./marshal.ts";
import { encodeSelection } from "./pcr-selection.ts";
import type { PcrSelection } from "./platform-state.ts";
import { attribute, type EccArea, type PublicArea, type RsaArea } from "./public-area.ts";

const sha256 = bankHash("sha256");
const sha384 = bankHash("sha384");
const none = Buffer.alloc(0);

const curve = (id: number) => {
  const found = curves.find((one) => one.id === id);
  if (found === undefined) throw new TypeError(`no curve ${id}`);
  return found;
};

/** Annex B.6.2, PolicyA: TPM2_PolicySecret of the endorsement hierarchy. */
const policyA = Buffer.from("837197674484b3f81a90cc8d46a5d724fd52d76e06520b64f2a1da1b331469aa", "hex");
/** Annex B.6.5, PolicyB, for keys of the high range, which open with their own empty password as well. */
const policyBSha256 = Buffer.from("ca3d0a99a2b93906f7a3342414efcfb3a385d44cd1fd459089d19b5071c0b7a0", "hex");
const policyBSha384 = Buffer.from(
  "b26e7d28d11a50bc53d882bcf5fd3a1a074148bb35d3b4e4cb1c0ad9bde419cacb47ba09699646150f9fc000f3f80e12",
  "hex",
);

const { fixedTpm, fixedParent, sensitiveDataOrigin, userWithAuth, adminWithPolicy } = attribute;
const { noDa, restricted, decrypt, sign } = attribute;
const low = fixedTpm | fixedParent | sensitiveDataOrigin | adminWithPolicy | restricted | decrypt;
const high = low | userWithAuth;

const lowRsa: RsaArea = {
  ...{ kind: "rsa", nameHash: sha256, attributes: low, authPolicy: policyA, symmetric: { keyBits: 128 } },
  ...{ keyBits: 2048, exponent: 65_537, modulus: Buffer.alloc(256) },
};
const lowEcc: EccArea = {
  ...{ kind: "ecc", nameHash: sha256, attributes: low, authPolicy: policyA, symmetric: { keyBits: 128 } },
  ...{ curve: curve(p256), ecdsa: null, x: Buffer.alloc(32), y: Buffer.alloc(32) },
};

/** An endorsement key that a maker may have certified: where the certificate lies, and how the key is made. */
export interface EndorsementTemplate {
  /** As the profile names it. */
  name: "L-1" | "L-2" | "H-1" | "H-3";
  /** NV index of the certificate. */
  certificateIndex: number;
  area: PublicArea;
  /** Whether its own empty password opens it; else PolicySecret of the endorsement hierarchy does. */
  opensByPassword: boolean;
}

/** In the order in which they are looked for: ECC first, since an RSA key takes a TPM seconds to make. */
export const endorsementTemplates: readonly EndorsementTemplate[] = [
  { name: "L-2", certificateIndex: 0x01c0_000a, area: lowEcc, opensByPassword: false },
  {
    name: "H-3",
    certificateIndex: 0x01c0_0016,
    area: {
      ...{ ...lowEcc, nameHash: sha384, attributes: high, authPolicy: policyBSha384 },
      ...{ symmetric: { keyBits: 256 }, curve: curve(p384), x: none, y: none },
    },
    opensByPassword: true,
  },
  { name: "L-1", certificateIndex: 0x01c0_0002, area: lowRsa, opensByPassword: false },
  {
    name: "H-1",
    certificateIndex: 0x01c0_0012,
    area: { ...lowRsa, attributes: high, authPolicy: policyBSha256, modulus: none },
    opensByPassword: true,
  },
];

/** The endorsement key that is used where no certificate is in NV. */
export const plainEndorsement: EndorsementTemplate = endorsementTemplates[0]!;

/**
 * The attestation key: it signs what the TPM itself has made and nothing else, never leaves the TPM, and a wrong
 * password elsewhere does not lock it. `unique` is 32 bytes by which one home's key differs from another's.
 */
export function attestationTemplate(unique: Buffer): EccArea {
  return {
    kind: "ecc",
    nameHash: sha256,
    attributes: fixedTpm | fixedParent | sensitiveDataOrigin | userWithAuth | noDa | restricted | sign,
    authPolicy: none,
    symmetric: null,
    curve: curve(p256),
    ecdsa: sha256,
    x: unique,
    y: Buffer.alloc(32),
  };
}

/** The parent of a host's own key, made anew from the owner's seed each time (TCG TPM v2.0 Provisioning Guidance, 7.5.1). */
export const storageTemplate: EccArea = {
  kind: "ecc",
  nameHash: sha256,
  attributes: fixedTpm | fixedParent | sensitiveDataOrigin | userWithAuth | noDa | restricted | decrypt,
  authPolicy: none,
  symmetric: { keyBits: 128 },
  curve: curve(p256),
  ecdsa: null,
  x: Buffer.alloc(32),
  y: Buffer.alloc(32),
};

/**
 * A host's own key, for TLS: made in the TPM, which gives it out (TPM2_Duplicate) as long as `policy` holds: TLS
 * libraries sign in memory. Without fixedTPM and fixedParent, by what a TPM allows of keys that can be duplicated; without
 * userWithAuth, so that nothing but the policy opens it, signing in the TPM included.
 */
export function hostKeyTemplate(policy: Buffer): EccArea {
  return {
    kind: "ecc",
    nameHash: sha256,
    attributes: sensitiveDataOrigin | noDa | sign,
    authPolicy: policy,
    symmetric: null,
    curve: curve(p256),
    ecdsa: null,
    x: none,
    y: none,
  };
}

const commandPolicyCommandCode = 0x0000_016c;
const commandPolicyPcr = 0x0000_017f;
const commandDuplicate = 0x0000_014b;

/**
 * The policy of a host's own key: TPM2_Duplicate (Part 3, 23.11, PolicyCommandCode) and, where registers are given,
 * only while they have these values (23.7, PolicyPCR; `digest` is digestOfRegisters).
 */
export function hostKeyPolicy(registers: { selection: PcrSelection; digest: Buffer } | null): Buffer {
  const extend = (policy: Buffer, ...parts: Buffer[]) =>
    createHash("sha256")
      .update(Buffer.concat([policy, ...parts]))
      .digest();
  let policy = extend(Buffer.alloc(32), u32(commandPolicyCommandCode), u32(commandDuplicate));
  if (registers !== null) {
    const { selection, digest } = registers;
    policy = extend(policy, u32(commandPolicyPcr), encodeSelection(selection), digest);
  }
  return policy;
}
