/** What `migrate doctor` says of this host's TPM: whether other hosts can ask this one to prove what it runs. */
import { X509Certificate } from "node:crypto";
import { loadHostIdentity } from "../../attestation/host-identity.ts";
import type { TpmDescription } from "../../attestation/tpm/description.ts";
import { openHostTpm, tpmPlace } from "../../attestation/tpm/host-tpm.ts";
import { keyKeeper } from "../../channel/identity.ts";
import { asMigrateError } from "../../protocol/errors.ts";
import type { Check } from "./doctor-checks.ts";

type Env = Readonly<Record<string, string | undefined>>;

/**
 * A TPM that is not there, or not of use, is a problem only where this host's own key is in it. Makes nothing in the TPM
 * and in the home. Never throws.
 */
export async function tpmCheck(home: string, env: Env): Promise<Check> {
  const check = "tpm";
  const isNeeded = keeperOf(home) === "tpm";
  try {
    if (tpmPlace(env) === null && !isNeeded) {
      const message = "This host has no TPM: it cannot prove to others what it runs (attestation)";
      return { check, state: "ok", message };
    }
    const tpm = await openHostTpm({ home, env });
    const described = await tpm.describe().finally(() => tpm.close());
    if (isNeeded) await loadHostIdentity(home, {}, env);
    const message = wordsOf(described, isNeeded);
    if (!described.isOwnerLocked) return { check, state: "ok", message };
    const locked = "its owner hierarchy has a password, so it keeps no key and no counter of this host's";
    const help = "Take it off, if it is not needed: tpm2_changeauth -c owner.";
    return { check, state: "warning", message: `${message}; ${locked}`, help };
  } catch (thrown) {
    const { message, hint } = asMigrateError(thrown);
    const help = hint === undefined ? {} : { help: hint };
    return { check, state: isNeeded ? "problem" : "warning", message, ...help };
  }
}

function wordsOf({ maker, version, banks, ekCertificate }: TpmDescription, isNeeded: boolean): string {
  const certified =
    ekCertificate === null ? "no certificate of its maker" : `a certificate of ${issuerOf(ekCertificate)}`;
  const key = isNeeded ? ", keeps this host's key" : "";
  const registers = banks.length === 0 ? "no registers in a bank that is used here" : banks.join(" and ");
  return `A TPM 2.0 (${maker} ${version}) answers, has ${certified} and ${registers}${key}: this host can attest`;
}

function issuerOf(certificate: Buffer): string {
  return new X509Certificate(certificate).issuer.replaceAll("\n", ", ");
}

function keeperOf(home: string) {
  try {
    return keyKeeper(home);
  } catch {
    // The check of the identity says so.
    return null;
  }
}
