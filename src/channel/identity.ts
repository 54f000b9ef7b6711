/**
 * Who this host is: one P-256 key and the self-signed certificate over it, in `HOME/identity.pem`.
 *
 * The file holds the certificate, then the key: PKCS #8 as it is, or sealed with a passphrase (see
 * sealed.ts), or as this host's TPM made it, which alone can open it (what is in that block is the TPM's room's to
 * know). The certificate is no secret and stays readable, so that a host can say its fingerprint
 * without its passphrase. Sealing and unsealing replace the one file whole; there is no moment with
 * two keys or with none.
 */
import { createPrivateKey, X509Certificate } from "node:crypto";
import { readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { inspect } from "node:util";
import { createHomeFile, isLeftover, readHomeFile, replaceHomeFile } from "../home/home-file.ts";
import { openSealed, sealedBegin, sealText } from "../home/sealed.ts";
import { MigrateError } from "../protocol/errors.ts";
import { fingerprintOf, makeCertificate, pem } from "./certificate.ts";

/** What TLS needs of a host. A plain object will do, for instance to cross to a Worker. */
export interface Identity {
  readonly certificatePem: string;
  readonly privateKeyPem: string;
  /** sha256:<64 hex digits> of the certificate: this host's name to others. */
  readonly fingerprint: string;
}

export interface IdentityOptions {
  /** Asked for when the identity is sealed, and only then. */
  passphrase?: () => Promise<string>;
  /** Opens the key's block where this host's TPM made it, and only then: gives PKCS #8 as PEM. */
  openTpmKey?: (block: string) => Promise<string>;
}

/** Who can open the key: anybody who reads the file, who knows the passphrase, this host's TPM. */
export type KeyKeeper = "file" | "passphrase" | "tpm";

/** The file's parts; `key` is PEM, as its keeper has it. */
interface IdentityFile {
  certificatePem: string;
  key: string;
  keeper: KeyKeeper;
}

const tpmKeyBegin = "-----BEGIN MIGRATE TPM KEY-----";

/** An identity whose key shows neither in a log line nor in JSON. */
class LoadedIdentity implements Identity {
  readonly certificatePem: string;
  readonly fingerprint: string;
  readonly #privateKeyPem: string;

  constructor(certificatePem: string, privateKeyPem: string) {
    this.certificatePem = certificatePem;
    this.fingerprint = fingerprintOf(certificatePem);
    this.#privateKeyPem = privateKeyPem;
  }

  get privateKeyPem(): string {
    return this.#privateKeyPem;
  }

  toJSON(): { fingerprint: string } {
    return { fingerprint: this.fingerprint };
  }

  [inspect.custom](): string {
    return `Identity ${this.fingerprint}`;
  }
}

/**
 * This host's identity from an opened home (see openHome), made on first use. Processes that make it
 * at once all get the same one.
 *
 * Throws MigrateError "home-unusable" if the file is damaged, readable by others, not ours or
 * cannot be written; "passphrase-wrong" if it is sealed and the passphrase is wrong or not to be had;
 * "tpm-unusable" if it is this host's TPM's and that does not open it.
 */
export async function loadIdentity(home: string, options: IdentityOptions = {}): Promise<Identity> {
  const file = await readOrMake(home);
  if (file.keeper === "file") return checked(home, file.certificatePem, file.key);
  if (file.keeper === "tpm") {
    if (options.openTpmKey === undefined) throw keptByTpm("nothing here may ask it");
    return checked(home, file.certificatePem, await options.openTpmKey(file.key));
  }
  if (options.passphrase === undefined) {
    throw new MigrateError(
      "passphrase-wrong",
      "This host's identity is sealed, and no passphrase was given.",
      {
        hint: "Run it on a terminal, or unseal the identity.",
      },
    );
  }
  return checked(home, file.certificatePem, await unsealKey(file.key, await options.passphrase()));
}

/**
 * This host's fingerprint; needs no passphrase, and makes the identity if there is none. Throws
 * MigrateError "home-unusable".
 */
export async function loadFingerprint(home: string): Promise<string> {
  return fingerprintOf((await readOrMake(home)).certificatePem);
}

/** Whether the key is sealed with a passphrase; false if there is no identity yet. Throws "home-unusable". */
export function isSealed(home: string): boolean {
  return keyKeeper(home) === "passphrase";
}

/** Who can open the key; null if there is no identity yet. Throws "home-unusable". */
export function keyKeeper(home: string): KeyKeeper | null {
  return readIdentityFile(home)?.keeper ?? null;
}

/** The block of a key that this host's TPM made; null where the key is another's to open. Throws "home-unusable". */
export function readTpmKey(home: string): string | null {
  const file = readIdentityFile(home);
  return file?.keeper === "tpm" ? file.key : null;
}

/**
 * Makes a new identity, another host to all others, over a key that this host's TPM made: `block` is what stands in
 * the file, `privateKeyPem` the same key opened. What identity there was is lost. Throws "home-unusable".
 */
export async function replaceByTpmKey(home: string, block: string, privateKeyPem: string): Promise<Identity> {
  const { certificatePem } = await makeCertificate(privateKeyPem);
  const identity = checked(home, certificatePem, privateKeyPem);
  replaceHomeFile(identityPath(home), certificatePem + block);
  removeLeftovers(home);
  return identity;
}

/**
 * Seals the key, and makes the identity first if there is none. The blocks that held the open key
 * are not wiped: no file system of today promises that. `work` is sealText's, for tests.
 * Throws MigrateError "policy" if it is sealed already, "usage" if the passphrase is empty; "home-unusable".
 */
export async function sealIdentity(
  home: string,
  passphrase: string,
  work: { log2N?: number } = {},
): Promise<void> {
  const { certificatePem, key, keeper } = await readOrMake(home);
  if (keeper === "tpm") throw keptByTpm("a passphrase has nothing to seal");
  if (keeper === "passphrase") {
    throw new MigrateError("policy", "This host's identity is sealed already.", {
      hint: "Unseal it first to give it another passphrase.",
    });
  }
  const der = createPrivateKey((await checked(home, certificatePem, key)).privateKeyPem).export({
    type: "pkcs8",
    format: "der",
  });
  replaceHomeFile(identityPath(home), certificatePem + (await sealText(der, passphrase, work)));
  removeLeftovers(home);
}

/**
 * Takes the passphrase off the key. Throws MigrateError "policy" if it is not sealed,
 * "passphrase-wrong", "home-unusable".
 */
export async function unsealIdentity(home: string, passphrase: string): Promise<void> {
  const file = readIdentityFile(home);
  if (file?.keeper !== "passphrase") throw new MigrateError("policy", "This host's identity is not sealed.");
  const { certificatePem, privateKeyPem } = await checked(
    home,
    file.certificatePem,
    await unsealKey(file.key, passphrase),
  );
  replaceHomeFile(identityPath(home), certificatePem + privateKeyPem);
}

function identityPath(home: string): string {
  return join(home, "identity.pem");
}

async function readOrMake(home: string): Promise<IdentityFile> {
  const present = readIdentityFile(home);
  if (present !== null) return present;
  const made = await makeCertificate();
  // False if another process was quicker: then its identity is the one.
  createHomeFile(identityPath(home), made.certificatePem + made.privateKeyPem);
  const file = readIdentityFile(home);
  if (file === null) throw damaged(home);
  return file;
}

function readIdentityFile(home: string): IdentityFile | null {
  const text = readHomeFile(identityPath(home), 0o077);
  if (text === null) return null;
  const [, certificatePem, key] =
    /^(-----BEGIN CERTIFICATE-----\n[A-Za-z0-9+/=\n]+-----END CERTIFICATE-----\n)(-----BEGIN [\s\S]+-----\n)$/.exec(
      text,
    ) ?? [];
  if (certificatePem === undefined || key === undefined) throw damaged(home);
  const keeper = key.startsWith(sealedBegin) ? "passphrase" : key.startsWith(tpmKeyBegin) ? "tpm" : "file";
  return { certificatePem, key, keeper };
}

function keptByTpm(why: string): MigrateError {
  return new MigrateError("policy", `The key of this host's identity is kept by its TPM: ${why}.`, {
    hint: "A new identity without the TPM is made once identity.pem is moved away; it is another host to others.",
  });
}

async function unsealKey(sealed: string, passphrase: string): Promise<string> {
  const der = await openSealed(sealed, passphrase);
  const text = pem("PRIVATE KEY", der);
  der.fill(0);
  return text;
}

/** The two parts as an identity, if they parse, belong together and are of the kind TLS here is set up for. */
function checked(home: string, certificatePem: string, privateKeyPem: string): Identity {
  try {
    const key = createPrivateKey(privateKeyPem);
    const isP256 = key.asymmetricKeyDetails?.namedCurve === "prime256v1";
    if (isP256 && new X509Certificate(certificatePem).checkPrivateKey(key)) {
      return new LoadedIdentity(certificatePem, privateKeyPem);
    }
  } catch {
    // The parser's own words may quote the key.
  }
  throw damaged(home);
}

/** A crash while the identity was made may have left its open key under a temporary name. */
function removeLeftovers(home: string): void {
  for (const name of readdirSync(home)) {
    if (isLeftover(identityPath(home), name)) rmSync(join(home, name), { force: true });
  }
}

function damaged(home: string): MigrateError {
  return new MigrateError("home-unusable", `${identityPath(home)} is damaged.`, {
    hint: "Restore it from a backup; or move it away to become a new host, which has to be paired again.",
  });
}
