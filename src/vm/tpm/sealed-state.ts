/**
 * The state of a virtual TPM that stays behind, sealed: who moves the VM away gives a passphrase before, and the state is
 * sealed after the handover by whichever process gets there, which need not know it. So the passphrase seals a private
 * key (home/sealed.ts), and the state is sealed to the public one by HPKE (RFC 9180), base mode, one message. The text is
 * that sealed key, and then
 *
 *     -----BEGIN MIGRATE SEALED TPM STATE-----
 *     Version: 1
 *     HPKE: DHKEM(P-256, HKDF-SHA256), HKDF-SHA256, AES-256-GCM
 *     Enc: <base64 of the encapsulated key, 65 bytes>
 *
 *     <base64 of ciphertext and 16-byte tag, 64 characters a line>
 *     -----END MIGRATE SEALED TPM STATE-----
 *
 * info = "migrate tpm state v1"; aad = all lines above the blank one. What is sealed is JSON: the files by name, in base64.
 * Whoever has the text can make another one for the same passphrase: it keeps the state secret, and does not say who
 * wrote it.
 */
import type { CipherSuite } from "@hpke/core";
import * as v from "valibot";
import { openSealed, sealedEnd, sealText } from "../../home/sealed.ts";
import { MigrateError } from "../../protocol/errors.ts";
import { checkFileName } from "../../protocol/names.ts";

const begin = "-----BEGIN MIGRATE SEALED TPM STATE-----";
const end = "-----END MIGRATE SEALED TPM STATE-----";
const suiteName = "DHKEM(P-256, HKDF-SHA256), HKDF-SHA256, AES-256-GCM";
const info = Buffer.from("migrate tpm state v1");
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
  const { kem } = await hpke();
  const pair = await kem.generateKeyPair();
  const publicKey = Buffer.from(await kem.serializePublicKey(pair.publicKey)).toString("base64");
  const privateKey = Buffer.from(await kem.serializePrivateKey(pair.privateKey));
  try {
    return { publicKey, sealedKey: await sealText(privateKey, passphrase) };
  } finally {
    privateKey.fill(0);
  }
}

/** Seals the files of a VM's state. Rejects with MigrateError "limit" if they are longer than any TPM's state. */
export async function sealState(
  vm: string,
  files: readonly StateFile[],
  { publicKey, sealedKey }: StateSeal,
): Promise<string> {
  const bytes = files.reduce((sum, file) => sum + file.bytes.length, 0);
  if (bytes > stateMaxBytes || files.length > filesMax) {
    throw new MigrateError("limit", `${bytes} bytes in ${files.length} files are no state of a virtual TPM`);
  }
  const suite = await hpke();
  const recipientPublicKey = await suite.kem.deserializePublicKey(Buffer.from(publicKey, "base64"));
  const sender = await suite.createSenderContext({ recipientPublicKey, info });
  const header = `${sealedKey}${headerOf(Buffer.from(sender.enc))}`;
  const listed = files.map((file) => ({ name: file.name, base64: file.bytes.toString("base64") }));
  const body = await sender.seal(Buffer.from(JSON.stringify({ vm, files: listed })), Buffer.from(header));
  const lines = Buffer.from(body)
    .toString("base64")
    .replace(/.{64}(?=.)/g, "$&\n");
  return `${header}\n${lines}\n${end}\n`;
}

/**
 * Whether this text, of at most `sealedStateMaxBytes`, has the form of a state sealed to that key. Nobody can write one
 * beforehand who has not seen the key; whether it is damaged, only the passphrase tells.
 */
export function isSealedTo(text: string, { sealedKey }: Pick<StateSeal, "sealedKey">): boolean {
  return (
    text.length <= sealedStateMaxBytes &&
    text.startsWith(`${sealedKey}${begin}`) &&
    statePattern.test(text.slice(sealedKey.length))
  );
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
  const [, encText = "", bodyText = ""] =
    (cut < 0 || text.length > sealedStateMaxBytes ? null : statePattern.exec(text.slice(cut))) ?? [];
  const enc = Buffer.from(encText, "base64");
  const sealedKey = text.slice(0, Math.max(0, cut));
  if (enc.length !== publicKeyBytes || !sealedKey.endsWith(`${sealedEnd}\n`)) throw damaged();
  const privateKey = await openSealed(sealedKey, passphrase);
  try {
    const suite = await hpke();
    const recipientKey = await suite.kem.deserializePrivateKey(privateKey);
    const recipient = await suite.createRecipientContext({ recipientKey, enc, info });
    const header = Buffer.from(`${sealedKey}${headerOf(enc)}`);
    const opened = await recipient.open(Buffer.from(bodyText.replaceAll("\n", ""), "base64"), header);
    const { vm, files } = v.parse(stateSchema, JSON.parse(Buffer.from(opened).toString("utf8")));
    return { vm, files: files.map(({ name, base64 }) => ({ name, bytes: Buffer.from(base64, "base64") })) };
  } catch (cause) {
    throw damaged(cause);
  } finally {
    privateKey.fill(0);
  }
}

const escaped = (text: string) => text.replace(/[().]/g, "\\$&");

const statePattern = new RegExp(
  `^${begin}\nVersion: 1\nHPKE: ${escaped(suiteName)}\nEnc: ([A-Za-z0-9+/=]{1,128})\n\n([A-Za-z0-9+/=\n]+)${end}\n$`,
);

function headerOf(enc: Buffer): string {
  return `${begin}\nVersion: 1\nHPKE: ${suiteName}\nEnc: ${enc.toString("base64")}\n`;
}

/** Loaded only where a state is sealed or opened. */
async function hpke(): Promise<CipherSuite> {
  const { Aes256Gcm, CipherSuite: Suite, DhkemP256HkdfSha256, HkdfSha256 } = await import("@hpke/core");
  return new Suite({ kem: new DhkemP256HkdfSha256(), kdf: new HkdfSha256(), aead: new Aes256Gcm() });
}

function damaged(cause?: unknown): MigrateError {
  return new MigrateError("passphrase-wrong", "The sealed state of the virtual TPM is damaged.", {
    hint: "Restore the file from a backup, if there is one.",
    cause,
  });
}
