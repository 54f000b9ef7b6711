/**
 * The keys that another host shows as its TPM's, held against what such keys have to be: the attestation key, and the
 * host's own key of TLS where that was made in the TPM.
 */
import { createPublicKey, type KeyObject, X509Certificate } from "node:crypto";
import { MigrateError } from "../../protocol/errors.ts";
import { parseAttest } from "../structures/attest.ts";
import {
  attestationTemplate,
  endorsementTemplates,
  hostKeyPolicy,
  hostKeyTemplate,
} from "../structures/key-templates.ts";
import { attribute, hasTemplate, nameOf, type PublicArea, parsePublic } from "../structures/public-area.ts";
import { keyObjectOf, verifySignature } from "../structures/signature.ts";

const hint = "Do not record that host; a key like that is none of migrate's making.";

/**
 * Throws MigrateError "attestation" unless the key (TPMT_PUBLIC) is what an attestation key here is in every attribute:
 * it signs nothing that the TPM has not made itself, and never leaves it.
 */
export function requireAttestationKey(akPublic: Buffer): void {
  const area = parsePublic(akPublic);
  const wrong = wrongInAttestationKey(area);
  if (wrong !== null)
    throw new MigrateError("attestation", `The attestation key of the other host ${wrong}.`, { hint });
}

function wrongInAttestationKey(area: PublicArea): string | null {
  const lacks = (bit: number) => (area.attributes & bit) === 0;
  if (lacks(attribute.restricted)) return "signs whatever it is given, not only what its TPM has made";
  if (lacks(attribute.fixedTpm) || lacks(attribute.fixedParent)) return "can be taken out of its TPM";
  if (lacks(attribute.sensitiveDataOrigin)) return "was not made by a TPM";
  return hasTemplate(area, attestationTemplate(Buffer.alloc(32)))
    ? null
    : "is of another kind than it has to be";
}

/**
 * Throws MigrateError "attestation" unless the key (TPMT_PUBLIC) is made by one of the templates of endorsement keys: one that
 * opens credentials and nothing else. It tells no TPM from software: a certificate, or a person's word, does.
 */
export function requireEndorsementKey(ekPublic: Buffer): void {
  const area = parsePublic(ekPublic);
  if (endorsementTemplates.some((template) => hasTemplate(area, template.area))) return;
  throw new MigrateError(
    "attestation",
    "The endorsement key of the other host is of another kind than it has to be.",
    {
      hint,
    },
  );
}

export interface ShownHostKey {
  /** TPMS_ATTEST of TPM2_CertifyCreation, and the attestation key's signature over it. */
  certified: Buffer;
  signature: Buffer;
  /** TPMT_PUBLIC of the host's key. */
  keyPublic: Buffer;
}

/** What the certification of a host's key has to agree with. */
export interface HostKeyTerms {
  /** TPMT_PUBLIC of the attestation key that is trusted. */
  akPublic: Buffer;
  /** What the verifier gave to be signed. */
  qualifyingData: Buffer;
  /** The certificate (DER) that TLS has shown. */
  tlsCertificate: Buffer;
}

/**
 * Holds what a host shows of its own key against the terms, and returns whether the key is bound to registers: then
 * it comes out of the TPM only while they have their values. Throws MigrateError "attestation" unless the trusted attestation key's
 * TPM made the key, and TLS was spoken with that key.
 *
 * What it does not show: that the key never left the TPM. It does, into the memory of the process, at each start.
 */
export function checkHostKey(shown: ShownHostKey, terms: HostKeyTerms): { isBoundToRegisters: boolean } {
  const refuse = (why: string) =>
    new MigrateError("attestation", `What the other host shows of its key of TLS does not hold: ${why}.`, {
      hint: "Record that host again if it has a new identity; else look at who answers there.",
    });
  const { certified, signature, keyPublic } = shown;
  if (!verifySignature(terms.akPublic, certified, signature))
    throw refuse("its attestation key has not signed it");
  const attest = parseAttest(certified);
  if (attest.kind !== "certify" || attest.shows !== "made")
    throw refuse("it does not say that the TPM has made the key");
  if (!attest.extraData.equals(terms.qualifyingData)) throw refuse("it was made for another occasion");
  if (!attest.name.equals(nameOf(keyPublic))) throw refuse("it is over another key");
  const area = parsePublic(keyPublic);
  if (!hasTemplate(area, hostKeyTemplate(area.authPolicy))) throw refuse("the key is of another kind");
  if (!keyObjectOf(area).equals(tlsKey(terms.tlsCertificate))) throw refuse("TLS is spoken with another key");
  return { isBoundToRegisters: !area.authPolicy.equals(hostKeyPolicy(null)) };
}

function tlsKey(certificate: Buffer): KeyObject {
  return createPublicKey(new X509Certificate(certificate).publicKey.export({ type: "spki", format: "pem" }));
}
