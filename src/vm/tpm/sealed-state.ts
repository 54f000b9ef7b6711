/**
 * The state of a virtual TPM that stays behind, sealed: who moves the VM away gives a passphrase before, and the state is
 * sealed after the handover by whichever process gets there, which need not know it. So the passphrase seals a private
 * key (home/sealed.ts), and the state is sealed to the public one. The text is that sealed key, and then
 *
 *     -----BEGIN MIGRATE SEALED TPM STATE-----
 *     Version: 1
 *     Agreement: ecdh-p256 hkdf-sha256
 *     Ephemeral: <base64 of a public key, 65 bytes>
 *     Cipher: xchacha20-poly1305
 *     Nonce: <base64 of 24 bytes>
 *
 *     <base64 of ciphertext and 16-byte tag, 64 characters a line>
 *     -----END MIGRATE SEALED TPM STATE-----
 *
 * key = HKDF-SHA256(x of ECDH on P-256, salt = both public keys, info "migrate tpm state v1", 32 bytes), RFC 5869; its
 * additional data are all lines above the blank one. What is sealed is JSON: the files by name, in base64. Whoever has the
 * text can make another one for the same passphrase: it keeps the state secret, and does not say who wrote it.
 */
import { createECDH, type ECDH, hkdfSync, randomBytes } from "node:crypto";
import { xchacha20poly1305 } from "@noble/ciphers/chacha.js";
import * as v from "valibot";
import { openSealed, sealedEnd, sealText } from "../../home/sealed.ts";
import { MigrateError } from "../../protocol/errors.ts";
import { checkFileName } from "../../protocol/names.ts";

const begin = "-----BEGIN MIGRATE SEALED TPM STATE-----";
const end = "-----END MIGRATE SEALED TPM STATE-----";
const curve = "prime256v1";
const nonceBytes = 24;
const publicKeyBytes = 65;
/** Most bytes of the state's files together: libtpms gives a TPM some 180 KiB of non-volatile memory. */
export const stateMaxBytes = 1024 * 1024;
const filesMax = 16;
/** A text that holds that much, its base64 twice over, and its head. */
export const sealedStateMaxBytes = 2 * stateMaxBytes + 16 * 1024;

/** What the source's journal keeps: enough to seal, nothing that opens. */
export interface StateSeal {
  /** The public key, 65 bytes in base64. */
  publicKey: string;
  /** The private key, sealed with the passphrase. */
  sealedKey: string;
}

/** A file of the state. */
export interface StateFile {
  name: string;
  bytes: Buffer;
}

const stateSchema = v.object({
  vm: v.string(),
  files: v.pipe(
    v.array(
      v.object({
        name: v.pipe(
          v.string(),
          v.check((name) => checkFileName(name) === null),
        ),
        base64: v.pipe(v.string(), v.base64()),
      }),
    ),
    v.maxLength(filesMax),
  ),
});

/** Makes a key that `passphrase` opens again. Costs as much as a sealed identity. Throws MigrateError "usage" if it is empty. */
export async function newStateSeal(passphrase: string): Promise<StateSeal> {
  const pair = createECDH(curve);
  const publicKey = pair.generateKeys("base64");
  return { publicKey, sealedKey: await sealText(padded(pair.getPrivateKey()), passphrase) };
}

/** Seals the files of a VM's state. Throws MigrateError "limit" if they are longer than any TPM's state. */
export function sealState(
  vm: string,
  files: readonly StateFile[],
  { publicKey, sealedKey }: StateSeal,
): string {
  const bytes = files.reduce((sum, file) => sum + file.bytes.length, 0);
  if (bytes > stateMaxBytes || files.length > filesMax) {
    throw new MigrateError("limit", `${bytes} bytes in ${files.length} files are no state of a virtual TPM`);
  }
  const pair = createECDH(curve);
  const ephemeral = pair.generateKeys();
  const nonce = randomBytes(nonceBytes);
  const header = `${sealedKey}${headerOf(ephemeral, nonce)}`;
  const listed = files.map((file) => ({ name: file.name, base64: file.bytes.toString("base64") }));
  const other = Buffer.from(publicKey, "base64");
  const key = keyOf(pair, other, [ephemeral, other]);
  const body = xchacha20poly1305(key, nonce, Buffer.from(header)).encrypt(
    Buffer.from(JSON.stringify({ vm, files: listed })),
  );
  key.fill(0);
  const lines = Buffer.from(body)
    .toString("base64")
    .replace(/.{64}(?=.)/g, "$&\n");
  return `${header}\n${lines}\n${end}\n`;
}

