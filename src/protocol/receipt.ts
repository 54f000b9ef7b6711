/**
 * Receipts: what a host signs when it says READY, RELEASE or OWNED, so that the other side can show it later
 * (SPEC.md, Receipts). Here are the fields, and the bytes that are signed. Pure.
 */
import * as v from "valibot";
import { count, hex } from "./fields.ts";
import { limits } from "./limits.ts";

/** The words of the handover that are signed, by their names in a receipt. */
export const receiptKinds = ["ready", "release", "owned"] as const;
export type ReceiptKind = (typeof receiptKinds)[number];

/** Who says which of them. */
export const receiptSides = { ready: "destination", release: "source", owned: "destination" } as const;

/** A number of a host that only grows. JSON and SQLite keep it whole up to 2^53 - 1. */
export const generation = count(Number.MAX_SAFE_INTEGER);

/** Base64 (RFC 4648, section 4) of at most so many bytes. */
const base64 = (mostBytes: number) =>
  v.pipe(
    v.string(),
    v.maxLength(Math.ceil(mostBytes / 3) * 4),
    v.regex(/^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/),
  );

/** The entries that READY, RELEASE and OWNED carry; the rest of what is signed both sides know. */
export const receiptEntries = {
  generation,
  /** The highest generation of the other side that the signer knows; see [RCPT-3]. */
  seen: generation,
  /** SHA-256 of the verdict on the other side's state, where it was attested. */
  verdict: v.optional(hex(64)),
  /** The signer's certificate, DER. */
  certificate: base64(limits.certificateBytes),
  /** ECDSA, r and s of 32 bytes each (IEEE P1363). */
  signature: hex(128),
};
export const receipt = v.object(receiptEntries);
export type Receipt = v.InferOutput<typeof receipt>;

/** What a receipt says. */
export interface Statement extends Pick<Receipt, "generation" | "seen"> {
  kind: ReceiptKind;
  session: string;
  mode: "move" | "copy";
  /** The VM's digest, as SEAL says it. */
  digest: string;
  /** Fingerprints of the two hosts. */
  signer: string;
  other: string;
  verdict?: string | undefined;
}

/** The bytes that are signed [RCPT-1]. */
export function statementBytes(said: Statement): Buffer {
  const numbers = Buffer.alloc(16);
  numbers.writeBigUInt64BE(BigInt(said.generation), 0);
  numbers.writeBigUInt64BE(BigInt(said.seen), 8);
  return Buffer.concat([
    Buffer.from("migrate receipt v1\0"),
    ...[said.kind, said.session, said.mode, said.digest, said.signer, said.other].map(withLength),
    numbers,
    withLength(said.verdict ?? ""),
  ]);
}

/** P(x): the length of a text in bytes as u32, and its UTF-8. */
function withLength(text: string): Buffer {
  const bytes = Buffer.from(text);
  const length = Buffer.alloc(4);
  length.writeUInt32BE(bytes.length);
  return Buffer.concat([length, bytes]);
}
