/**
 * The certificate in which a TPM's maker says that an endorsement key is one of his TPMs' (TCG EK Credential Profile for
 * TPM Family 2.0, 3), held against the certificates of makers that a person has given.
 *
 * How long it is valid is not looked at: a TPM whose certificate has run out is the TPM that it was, and a clock set back
 * must not lock anybody out. No revocation list is asked: nothing here reaches out to makers.
 */
import { createHash, X509Certificate } from "node:crypto";
import { MigrateError } from "../../protocol/errors.ts";
import { printable } from "../../protocol/printable.ts";
import { parsePublic } from "../structures/public-area.ts";
import { keyObjectOf } from "../structures/signature.ts";

export interface EkCertificateWords {
  /** Who made the certificate, in one line of printable characters; what a peer has written. */
  issuer: string;
  /** SHA-256 of the whole certificate, in hex. */
  digest: string;
  /** Whether one of the makers that the person has given signed it. */
  chain: "checked" | "not-checked";
}

const certificateMaxBytes = 4096;
const wordsMaxLength = 200;
const mostMakers = 256;
/** tcg-kp-EKCertificate: what the key is for. A maker certifies other keys as well. */
const endorsementUse = "2.23.133.8.1";

/**
 * Holds a certificate (DER) against the endorsement key `ekPublic` (TPMT_PUBLIC) and the makers' certificates (each text
 * may hold several, PEM), of which one has to have signed it; with none given the chain is not checked. Those that
 * are given are trusted as they are, so that of a chain the last before the TPM's own is enough. Throws MigrateError "attestation": one that cannot be read, is over another key or of no endorsement key, or of a maker that
 * is not among them; "usage" where the texts hold no certificate.
 */
export function checkEkCertificate(
  der: Buffer,
  ekPublic: Buffer,
  makersPem: readonly string[],
): EkCertificateWords {
  const certificate = read(der);
  const issuer = wordsOf(certificate.issuer);
  if (!isOver(certificate, ekPublic))
    throw refused("The certificate of the other host's TPM is over another key than the one it shows.", {
      hint: "Its TPM was exchanged, or somebody shows the certificate of another. Do not record it; look at that host.",
    });
  if (certificate.ca || !(certificate.keyUsage ?? [endorsementUse]).includes(endorsementUse))
    throw refused(`The certificate of the other host's TPM (of ${issuer}) is none of an endorsement key.`, {
      hint: "Do not record that host; look at its TPM there.",
    });
  const chain = makersPem.length === 0 ? "not-checked" : "checked";
  if (chain === "checked" && !readMakers(makersPem).some((maker) => maker.ca && signed(maker, certificate)))
    throw refused(
      `The certificate of the other host's TPM is of ${issuer}, which is none of the makers given.`,
      {
        hint: "Give the certificate of that very name, from the maker's own page; or, without any, take the TPM by its word.",
      },
    );
  const digest = createHash("sha256").update(der).digest("hex");
  return { issuer, digest, chain };
}

function read(der: Buffer): X509Certificate {
  try {
    if (der.length <= certificateMaxBytes) return new X509Certificate(der);
  } catch {
    // The parser's own words say nothing to a person.
  }
  throw refused("The certificate of the other host's TPM cannot be read.", {
    hint: "Look at it there: tpm2_getekcertificate.",
  });
}

function readMakers(texts: readonly string[]): X509Certificate[] {
  const blocks = texts.flatMap(
    (text) => text.match(/-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----/g) ?? [],
  );
  if (blocks.length === 0 || blocks.length > mostMakers)
    throw new MigrateError("usage", `There are ${blocks.length} makers' certificates in what was given.`, {
      hint: `Give 1 to ${mostMakers} of them, as PEM.`,
    });
  return blocks.map((block, at) => {
    try {
      return new X509Certificate(block);
    } catch (cause) {
      throw new MigrateError("usage", `Certificate ${at + 1} of the makers' cannot be read.`, {
        hint: "Give certificates as PEM: openssl x509 -inform der turns one into that.",
        cause,
      });
    }
  });
}

function signed(maker: X509Certificate, certificate: X509Certificate): boolean {
  try {
    return certificate.checkIssued(maker) && certificate.verify(maker.publicKey);
  } catch {
    return false;
  }
}

function isOver(certificate: X509Certificate, ekPublic: Buffer): boolean {
  const key = keyObjectOf(parsePublic(ekPublic));
  try {
    return certificate.publicKey.equals(key);
  } catch {
    return false;
  }
}

function wordsOf(name: string): string {
  const words = printable(name.replaceAll("\n", ", ")).slice(0, wordsMaxLength).toWellFormed();
  return words === "" ? "nobody" : words;
}

function refused(message: string, { hint }: { hint: string }): MigrateError {
  return new MigrateError("attestation", message, { hint });
}
