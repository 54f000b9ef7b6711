/**
 * A secret sealed with a passphrase, as text.
 *
 *     -----BEGIN MIGRATE SEALED KEY-----
 *     Version: 1
 *     KDF: scrypt
 *     Log2-N: 17
 *     R: 8
 *     P: 1
 *     Salt: <base64 of 16 bytes>
 *     Cipher: xchacha20-poly1305
 *     Nonce: <base64 of 24 bytes>
 *
 *     <base64 of ciphertext and 16-byte tag, 64 characters a line>
 *     -----END MIGRATE SEALED KEY-----
 *
 * key = scrypt(passphrase as UTF-8 in NFC, Salt, N = 2^Log2-N, r = R, p = P, 32 bytes), RFC 7914; NFC
 * because two keyboards may write one passphrase in two ways (RFC 8265 section 4.2).
 * body = XChaCha20-Poly1305(key, Nonce, secret), draft-irtf-cfrg-xchacha-03; its additional data are
 * the nine lines from BEGIN to Nonce, each with its line feed, so that no parameter can be changed.
 *
 * There is one way to write a given seal: the lines in this order, LF line ends, canonical base64 and
 * decimal numbers without leading zeros. Anything else is refused. A reader bounds Log2-N to 14..20,
 * R to 1..16, P to 1..4 and the memory that scrypt takes (128 R (N + P + 1) bytes) to about 1 GiB
 * before it spends any.
 */
import { randomBytes as systemRandomBytes } from "node:crypto";
import { xchacha20poly1305 } from "@noble/ciphers/chacha.js";
import { scryptAsync } from "@noble/hashes/scrypt.js";
import { MigrateError } from "../protocol/errors.ts";

export const sealedBegin = "-----BEGIN MIGRATE SEALED KEY-----";
export const sealedEnd = "-----END MIGRATE SEALED KEY-----";

/** What a seal costs to make and to try: 128 MiB and about half a second a guess on one core. */
const defaultLog2N = 17;
/** The longest secret that is sealed, in bytes; a private key is about 240. */
export const sealedMaxBytes = 16 * 1024;

const log2NMin = 14;
const log2NMax = 20;
const rMax = 16;
const pMax = 4;
const saltBytes = 16;
const nonceBytes = 24;
const tagBytes = 16;
/** 2^20 with r = 8 is allowed, and the little beside it that scrypt needs. */
const memoryMaxBytes = 1024 * 1024 * 1024 + 64 * 1024;

/** A sealed secret taken apart and within bounds; nothing has been computed yet. */
export interface SealedText {
  log2N: number;
  r: number;
  p: number;
  salt: Buffer;
  nonce: Buffer;
  /** The lines that the tag covers. */
  header: string;
  /** Ciphertext and tag. */
  body: Buffer;
}

/**
 * Seals a secret of at most sealedMaxBytes and returns the text. `log2N` (14..20) and the source of
 * random bytes are for tests. Throws MigrateError "usage" for an empty passphrase.
 */
export async function sealText(
  secret: Uint8Array,
  passphrase: string,
  { log2N = defaultLog2N, randomBytes = systemRandomBytes as (count: number) => Uint8Array } = {},
): Promise<string> {
  if (passphrase === "") throw new MigrateError("usage", "An empty passphrase protects nothing.");
  if (secret.length > sealedMaxBytes) throw new MigrateError("bug", "The secret is too long to be sealed.");
  const salt = Buffer.from(randomBytes(saltBytes));
  const nonce = Buffer.from(randomBytes(nonceBytes));
  const parameters = { log2N, r: 8, p: 1, salt, nonce };
  const header = headerOf(parameters);
  const key = await deriveKey(passphrase, parameters);
  const body = xchacha20poly1305(key, nonce, Buffer.from(header)).encrypt(secret);
  key.fill(0);
  const lines = Buffer.from(body)
    .toString("base64")
    .replace(/.{64}(?=.)/g, "$&\n");
  return `${header}\n${lines}\n${sealedEnd}\n`;
}

/**
 * Takes a sealed text apart. Spends no memory or time on the parameters, and throws MigrateError
 * "passphrase-wrong" if the text is damaged or a parameter is out of bounds.
 */
