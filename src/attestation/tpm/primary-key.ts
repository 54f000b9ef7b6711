/**
 * Keys that a TPM makes anew from a seed of its own and a template, the same each time: TPM2_CreatePrimary (TPM 2.0
 * Library Part 3, 24.1).
 */
import { sized, u32 } from "../structures/marshal.ts";
import {
  encodePublic,
  hasTemplate,
  nameOf,
  type PublicArea,
  parsePublic,
} from "../structures/public-area.ts";
import { garbage } from "./connection.ts";
import type { Tpm } from "./tpm.ts";

/** A key that is loaded, until the conversation ends. */
export interface LoadedKey {
  handle: number;
  /** TPMT_PUBLIC. */
  publicBytes: Buffer;
  name: Buffer;
}

/** TPM2B_SENSITIVE_CREATE without a password and without data. */
export const nothingSensitive = sized(sized(), sized());
/** No outside information, and no registers in the creation data. */
export const nothingOutside = [sized(), u32(0)] as const;

/** Makes the key of `template` in a hierarchy whose password is empty. Throws TpmError. */
export async function createPrimary(tpm: Tpm, hierarchy: number, template: PublicArea): Promise<LoadedKey> {
  const { handle: made, reader } = await tpm.run("CreatePrimary", {
    handles: [hierarchy],
    auths: ["password"],
    parameters: [nothingSensitive, sized(encodePublic(template)), ...nothingOutside],
  });
  const publicBytes = reader.sized();
  if (!hasTemplate(parsePublic(publicBytes, garbage), template))
    throw garbage("another key than the one asked for");
  return { handle: made, publicBytes, name: nameOf(publicBytes, garbage) };
}
