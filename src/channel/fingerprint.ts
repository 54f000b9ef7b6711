/**
 * The fingerprint by which hosts know each other: SHA-256 over a certificate's DER, written
 * "sha256:" and 64 lower-case hex digits. Apart from certificate.ts so that a lane, which only
 * compares fingerprints, need not load an X.509 library. Pure.
 */

/** A fingerprint in its one written form; upper case and colons are taken too; null if it is none. */
export function parseFingerprint(text: string): string | null {
  const digits = text
    .trim()
    .toLowerCase()
    .replace(/^sha256:/, "")
    .replaceAll(":", "");
  return /^[0-9a-f]{64}$/.test(digits) ? `sha256:${digits}` : null;
}

/** The 32 bytes of a fingerprint in its written form. */
export function fingerprintBytes(fingerprint: string): Buffer {
  return Buffer.from(fingerprint.slice("sha256:".length), "hex");
}
