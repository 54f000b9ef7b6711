/**
 * A host's certificate, and the fingerprint by which other hosts know it.
 *
 * The certificate is self-signed and says nothing that anybody relies on: trust is the pin on its
 * fingerprint alone. So every host has the same name in it, and it is valid at all times: a clock set
 * back or a host switched off for years must not lock its owner out.
 */
import { createHash, createPrivateKey, createPublicKey, randomBytes } from "node:crypto";
import { MigrateError } from "../protocol/errors.ts";

export interface CertificateWithKey {
  certificatePem: string;
  /** PKCS #8 (RFC 5958), not encrypted. */
  privateKeyPem: string;
}

const notBefore = new Date("2020-01-01T00:00:00Z");
/** RFC 5280 section 4.1.2.5: the date for a certificate that has no well-defined end. */
const notAfter = new Date("9999-12-31T23:59:59Z");

/**
 * A self-signed certificate, with CN=migrate and a random serial number, over a new P-256 key, or over that of
 * `privateKeyPem` (PKCS #8).
 */
export async function makeCertificate(privateKeyPem?: string): Promise<CertificateWithKey> {
  const {
    ExtendedKeyUsage,
    ExtendedKeyUsageExtension,
    KeyUsageFlags,
    KeyUsagesExtension,
    X509CertificateGenerator,
  } = await loadX509();
  const algorithm = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };
  const keys =
    privateKeyPem === undefined
      ? await crypto.subtle.generateKey(algorithm, true, ["sign", "verify"])
      : await importKeys(privateKeyPem, algorithm);
  // RFC 5280 section 4.1.2.2: positive and at most 20 octets, so the top bit is cleared; the next one
  // is set, so that the number never begins with a zero octet, which DER would have to drop.
  const serial = randomBytes(16);
  serial[0] = ((serial[0] ?? 0) & 0x7f) | 0x40;
  const certificate = await X509CertificateGenerator.createSelfSigned({
    name: "CN=migrate",
    serialNumber: serial.toString("hex"),
    notBefore,
    notAfter,
    keys,
    signingAlgorithm: algorithm,
    extensions: [
      new KeyUsagesExtension(KeyUsageFlags.digitalSignature, true),
      // One host is a TLS server as destination and a TLS client as source.
      new ExtendedKeyUsageExtension([ExtendedKeyUsage.serverAuth, ExtendedKeyUsage.clientAuth]),
    ],
  });
  const key = Buffer.from(await crypto.subtle.exportKey("pkcs8", keys.privateKey));
  return {
    certificatePem: pem("CERTIFICATE", Buffer.from(certificate.rawData)),
    privateKeyPem: pem("PRIVATE KEY", key),
  };
}

async function importKeys(
  privateKeyPem: string,
  algorithm: { name: string; namedCurve: string },
): Promise<CryptoKeyPair> {
  const key = createPrivateKey(privateKeyPem);
  const publicDer = createPublicKey(privateKeyPem).export({ type: "spki", format: "der" });
  const privateDer = key.export({ type: "pkcs8", format: "der" });
  return {
    privateKey: await crypto.subtle.importKey("pkcs8", privateDer, algorithm, true, ["sign"]),
    publicKey: await crypto.subtle.importKey("spki", publicDer, algorithm, true, ["verify"]),
  };
}

/**
 * @peculiar/x509 needs the polyfill to be there when it is loaded. Both are CommonJS, which Bun may run
 * in another order than static imports stand in, so the order is made here; it also spares every start
 * but the first of a host the loading.
 */
async function loadX509(): Promise<typeof import("@peculiar/x509")> {
  await import("reflect-metadata");
  return import("@peculiar/x509");
}

/** "sha256:" and 64 lower-case hex digits over a certificate's DER, or over the first one in a PEM text. */
export function fingerprintOf(certificate: Uint8Array | string): string {
  const der = typeof certificate === "string" ? derOf(certificate) : certificate;
  return `sha256:${createHash("sha256").update(der).digest("hex")}`;
}

/** RFC 7468: lines of 64 characters. */
export function pem(label: string, der: Uint8Array): string {
  const body = Buffer.from(der)
    .toString("base64")
    .replace(/.{64}(?=.)/g, "$&\n");
  return `-----BEGIN ${label}-----\n${body}\n-----END ${label}-----\n`;
}

function derOf(pemText: string): Buffer {
  const body = /-----BEGIN CERTIFICATE-----([A-Za-z0-9+/=\s]+)-----END CERTIFICATE-----/.exec(pemText)?.[1];
  if (body === undefined) throw new MigrateError("wrong-identity", "There is no certificate in this text.");
  return Buffer.from(body, "base64");
}
