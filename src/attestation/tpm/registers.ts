/** A TPM's registers: their values (TPM2_PCR_Read, TPM 2.0 Library Part 3, 22.4), and a quote over them (18.4). */
import { algorithm, bankHash } from "../structures/algorithms.ts";
import { parseAttest } from "../structures/attest.ts";
import { sized, u16 } from "../structures/marshal.ts";
import {
  digestOfRegisters,
  encodeSelection,
  isSelection,
  readSelections,
} from "../structures/pcr-selection.ts";
import type { PcrSelection } from "../structures/platform-state.ts";
import { garbage } from "./connection.ts";
import { TpmError } from "./response-code.ts";
import type { Tpm } from "./tpm.ts";

export interface TpmQuote {
  /** TPMS_ATTEST. */
  quoted: Buffer;
  /** TPMT_SIGNATURE over it. */
  signature: Buffer;
  /** The values that the quote is over, by number, in lower-case hex. */
  registers: Map<number, string>;
}

/** TPML_DIGEST, Part 2, 10.9.4: so many values come at once. */
const mostValues = 8;
/** How often a register may change between its being read and its being quoted. */
const mostTries = 8;

/** The values of the selection's registers, by number, in lower-case hex. Throws TpmError. */
export async function readRegisters(tpm: Tpm, selection: PcrSelection): Promise<Map<number, string>> {
  const values = new Map<number, string>();
  const { bank } = selection;
  let wanted = selection.registers;
  while (wanted.length > 0) {
    const { reader } = await tpm.run("PCR_Read", {
      parameters: [encodeSelection({ bank, registers: wanted })],
    });
    reader.u32();
    const [read] = readSelections(reader);
    const numbers = read?.algorithm === bankHash(bank).id ? read.registers : [];
    if (numbers.length === 0) throw noBank(bank);
    const count = reader.count(mostValues);
    if (count !== numbers.length || !numbers.every((number) => wanted.includes(number)))
      throw garbage("other registers than those asked for");
    for (const number of numbers) {
      const value = reader.sized();
      if (value.length !== bankHash(bank).bytes) throw garbage("the value of a register that is too short");
      values.set(number, value.toString("hex"));
    }
    reader.end();
    wanted = wanted.filter((number) => !values.has(number));
  }
  return values;
}

/**
 * A quote by the key of that handle, and the values that it is over: read again with another quote where one changed in
 * between. Throws TpmError.
 */
export async function quoteRegisters(
  tpm: Tpm,
  key: number,
  selection: PcrSelection,
  qualifyingData: Buffer,
): Promise<TpmQuote> {
  for (let tries = 0; tries < mostTries; tries++) {
    const registers = await readRegisters(tpm, selection);
    const { reader } = await tpm.run("Quote", {
      handles: [key],
      auths: ["password"],
      parameters: [sized(qualifyingData), u16(algorithm.nothing), encodeSelection(selection)],
    });
    const [quoted, signature] = [reader.sized(), reader.rest()];
    const attest = parseAttest(quoted, garbage);
    if (attest.kind !== "quote" || !isSelection(attest.selections, selection))
      throw garbage("a quote of something else than what was asked for");
    if (digestOfRegisters(selection, registers)?.equals(attest.pcrDigest))
      return { quoted, signature, registers };
  }
  throw new TpmError("The registers of this host's TPM change all the time.", {
    hint: "Leave out those that something extends without end (10, where IMA measures everything).",
  });
}

function noBank(bank: string): TpmError {
  return new TpmError(`This host's TPM has no registers in a bank of ${bank}.`, {
    hint: "Ask for another bank, or let the firmware allocate that one: tpm2_pcrallocate, and start the host again.",
  });
}
