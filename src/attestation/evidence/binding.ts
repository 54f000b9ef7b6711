/** What a proof is bound to, so that it is worth nothing anywhere else (SPEC.md, Attestation). Pure. */
import { createHash, createHmac, timingSafeEqual } from "node:crypto";
import type { Side } from "../../protocol/errors.ts";

/** The connection on which something is proven, and by whom to whom. */
export interface Binding {
  /** The side of the prover. */
  role: Side;
  /** 32 bytes of keying material that only the two ends of the TLS connection have [TLS-4]. */
  exporter: Uint8Array;
  /** Fingerprints of the two hosts. */
  prover: string;
  verifier: string;
  /** As HELLO names them; "" and 0 if it names none. */
  session: string;
  attempt: number;
}

/** What a quote is over, where it answers a CHALLENGE with this nonce, for a policy with this digest (both hex 64). */
export function quoteBinding(of: Binding, nonce: string, policyDigest: string): Buffer {
  return bound("migrate attest v1", of, nonce, Buffer.from(policyDigest, "hex"));
}

/** What an enrolment with this nonce (hex 64) is bound to. */
export function enrolBinding(of: Binding, nonce: string): Buffer {
  return bound("migrate enrol v1", of, nonce, Buffer.alloc(32));
}

/** The proof that the TPM has opened a credential: by its secret, for this enrolment. */
export function activationProof(secret: Uint8Array, enrolment: Uint8Array): string {
  return createHmac("sha256", secret).update(enrolment).digest("hex");
}

/** Whether that is the proof, in a time that does not tell how much of it is right. */
export function isActivationProof(proof: string, secret: Uint8Array, enrolment: Uint8Array): boolean {
  const right = Buffer.from(activationProof(secret, enrolment), "hex");
  const given = Buffer.from(proof, "hex");
  return given.length === right.length && timingSafeEqual(given, right);
}

function bound(label: string, of: Binding, nonce: string, digest: Uint8Array): Buffer {
  const attempt = Buffer.alloc(4);
  attempt.writeUInt32BE(of.attempt);
  return createHash("sha256")
    .update(Buffer.from(`${label}\0`))
    .update(lengthAnd(of.role))
    .update(of.exporter)
    .update(lengthAnd(of.prover))
    .update(lengthAnd(of.verifier))
    .update(Buffer.from(nonce, "hex"))
    .update(lengthAnd(of.session))
    .update(attempt)
    .update(digest)
    .digest();
}

function lengthAnd(text: string): Buffer {
  const bytes = Buffer.from(text);
  const length = Buffer.alloc(4);
  length.writeUInt32BE(bytes.length);
  return Buffer.concat([length, bytes]);
}
