/** Holds a quote against what was asked for (SPEC.md, Attestation; TPM 2.0 Library Part 3, TPM2_Quote). */
import { MigrateError } from "../../protocol/errors.ts";
import { requireAttestationKey } from "../credential/shown-keys.ts";
import { parseAttest } from "../structures/attest.ts";
import { digestOfRegisters, isSelection } from "../structures/pcr-selection.ts";
import type { PcrSelection, PlatformState } from "../structures/platform-state.ts";
import { verifySignature } from "../structures/signature.ts";

export interface ShownQuote {
  /** TPMS_ATTEST, as it was signed. */
  quoted: Buffer;
  /** TPMT_SIGNATURE. */
  signature: Buffer;
  /** The registers' values in the order of the selection, in hex: a claim until the quote has their digest. */
  values: readonly string[];
}

/** What a quote shows: all of a platform's state but its logs. */
export type QuotedState = Omit<PlatformState, "eventLog" | "imaLog">;

/**
 * What the quote shows. Throws MigrateError "attestation" unless it is by this attestation key (TPMT_PUBLIC), over
 * exactly the registers that were asked for, and over this qualifying data, and the values are those that it is over.
 */
export function checkQuote(
  { quoted, signature, values }: ShownQuote,
  akPublic: Buffer,
  asked: PcrSelection,
  qualifyingData: Buffer,
): QuotedState {
  requireAttestationKey(akPublic);
  if (!verifySignature(akPublic, quoted, signature))
    throw wrong("is not signed by the attestation key that is on record");
  const attest = parseAttest(quoted);
  if (attest.kind !== "quote") throw wrong("is no quote");
  if (!attest.extraData.equals(qualifyingData))
    throw wrong("was made for another connection, session or question");
  if (!isSelection(attest.selections, asked)) throw wrong("is not over the registers that were asked for");
  const registers = new Map(asked.registers.map((register, i) => [register, values[i] ?? ""]));
  const digest = digestOfRegisters(asked, registers);
  if (values.length !== asked.registers.length || digest === null || !attest.pcrDigest.equals(digest))
    throw wrong("is not over the values that were shown");
  return {
    bank: asked.bank,
    registers,
    clock: attest.clock,
    firmwareVersion: attest.firmwareVersion,
  };
}

function wrong(why: string): MigrateError {
  return new MigrateError("attestation", `the quote that was shown ${why}`, {
    hint: "somebody may stand in between, or what was signed was changed since; look at that host before you trust it",
  });
}
