/**
 * What a person can show at the destination to prove that the source has let go of a VM: a code that the source tells
 * at the release and not before. The destination has its hash from the offer (a hash commitment: NIST FIPS 180-4,
 * SHA-256 over a random code of 80 bits), so that it can check the code and not know it.
 */
import { createHash, randomBytes, timingSafeEqual } from "node:crypto";

const codeBytes = 10;

/** A new code: five groups of four hex digits. */
export function newReleaseCode(): string {
  return randomBytes(codeBytes)
    .toString("hex")
    .replace(/(.{4})(?!$)/g, "$1-");
}

/** The hash of a code, which OFFER carries, in hex. Case and what is not a hex digit make no difference. */
export function releaseHash(code: string): string {
  const digits = code.toLowerCase().replace(/[^0-9a-f]/g, "");
  return createHash("sha256").update("migrate release v1\0").update(digits).digest("hex");
}

/** True if this is the code of that hash. */
export function isReleaseCode(code: string, hash: string): boolean {
  return timingSafeEqual(Buffer.from(releaseHash(code), "hex"), Buffer.from(hash, "hex"));
}
