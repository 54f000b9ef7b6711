/**
 * What a TPM signs of itself: TPMS_ATTEST (TPM 2.0 Library Part 2, 10.12.12), of two kinds: a quote over registers
 * and the certification of an object, by TPM2_Certify or TPM2_CertifyCreation. Pure.
 */
import { readSelections, type SelectedBank } from "./pcr-selection.ts";
import type { TpmClock } from "./platform-state.ts";
import { type Fault, peerFault, StructureReader } from "./structure-reader.ts";

/** TPM_GENERATED_VALUE: a TPM signs nothing from outside that begins so with a restricted key. */
const generated = 0xff54_4347;
const kinds = { quote: 0x8018, certify: 0x8017, creation: 0x801a } as const;
const nameMaxBytes = 68;
const extraMaxBytes = 64;

interface AttestOfAnyKind {
  /** The qualified Name of the key that signed. */
  signer: Buffer;
  /** The qualifying data that the TPM was given. */
  extraData: Buffer;
  clock: TpmClock;
  /** 16 hex digits. */
  firmwareVersion: string;
}

export interface Quote extends AttestOfAnyKind {
  kind: "quote";
  selections: SelectedBank[];
  /** Over the values of the registers, in order; see digestOfRegisters. */
  pcrDigest: Buffer;
}

export interface Certification extends AttestOfAnyKind {
  kind: "certify";
  /** The Name of the object that is certified. */
  name: Buffer;
  /**
   * "made": this TPM has made the object (TPM2_CertifyCreation). "loaded": the object was in this TPM (TPM2_Certify), which
   * says of one that can be duplicated nothing of where it was made.
   */
  shows: "made" | "loaded";
}

export type Attest = Quote | Certification;

/** Reads a whole TPMS_ATTEST. Throws `fault`, MigrateError "attestation" where none is given. */
export function parseAttest(bytes: Buffer, fault: Fault = peerFault("The quote")): Attest {
  const reader = new StructureReader(bytes, fault);
  if (reader.u32() !== generated) throw reader.fault("no TPM has made it");
  const type = reader.u16();
  const signer = reader.sized(nameMaxBytes);
  const extraData = reader.sized(extraMaxBytes);
  const head = { signer, extraData, clock: readClock(reader), firmwareVersion: hex64(reader) };
  const attest = readAttested(reader, type, head);
  reader.end();
  return attest;
}

function readAttested(reader: StructureReader, type: number, head: AttestOfAnyKind): Attest {
  if (type === kinds.quote) {
    const selections = readSelections(reader);
    return { kind: "quote", ...head, selections, pcrDigest: reader.sized(extraMaxBytes) };
  }
  if (type === kinds.certify) {
    const name = reader.sized(nameMaxBytes);
    // Its qualified Name, which also says where in the TPM it hangs.
    reader.sized(nameMaxBytes);
    return { kind: "certify", ...head, name, shows: "loaded" };
  }
  if (type === kinds.creation) {
    const name = reader.sized(nameMaxBytes);
    // The hash of its creation data.
    reader.sized(extraMaxBytes);
    return { kind: "certify", ...head, name, shows: "made" };
  }
  throw reader.fault("it is neither a quote nor the certification of a key");
}

function readClock(reader: StructureReader): TpmClock {
  const clock = reader.u64();
  if (clock > BigInt(Number.MAX_SAFE_INTEGER)) throw reader.fault("its clock is beyond what a clock can be");
  const [resetCount, restartCount, safe] = [reader.u32(), reader.u32(), reader.u8()];
  if (safe > 1) throw reader.fault("its clock is neither safe nor unsafe");
  return { clockMs: Number(clock), resetCount, restartCount, safe: safe === 1 };
}

function hex64(reader: StructureReader): string {
  return reader.bytes(8).toString("hex");
}
