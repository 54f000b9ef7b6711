/**
 * Who this host is: one P-256 key and the self-signed certificate over it, in `HOME/identity.pem`.
 *
 * The file holds the certificate, then the key: PKCS #8 as it is, or sealed with a passphrase (see
 * sealed.ts). The certificate is no secret and stays readable, so that a host can say its fingerprint
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
}

/** The file's parts; `key` is PEM, sealed or not. */
interface IdentityFile {
  certificatePem: string;
  key: string;
  sealed: boolean;
}

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
 * cannot be written; "passphrase-wrong" if it is sealed and the passphrase is wrong or not to be had.
 */
export async function loadIdentity(home: string, options: IdentityOptions = {}): Promise<Identity> {
  const file = await readOrMake(home);
  if (!file.sealed) return checked(home, file.certificatePem, file.key);
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
  return readIdentityFile(home)?.sealed ?? false;
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
  const { certificatePem, key, sealed } = await readOrMake(home);
  if (sealed) {
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
  if (!file?.sealed) throw new MigrateError("policy", "This host's identity is not sealed.");
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
  return { certificatePem, key, sealed: key.startsWith(sealedBegin) };
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
