/** Whether a platform has run on between two proofs [ATT-6]: TPM 2.0 Library Part 1, 36, Clock. Pure. */
import { MigrateError } from "../../protocol/errors.ts";
import type { TpmClock } from "../structures/platform-state.ts";

/**
 * Throws MigrateError "attestation" if the platform or its TPM was started anew, or resumed, between the two, or the later
 * one was made first.
 */
export function requireSameBoot(earlier: TpmClock, later: TpmClock): void {
  if (earlier.resetCount !== later.resetCount || earlier.restartCount !== later.restartCount)
    throw new MigrateError("attestation", "its TPM was reset between two proofs of one connection", {
      hint: "the host was started anew, or somebody has reset its TPM; begin again",
    });
  if (later.clockMs < earlier.clockMs)
    throw new MigrateError("attestation", "the clock of its TPM has gone back between two proofs");
}
