/**
 * A ticket: what a person carries from the destination's screen to the source's, once, so that two
 * hosts that have never met can be sure of each other.
 *
 *     mig1-<base64url without padding of these 61 bytes>
 *     version 1 (1 byte) | ticket id (8) | secret (16) | destination's fingerprint (32)
 *     | CRC-32 of all before, big-endian (4)
 *
 * The fingerprint lets the source know the destination before it says a word. The secret lets the
 * destination know the source: over the TLS connection the source sends its certificate, the ticket id
 * and a proof, never the secret:
 *
 *     key   = HKDF-SHA256(secret, no salt, info "migrate ticket v1 key", 32 bytes), RFC 5869
 *     proof = HMAC-SHA256(key, P("migrate ticket v1 source") P(ticket id) P(exporter)
 *                              P(source's fingerprint) P(destination's fingerprint)), RFC 2104
 *     P(x)  = length of x in bytes as 4 bytes, big-endian, then x; a fingerprint is its 32 bytes
 *
 * `exporter` are 32 bytes of keying material of that very TLS connection (RFC 8446 section 7.5, used as
 * RFC 9266 uses it, for a channel binding), so a proof overheard or relayed by a man in the middle, who has
 * another connection to each side, is worth nothing.
 */
import { createHmac, hkdfSync, timingSafeEqual } from "node:crypto";
import { inspect } from "node:util";
import { MigrateError } from "../protocol/errors.ts";
import { fingerprintBytes } from "./fingerprint.ts";

/** How much keying material of the TLS connection goes into a proof. */
export const exporterBytes = 32;

export const ticketIdBytes = 8;
const ticketSecretBytes = 16;

const version = 1;
const prefix = `mig${version}-`;
const fingerprintLength = 32;
const crcBytes = 4;
const bodyBytes = 1 + ticketIdBytes + ticketSecretBytes + fingerprintLength;
/** Longer texts are not looked at; a ticket has 87 characters. */
const textMaxChars = 1024;

/** Both sides of the proof must agree on every field. */
export interface ProofContext {
  ticketId: Uint8Array;
  /** exporterBytes of the TLS connection that carries the proof. */
  exporter: Uint8Array;
  /** Canonical (see parseFingerprint): of the certificate that the source showed in this connection. */
  sourceFingerprint: string;
  destinationFingerprint: string;
}

/** A ticket; its secret shows neither in a log line nor in JSON. */
export class Ticket {
  readonly id: Buffer;
  /** The destination that issued it, in canonical form. */
  readonly destinationFingerprint: string;
  readonly #secret: Buffer;

  /** Takes ticketIdBytes, ticketSecretBytes and a canonical fingerprint. Throws MigrateError "bug" for anything else. */
  constructor(id: Uint8Array, secret: Uint8Array, destinationFingerprint: string) {
    requireLength("ticket id", id, ticketIdBytes);
    requireLength("ticket secret", secret, ticketSecretBytes);
    requireLength("fingerprint", fingerprintBytes(destinationFingerprint), fingerprintLength);
    this.id = Buffer.from(id);
    this.#secret = Buffer.from(secret);
    this.destinationFingerprint = destinationFingerprint;
  }

  /** The line to paste. It holds the secret: for the person's eyes, never for a log. */
  toText(): string {
    const body = Buffer.concat([
      Buffer.of(version),
      this.id,
      this.#secret,
      fingerprintBytes(this.destinationFingerprint),
    ]);
    return prefix + Buffer.concat([body, crcOf(body)]).toString("base64url");
  }

