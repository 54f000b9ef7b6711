/**
 * This home's attestation key: made anew in the TPM each time it is needed, from the TPM's endorsement seed and 32 bytes
 * that lie in HOME/tpm/ak, so that it is the same as long as home and TPM stay, through a clear of the TPM too.
 *
 * The file has two lines: `unique` (the 32 bytes, 64 hex digits) and `name` (the key's Name). It is no secret: who has
 * it and not the TPM has nothing. A Name that is no longer the key's shows that the TPM is another one.
 */
import { randomBytes } from "node:crypto";
import { chmodSync, existsSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { createHomeFile, readHomeFile } from "../../home/home-file.ts";
import { MigrateError } from "../../protocol/errors.ts";
import { attestationTemplate } from "../structures/key-templates.ts";
import { createPrimary, type LoadedKey } from "./primary-key.ts";
import { TpmError } from "./response-code.ts";
import { handle, type Tpm } from "./tpm.ts";

interface KeyFile {
  unique: Buffer;
  name: string;
}

/** The folder of a home that holds what hangs on this host's TPM. */
export function tpmFolder(home: string): string {
  return join(home, "tpm");
}

function keyPath(home: string): string {
  return join(tpmFolder(home), "ak");
}

/**
 * Loads the home's attestation key, and makes the file on first use. Throws TpmError, also where the TPM is another one
 * than the key was first made in; MigrateError "home-unusable".
 */
export async function loadAttestationKey(tpm: Tpm, home: string): Promise<LoadedKey> {
  const kept = readKeyFile(home);
  if (kept !== null) {
    const key = await createFrom(tpm, kept.unique);
    if (key.name.toString("hex") !== kept.name) throw anotherTpm(home);
    return key;
  }
  const unique = randomBytes(32);
  const key = await createFrom(tpm, unique);
  makeFolder(tpmFolder(home));
  const text = `unique ${unique.toString("hex")}\nname ${key.name.toString("hex")}\n`;
  if (createHomeFile(keyPath(home), text)) return key;
  // Another process was quicker: then its key is the one.
  await tpm.flush(key.handle);
  return await loadAttestationKey(tpm, home);
}

function makeFolder(path: string): void {
  try {
    mkdirSync(path, { recursive: true, mode: 0o700 });
    chmodSync(path, 0o700);
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    throw new MigrateError(
      "home-unusable",
      `The folder ${path} cannot be made (${code ?? "unknown error"}).`,
      {
        hint: "Move away what stands there; look for a full or read-only disk, and at who may write the home.",
        cause,
      },
    );
  }
}

/**
 * The 32 bytes by which things in the TPM are this home's; made with the attestation key on first use. The TPM may be
 * another one by now. Throws as `loadAttestationKey`.
 */
export async function uniqueOf(tpm: Tpm, home: string): Promise<Buffer> {
  if (!hasAttestationKey(home)) await tpm.flush((await loadAttestationKey(tpm, home)).handle);
  return readKeyFile(home)!.unique;
}

/** Whether this home has ever attested. */
export function hasAttestationKey(home: string): boolean {
  return existsSync(keyPath(home));
}

async function createFrom(tpm: Tpm, unique: Buffer): Promise<LoadedKey> {
  return await createPrimary(tpm, handle.endorsement, attestationTemplate(unique));
}

function readKeyFile(home: string): KeyFile | null {
  const text = readHomeFile(keyPath(home), 0o077);
  if (text === null) return null;
  const [, unique, name] = /^unique ([0-9a-f]{64})\nname ([0-9a-f]{68})\n$/.exec(text) ?? [];
  if (unique === undefined || name === undefined)
    throw new MigrateError("home-unusable", `${keyPath(home)} is damaged.`, {
      hint: "Restore it from a backup; or remove it, and have the other hosts record this one again.",
    });
  return { unique: Buffer.from(unique, "hex"), name };
}

function anotherTpm(home: string): TpmError {
  return new TpmError("This host's TPM is not the one that its attestation key was made in.", {
    hint: `If the TPM was replaced, or its seeds were changed, remove ${keyPath(home)} and have the other hosts record this one again (migrate attest record).`,
  });
}
