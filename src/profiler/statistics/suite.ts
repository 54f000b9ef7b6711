/**
 * The suites that a profile can measure: the product's own two ways, the three ciphers of the thesis, and
 * two of today for comparison. The weak ones exist here alone; nothing that moves a VM can name them. Pure.
 */
import type { SuiteName } from "./samples.ts";
import { suiteNames } from "./samples.ts";

/** A block cipher in CBC mode with a fresh IV a record, encrypt-then-MAC with HMAC-SHA1. */
export interface CbcSuite {
  kind: "cbc";
  /** As node:crypto calls it. */
  cipher: "aes-128-cbc" | "des-ede3-cbc";
  keyBytes: number;
  blockBytes: number;
}

/** A stream cipher whose keystream continues over the records, encrypt-then-MAC with HMAC-SHA1. */
export interface StreamSuite {
  kind: "stream";
  cipher: "rc4";
  keyBytes: number;
}

/** Encryption and authentication in one, the nonce from the sequence number (RFC 8446 section 5.3). */
export interface AeadSuite {
  kind: "aead";
  cipher: "aes-128-gcm" | "chacha20-poly1305";
  keyBytes: number;
}

/** A suite whose records are sealed by us, with keys from the control connection. */
export type RecordSuite = CbcSuite | StreamSuite | AeadSuite;

export interface Suite {
  name: SuiteName;
  /** What protects the lane: nothing, the product's TLS sockets, or our records on plain TCP. */
  lane: { kind: "none" } | { kind: "tls" } | RecordSuite;
  /** Half a sentence on what it is. */
  about: string;
  /** Why nobody should move a VM with it; absent if there is no reason. */
  weakness?: string;
}

const suites: Readonly<Record<SuiteName, Omit<Suite, "name">>> = {
  insecure: {
    lane: { kind: "none" },
    about: "plain TCP, a digest at the end",
    weakness: "whoever is on the way reads and changes everything",
  },
  tls: { lane: { kind: "tls" }, about: "TLS 1.3, as migrate send has it" },
  "aes-128": {
    lane: { kind: "cbc", cipher: "aes-128-cbc", keyBytes: 16, blockBytes: 16 },
    about: "AES-128-CBC with HMAC-SHA1, the thesis's",
    weakness: "CBC and SHA-1 are what TLS 1.3 left behind",
  },
  rc4: {
    lane: { kind: "stream", cipher: "rc4", keyBytes: 16 },
    about: "RC4 with HMAC-SHA1, the thesis's",
    weakness: "RC4's keystream is biased and lets plaintext be recovered (RFC 7465 forbids it)",
  },
  "3des": {
    lane: { kind: "cbc", cipher: "des-ede3-cbc", keyBytes: 24, blockBytes: 8 },
    about: "3DES-EDE-CBC with HMAC-SHA1, the thesis's",
    weakness: "64-bit blocks repeat after some GiB (Sweet32; NIST withdrew 3DES in 2023)",
  },
  "aes-128-gcm": {
    lane: { kind: "aead", cipher: "aes-128-gcm", keyBytes: 16 },
    about: "AES-128-GCM by native code, without TLS around it",
  },
  "chacha20-poly1305": {
    lane: { kind: "aead", cipher: "chacha20-poly1305", keyBytes: 32 },
    about: "ChaCha20-Poly1305 in portable JavaScript: what a host without native code pays",
  },
};

export function suiteOf(name: SuiteName): Suite {
  return { name, ...suites[name] };
}

export function isSuiteName(name: string): name is SuiteName {
  return (suiteNames as readonly string[]).includes(name);
}

/** The thesis's four, and the product's own secure way. */
export const usualSuites: readonly SuiteName[] = ["insecure", "tls", "aes-128", "rc4", "3des"];

/** The suites that the product itself has. */
export const fullSuites: readonly SuiteName[] = ["insecure", "tls"];