  /** The source's proof that it holds the ticket; see proveTicket. */
  prove(exporter: Uint8Array, sourceFingerprint: string): Buffer {
    return proveTicket(this.#secret, this.#context(exporter, sourceFingerprint));
  }

  /** Whether a proof is right; see checkProof. */
  check(proof: Uint8Array, exporter: Uint8Array, sourceFingerprint: string): boolean {
    return checkProof(this.#secret, this.#context(exporter, sourceFingerprint), proof);
  }

  toJSON(): { id: string; destinationFingerprint: string } {
    return { id: this.id.toString("hex"), destinationFingerprint: this.destinationFingerprint };
  }

  toString(): string {
    return `Ticket ${this.id.toString("hex")}`;
  }

  [inspect.custom](): string {
    return this.toString();
  }

  #context(exporter: Uint8Array, sourceFingerprint: string): ProofContext {
    const { id: ticketId, destinationFingerprint } = this;
    return { ticketId, exporter, sourceFingerprint, destinationFingerprint };
  }
}

/** A new ticket for the destination with this canonical fingerprint; `randomBytes` returns that many random bytes. */
export function makeTicket(fingerprint: string, randomBytes: (count: number) => Uint8Array): Ticket {
  return new Ticket(randomBytes(ticketIdBytes), randomBytes(ticketSecretBytes), fingerprint);
}

/**
 * A ticket from the text a person pasted; white space around it and within it (a wrapped line) does
 * not matter. Throws MigrateError "ticket-invalid", which tells a text that is no ticket, a ticket of
 * another version and a damaged ticket apart, and never quotes the text.
 */
export function parseTicket(text: string): Ticket {
  const compact = text.length > textMaxChars ? "" : text.replace(/\s+/g, "");
  const [, versionText, bodyText] = /^mig(\d{1,3})-(.*)$/s.exec(compact) ?? [];
  if (versionText === undefined || bodyText === undefined) {
    throw invalid(
      `This is not a ticket: a ticket begins with ${prefix}.`,
      "Paste the line that migrate serve printed.",
    );
  }
  if (versionText !== String(version)) throw otherVersion(versionText);
  const bytes = Buffer.from(bodyText, "base64url");
  const body = bytes.subarray(0, bodyBytes);
  const isWhole =
    bytes.length === bodyBytes + crcBytes &&
    bytes.toString("base64url") === bodyText &&
    bytes.subarray(bodyBytes).equals(crcOf(body));
  if (!isWhole) {
    const message = "The ticket is damaged: was it pasted whole?";
    throw invalid(message, "Copy it again from where migrate serve printed it, or ask for a new one.");
  }
  if (body[0] !== version) throw otherVersion(String(body[0]));
  const secretAt = 1 + ticketIdBytes;
  const fingerprintAt = secretAt + ticketSecretBytes;
  const fingerprint = `sha256:${body.subarray(fingerprintAt).toString("hex")}`;
  return new Ticket(body.subarray(1, secretAt), body.subarray(secretAt, fingerprintAt), fingerprint);
}

/**
 * The proof (proofBytes) that its maker holds the secret, bound to one TLS connection and both
 * certificates; the formula stands at the head of this file. Throws MigrateError "bug" if a field
 * has another length than it must have.
 */
export function proveTicket(secret: Uint8Array, context: ProofContext): Buffer {
  requireLength("ticket secret", secret, ticketSecretBytes);
  requireLength("ticket id", context.ticketId, ticketIdBytes);
  requireLength("exporter value", context.exporter, exporterBytes);
  const source = fingerprintBytes(context.sourceFingerprint);
  const destination = fingerprintBytes(context.destinationFingerprint);
  requireLength("fingerprint", source, fingerprintLength);
  requireLength("fingerprint", destination, fingerprintLength);
  const key = Buffer.from(hkdfSync("sha256", secret, new Uint8Array(0), "migrate ticket v1 key", 32));
  const mac = createHmac("sha256", key);
  for (const field of [
    Buffer.from("migrate ticket v1 source"),
    context.ticketId,
    context.exporter,
    source,
    destination,
  ]) {
    mac.update(bigEndian32(field.length)).update(field);
  }
  return mac.digest();
}

/** Whether the proof is the one that proveTicket returns; the time it takes says nothing of how near it is. */
export function checkProof(secret: Uint8Array, context: ProofContext, proof: Uint8Array): boolean {
  const expected = proveTicket(secret, context);
  return proof.length === expected.length && timingSafeEqual(proof, expected);
}

function crcOf(body: Buffer): Buffer {
  return bigEndian32(Bun.hash.crc32(body));
}

function bigEndian32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

function requireLength(what: string, bytes: Uint8Array, length: number): void {
  if (bytes.length === length) return;
  throw new MigrateError("bug", `A ${what} of ${bytes.length} bytes was given; it has ${length}.`);
}

function invalid(message: string, hint: string): MigrateError {
  return new MigrateError("ticket-invalid", message, { hint });
}

function otherVersion(found: string): MigrateError {
  return invalid(
    `The ticket is of version ${found}, and this migrate reads version ${version}.`,
    "Install the same version of migrate on both hosts.",
  );
}