/**
 * The VM's name and the files in a sealed state, of at most `sealedStateMaxBytes`. Throws MigrateError
 * "passphrase-wrong" if the text is damaged or the passphrase is another one.
 */
export async function openState(
  text: string,
  passphrase: string,
): Promise<{ vm: string; files: StateFile[] }> {
  const cut = text.indexOf(begin);
  const [, ephemeralText = "", nonceText = "", bodyText = ""] =
    (cut < 0 || text.length > sealedStateMaxBytes ? null : statePattern.exec(text.slice(cut))) ?? [];
  const [ephemeral, nonce] = [Buffer.from(ephemeralText, "base64"), Buffer.from(nonceText, "base64")];
  const sealedKey = text.slice(0, Math.max(0, cut));
  if (
    ephemeral.length !== publicKeyBytes ||
    nonce.length !== nonceBytes ||
    !sealedKey.endsWith(`${sealedEnd}\n`)
  )
    throw damaged();
  const privateKey = await openSealed(sealedKey, passphrase);
  try {
    const pair = createECDH(curve);
    pair.setPrivateKey(privateKey);
    const key = keyOf(pair, ephemeral, [ephemeral, pair.getPublicKey()]);
    const header = Buffer.from(`${sealedKey}${headerOf(ephemeral, nonce)}`);
    const body = Buffer.from(bodyText.replaceAll("\n", ""), "base64");
    const opened = xchacha20poly1305(key, nonce, header).decrypt(body);
    const { vm, files } = v.parse(stateSchema, JSON.parse(Buffer.from(opened).toString("utf8")));
    return { vm, files: files.map(({ name, base64 }) => ({ name, bytes: Buffer.from(base64, "base64") })) };
  } catch (cause) {
    throw damaged(cause);
  } finally {
    privateKey.fill(0);
  }
}

const statePattern = new RegExp(
  `^${begin}\nVersion: 1\nAgreement: ecdh-p256 hkdf-sha256\nEphemeral: ([A-Za-z0-9+/=]{1,128})\n` +
    `Cipher: xchacha20-poly1305\nNonce: ([A-Za-z0-9+/=]{1,64})\n\n([A-Za-z0-9+/=\n]+)${end}\n$`,
);

function headerOf(ephemeral: Buffer, nonce: Buffer): string {
  return (
    `${begin}\nVersion: 1\nAgreement: ecdh-p256 hkdf-sha256\nEphemeral: ${ephemeral.toString("base64")}\n` +
    `Cipher: xchacha20-poly1305\nNonce: ${nonce.toString("base64")}\n`
  );
}

function keyOf(pair: ECDH, other: Buffer, salt: readonly Buffer[]): Uint8Array {
  const shared = pair.computeSecret(other);
  return new Uint8Array(hkdfSync("sha256", shared, Buffer.concat(salt), "migrate tpm state v1", 32));
}

/** A private key of 32 bytes, whatever zeros it begins with. */
function padded(key: Buffer): Buffer {
  return Buffer.concat([Buffer.alloc(32 - key.length), key]);
}

function damaged(cause?: unknown): MigrateError {
  return new MigrateError("passphrase-wrong", "The sealed state of the virtual TPM is damaged.", {
    hint: "Restore the file from a backup, if there is one.",
    cause,
  });
}