export function parseSealed(text: string): SealedText {
  const [, log2NText, rText, pText, saltText, nonceText, bodyText] = sealedPattern.exec(text) ?? [];
  if (!log2NText || !rText || !pText || !saltText || !nonceText || !bodyText) throw damaged();
  const sealed = {
    log2N: Number(log2NText),
    r: Number(rText),
    p: Number(pText),
    salt: Buffer.from(saltText, "base64"),
    nonce: Buffer.from(nonceText, "base64"),
  };
  const body = Buffer.from(bodyText.replaceAll("\n", ""), "base64");
  const header = headerOf(sealed);
  const lines = body.toString("base64").replace(/.{64}(?=.)/g, "$&\n");
  // Written again, it must be the same text: so base64 and line lengths are canonical.
  if (text !== `${header}\n${lines}\n${sealedEnd}\n`) throw damaged();
  if (sealed.salt.length !== saltBytes || sealed.nonce.length !== nonceBytes) throw damaged();
  if (body.length < tagBytes || body.length > sealedMaxBytes + tagBytes) throw damaged();
  const { log2N, r, p } = sealed;
  const memoryBytes = 128 * r * (2 ** log2N + p + 1);
  if (log2N < log2NMin || log2N > log2NMax || r > rMax || p > pMax || memoryBytes > memoryMaxBytes) {
    throw new MigrateError("passphrase-wrong", "The sealed key asks for more or less work than is allowed.", {
      hint: "Restore it from a backup: migrate never writes a key like this.",
    });
  }
  return { ...sealed, header, body };
}

/**
 * The secret in a sealed text. Throws MigrateError "passphrase-wrong" if the text is damaged or the
 * passphrase is not the one it was sealed with: a cipher cannot tell the one from the other.
 */
export async function openSealed(text: string, passphrase: string): Promise<Buffer> {
  const sealed = parseSealed(text);
  const key = await deriveKey(passphrase, sealed);
  try {
    const cipher = xchacha20poly1305(key, sealed.nonce, Buffer.from(sealed.header));
    return Buffer.from(cipher.decrypt(sealed.body));
  } catch {
    throw new MigrateError("passphrase-wrong", "The passphrase is wrong, or the sealed key is damaged.", {
      hint: "Try the passphrase again; if you are sure of it, restore the key from a backup.",
    });
  } finally {
    key.fill(0);
  }
}

const sealedPattern = new RegExp(
  `^${sealedBegin}\nVersion: 1\nKDF: scrypt\nLog2-N: ([1-9]\\d?)\nR: ([1-9]\\d?)\nP: ([1-9]\\d?)\n` +
    `Salt: ([A-Za-z0-9+/=]{1,64})\nCipher: xchacha20-poly1305\nNonce: ([A-Za-z0-9+/=]{1,64})\n\n` +
    `((?:[A-Za-z0-9+/=]{1,64}\n){1,400})${sealedEnd}\n$`,
);

function headerOf(parameters: Pick<SealedText, "log2N" | "r" | "p" | "salt" | "nonce">): string {
  const { log2N, r, p, salt, nonce } = parameters;
  return (
    `${sealedBegin}\nVersion: 1\nKDF: scrypt\nLog2-N: ${log2N}\nR: ${r}\nP: ${p}\n` +
    `Salt: ${salt.toString("base64")}\nCipher: xchacha20-poly1305\nNonce: ${nonce.toString("base64")}\n`
  );
}

function deriveKey(
  passphrase: string,
  { log2N, r, p, salt }: Pick<SealedText, "log2N" | "r" | "p" | "salt">,
): Promise<Uint8Array> {
  const options = { N: 2 ** log2N, r, p, dkLen: 32, maxmem: memoryMaxBytes };
  return scryptAsync(passphrase.normalize("NFC"), salt, options);
}

function damaged(): MigrateError {
  return new MigrateError(
    "passphrase-wrong",
    "The sealed key is damaged: it is not in the form it was written in.",
    {
      hint: "Restore it from a backup.",
    },
  );
}
