/**
 * Keys of the record layer: HKDF-SHA256 (RFC 5869) from a value that only the two ends of the
 * authenticated control connection can know (TLS exporter, RFC 8446 section 7.5), with its own `info` for
 * each suite, direction, lane and purpose. Pure.
 */
import { hkdfSync } from "node:crypto";
import type { SuiteName } from "../../statistics/samples.ts";
import type { RecordSuite } from "../../statistics/suite.ts";

export interface RecordKeys {
  encryption: Buffer;
  /** For HMAC-SHA1, 20 bytes (RFC 5246 section 6.3); empty for an AEAD. */
  mac: Buffer;
  /** What the sequence number is XORed with for an AEAD's nonce, 12 bytes; else empty. */
  iv: Buffer;
}

/** Bytes of the exporter's value. */
export const exporterBytes = 32;

export interface KeyContext {
  suite: SuiteName;
  direction: "source to destination" | "destination to source";
  lane: number;
}

/** The keys of one direction of one lane. Throws RangeError for an exporter value of another length. */
export function recordKeys(exporter: Uint8Array, context: KeyContext, suite: RecordSuite): RecordKeys {
  if (exporter.length !== exporterBytes) throw new RangeError(`an exporter value has ${exporterBytes} bytes`);
  const derive = (purpose: string, bytes: number) =>
    bytes === 0
      ? Buffer.alloc(0)
      : Buffer.from(hkdfSync("sha256", exporter, "", infoOf(context, purpose), bytes));
  return {
    encryption: derive("encryption", suite.keyBytes),
    mac: derive("mac", suite.kind === "aead" ? 0 : 20),
    iv: derive("iv", suite.kind === "aead" ? 12 : 0),
  };
}

/** RFC 5869's `info`: no two contexts give the same, as no part of it has a "|" in it. */
export function infoOf({ suite, direction, lane }: KeyContext, purpose: string): string {
  return ["migrate profile v1", suite, direction, `lane ${lane}`, purpose].join("|");
}
