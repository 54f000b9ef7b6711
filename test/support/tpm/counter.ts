/** A home's counter in a TPM, each time in a conversation of its own. */
import type { HostTpm } from "../../../src/attestation/tpm/host-tpm.ts";

export async function countIn(tpm: HostTpm): Promise<number | null> {
  return await tpm.counting(async ({ stands }) => stands);
}

export async function raiseIn(tpm: HostTpm): Promise<number> {
  return await tpm.counting((counter) => counter.raise());
}
