/**
 * Whether the state of a virtual TPM that lies with a VM is the one that was sealed with it: by the endorsement key that
 * vm.json names. The state of another VM's TPM beside these disks is two halves of two VMs.
 */
import { MigrateError } from "../../protocol/errors.ts";
import type { Manifest } from "../../vm/folder/manifest.ts";
import { ekOfState, readPermanent } from "../../vm/tpm/ek-of-state.ts";

/**
 * Looks at the permanent state at `path`; null if the VM has none. Returns what could not be looked at, as a sentence;
 * null if it is the VM's own, or if vm.json names no key. Throws MigrateError "vm-invalid" if it is another TPM's.
 */
export async function requireRecordedTpm(
  { name, tpm }: Pick<Manifest, "name" | "tpm">,
  path: string | null,
): Promise<string | null> {
  if (tpm === undefined) return null;
  const permanent = path === null ? null : readPermanent(path);
  if (permanent === null)
    throw halves(`the state of ${name}'s virtual TPM, which was sealed with it, is not there`);
  const found = await ekOfState(permanent);
  if ("unknown" in found)
    return `whether ${name} has the virtual TPM that was sealed with it is not checked: ${found.unknown}`;
  if (found.ek !== tpm.ek)
    throw halves(`the state beside ${name} is that of another virtual TPM than was sealed with it`);
  return null;
}

/**
 * Looks whether the TPM whose permanent state is at `path` is the one that was sealed with a VM that goes on here by now.
 * Returns a sentence if it is not; null if it is, or if that cannot be told. Never rejects.
 */
export async function strangeTpm(name: string, ek: string, path: string): Promise<string | null> {
  const found = await ekOfState(readPermanent(path));
  if ("unknown" in found || found.ek === ek) return null;
  return `${name} runs here with another virtual TPM than was sealed with it: what its guest sealed to its own is closed to it`;
}

function halves(message: string): MigrateError {
  return new MigrateError("vm-invalid", message, {
    hint: 'Put its own state back (tpm/). If it is to begin with another TPM, take "tpm" out of its vm.json: what its guest sealed to its own is lost to it then.',
  });
}
