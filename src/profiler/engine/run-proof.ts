/**
 * How a source proves that a run is its own, on plain TCP too: HMAC-SHA256 over the run's number with the
 * secret that the two got over an authenticated connection. A number counts once, so a proof that was
 * overheard is worth nothing. Pure.
 */
import { createHmac, timingSafeEqual } from "node:crypto";

const secretBytes = 32;

/** 64 hex digits. Throws RangeError for a secret of another length. */
export function proveRun(secret: Buffer, number: number): string {
  if (secret.length !== secretBytes) throw new RangeError(`a secret has ${secretBytes} bytes`);
  return createHmac("sha256", secret).update(`migrate profile v1 run ${number}`).digest("hex");
}

export function isProofOf(secret: Buffer, number: number, proof: string): boolean {
  const given = Buffer.from(proof, "hex");
  const expected = Buffer.from(proveRun(secret, number), "hex");
  return given.length === expected.length && timingSafeEqual(given, expected);
}
