/**
 * TLS as both sides use it: version 1.3 alone (RFC 8446), both sides show a certificate, and trust is
 * the pin on its fingerprint, checked by hand once the handshake is over.
 */
import { MigrateError } from "../protocol/errors.ts";
import { parseFingerprint } from "./fingerprint.ts";
import type { RawSocket } from "./frame-socket.ts";

/** The least a host needs to say who it is. */
export interface Credentials {
  certificatePem: string;
  privateKeyPem: string;
}

/** Bun's TLS options for either side. */
export const tlsOptions = (credentials: Credentials) => ({
  cert: credentials.certificatePem,
  key: credentials.privateKeyPem,
  // No public CA is asked; the pin is checked by hand once the handshake is over, and the
  // environment (NODE_TLS_REJECT_UNAUTHORIZED) has no say in it.
  requestCert: true,
  rejectUnauthorized: false,
  minVersion: 0x0304,
  maxVersion: 0x0304,
});

/** The fingerprint of the certificate that the peer showed; null if it showed none that can be read. */
export function peerFingerprint(socket: RawSocket): string | null {
  try {
    const certificate = socket.getPeerCertificate?.();
    return certificate?.fingerprint256 ? parseFingerprint(certificate.fingerprint256) : null;
  } catch {
    // All of a certificate is parsed for this, and it may say anything.
    return null;
  }
}

/**
 * Whether a client's handshake is over and the server has proven that it holds its certificate's key.
 * Bun's `handshake` callback says false on a client whenever no public CA vouches for the server, and it
 * shows a certificate although the signature over the handshake was wrong; BoringSSL gives keying
 * material (RFC 8446 section 7.5) to a client only once all of that was right.
 */
export function isHandshakeComplete(socket: RawSocket): boolean {
  try {
    return socket.exportKeyingMaterial?.(1, "EXPORTER-migrate-complete", Buffer.alloc(0)) !== undefined;
  } catch {
    return false;
  }
}

/** What a failed handshake means, in words. */
export function handshakeFailure(place: string, error: Error | null | undefined): MigrateError {
  const reason = error?.message ?? "no certificate was shown";
  if (/HTTP_REQUEST|WRONG_VERSION_NUMBER/.test(reason)) {
    return new MigrateError("insecure-mismatch", `${place} does not speak TLS on this connection`, {
      hint: "a host that serves with --insecure is reached with --insecure only, and the other way round",
    });
  }
  if (/BAD_SIGNATURE/.test(reason)) {
    const message = `${place} shows a certificate and does not hold its key`;
    return new MigrateError("wrong-identity", message, {
      cause: error ?? undefined,
      hint: "somebody may be in between",
    });
  }
  if (/UNSUPPORTED_PROTOCOL|PROTOCOL_VERSION/.test(reason)) {
    return new MigrateError("version", `${place} does not speak TLS 1.3`, { cause: error ?? undefined });
  }
  return new MigrateError("network", `the TLS handshake with ${place} failed: ${reason}`, {
    cause: error ?? undefined,
  });
}
