/**
 * A TPM's endorsement key, by which its maker knows it: one with a certificate in NV where there is such a one, and
 * opened by what its template asks for (TCG EK Credential Profile for TPM Family 2.0, 2.x).
 */
import { X509Certificate } from "node:crypto";
import { algorithm } from "../structures/algorithms.ts";
import {
  type EndorsementTemplate,
  endorsementTemplates,
  plainEndorsement,
} from "../structures/key-templates.ts";
import { sized, u8, u16, u32 } from "../structures/marshal.ts";
import { hasTemplate, nameOf, parsePublic } from "../structures/public-area.ts";
import { keyObjectOf } from "../structures/signature.ts";
import { garbage } from "./connection.ts";
import { readCertificate } from "./nv.ts";
import { createPrimary, type LoadedKey } from "./primary-key.ts";
import { rc, TpmError } from "./response-code.ts";
import { handle, readHandles, type Tpm } from "./tpm.ts";

export interface EndorsementKey extends LoadedKey {
  template: EndorsementTemplate;
  /** DER; null where NV has none for it. */
  certificate: Buffer | null;
}

const persistentHandles = 0x8100_0000;
/** TCG Registry of Reserved TPM 2.0 Handles, 2.3.1: the endorsement hierarchy's. */
const isEndorsements = (found: number) => found >= 0x8101_0000 && found <= 0x8101_ffff;
/** So many persistent keys are looked at. */
const mostPersistent = 16;
const policySession = 0x01;

/**
 * Loads the endorsement key: the first of the templates whose certificate is in NV and is over the key that the template
 * makes here; else the plain one, without certificate. One that is persistent is taken as it is: an RSA key takes a
 * TPM seconds to make. Throws TpmError.
 */
export async function loadEndorsementKey(tpm: Tpm): Promise<EndorsementKey> {
  const persistent = await readPersistent(tpm);
  for (const template of endorsementTemplates) {
    const certificate = await readCertificate(tpm, template.certificateIndex);
    if (certificate === null) continue;
    const kept = persistent.find(
      (key) => hasTemplate(areaOf(key), template.area) && isOver(certificate, key),
    );
    if (kept !== undefined) return { ...kept, template, certificate };
    const made = await createPrimary(tpm, handle.endorsement, template.area);
    if (isOver(certificate, made)) return { ...made, template, certificate };
    await tpm.flush(made.handle);
  }
  // Not a persistent one: without a certificate nothing tells that it was made here.
  const made = await createPrimary(tpm, handle.endorsement, plainEndorsement.area);
  return { ...made, template: plainEndorsement, certificate: null };
}

/**
 * Opens the credential that was made for the key of `attestationKey` (TPM2_ActivateCredential, TPM 2.0 Library Part 3,
 * 12.5). Throws TpmError, for a credential of another key or another TPM too.
 */
export async function activateCredential(
  tpm: Tpm,
  { attestationKey, endorsementKey }: { attestationKey: number; endorsementKey: EndorsementKey },
  credentialBlob: Buffer,
  encryptedSecret: Buffer,
): Promise<Buffer> {
  const { template, handle: key } = endorsementKey;
  const opening = template.opensByPassword ? "password" : await openByEndorsement(tpm);
  try {
    const { reader } = await tpm.run("ActivateCredential", {
      handles: [attestationKey, key],
      auths: ["password", opening],
      parameters: [sized(credentialBlob), sized(encryptedSecret)],
    });
    const secret = Buffer.from(reader.sized());
    reader.end();
    return secret;
  } catch (thrown) {
    if (thrown instanceof TpmError && thrown.rc !== null && notForThis.includes(thrown.rc))
      throw new TpmError(
        "This host's TPM does not open the credential: it was made for another TPM or another key.",
        {
          hint: "Enrol this host again (migrate attest record on the other host); the keys that it showed were others.",
          rc: thrown.rc,
          cause: thrown,
        },
      );
    throw thrown;
  }
}

/** What a TPM says of a credential that is not its own, or was changed: TPM_RC_INTEGRITY, of the secret also others. */
const notForThis: readonly number[] = [rc.integrity, rc.value, rc.size, rc.insufficient, rc.eccPoint];

/** A policy session for which the endorsement hierarchy's password, which is empty, has been given. */
async function openByEndorsement(tpm: Tpm): Promise<number> {
  const session = await startPolicy(tpm);
  await tpm.run("PolicySecret", {
    handles: [handle.endorsement, session],
    auths: ["password"],
    // No nonce, no cpHash, no reference, no expiration.
    parameters: [sized(), sized(), sized(), u32(0)],
  });
  return session;
}

/** Starts a policy session (Part 3, 11.1) without salt and binding. Throws TpmError. */
export async function startPolicy(tpm: Tpm): Promise<number> {
  const { handle: session } = await tpm.run("StartAuthSession", {
    handles: [handle.nothing, handle.nothing],
    parameters: [
      sized(Buffer.alloc(16)),
      sized(),
      u8(policySession),
      u16(algorithm.nothing),
      u16(algorithm.sha256),
    ],
  });
  return session;
}

async function readPersistent(tpm: Tpm): Promise<LoadedKey[]> {
  const found = (await readHandles(tpm, persistentHandles)).filter(isEndorsements).slice(0, mostPersistent);
  const keys: LoadedKey[] = [];
  for (const at of found) {
    const { reader } = await tpm.run("ReadPublic", { handles: [at] });
    const publicBytes = reader.sized();
    try {
      keys.push({ handle: at, publicBytes, name: nameOf(publicBytes, garbage) });
    } catch (thrown) {
      // A key of a kind that is not used here.
      if (!(thrown instanceof TpmError)) throw thrown;
    }
  }
  return keys;
}

function areaOf(key: LoadedKey) {
  return parsePublic(key.publicBytes, garbage);
}

function isOver(certificate: Buffer, key: LoadedKey): boolean {
  try {
    return new X509Certificate(certificate).publicKey.equals(keyObjectOf(areaOf(key), garbage));
  } catch {
    return false;
  }
}
