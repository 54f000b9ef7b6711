/** What a TPM says of itself, for a person: who made it, and what it can (TPM2_GetCapability, TPM 2.0 Library Part 3, 30.2). */

import { printable } from "../../protocol/printable.ts";
import { hashOf } from "../structures/algorithms.ts";
import { attestationTemplate } from "../structures/key-templates.ts";
import { u32 } from "../structures/marshal.ts";
import { readSelections } from "../structures/pcr-selection.ts";
import type { Bank } from "../structures/platform-state.ts";
import { garbage } from "./connection.ts";
import { loadEndorsementKey } from "./endorsement-key.ts";
import { createPrimary } from "./primary-key.ts";
import { handle, type Tpm } from "./tpm.ts";

export interface TpmDescription {
  /** As its maker abbreviates himself, up to four characters: "IBM", "IFX", "STM". */
  maker: string;
  /** Its firmware's version, as two numbers. */
  version: string;
  /** The banks that have registers. */
  banks: Bank[];
  /** Of its endorsement key, DER; null where it has none. */
  ekCertificate: Buffer | null;
  /** Whether its owner hierarchy has a password: then it keeps no key of a host's identity, and no counter. */
  isOwnerLocked: boolean;
}

/** TPM_CAP, Part 2, 6.12. */
const capability = { pcrs: 5, properties: 6 } as const;
/** TPM_PT, Part 2, 6.13. */
const property = { manufacturer: 0x105, firmware1: 0x10b, firmware2: 0x10c, permanent: 0x200 } as const;
/** TPMA_PERMANENT, Part 2, 8.6: ownerAuthSet. */
const ownerAuthSet = 0x1;
const fixedProperties = 0x100;
const mostProperties = 64;

/** Throws TpmError, also where no attestation key can be made. */
export async function describeTpm(tpm: Tpm): Promise<TpmDescription> {
  const properties = new Map([
    ...(await readProperties(tpm, fixedProperties)),
    ...(await readProperties(tpm, property.permanent)),
  ]);
  const maker = Buffer.alloc(4);
  maker.writeUInt32BE(properties.get(property.manufacturer) ?? 0);
  const [high, low] = [properties.get(property.firmware1) ?? 0, properties.get(property.firmware2) ?? 0];
  const banks = await readBanks(tpm);
  const { certificate } = await loadEndorsementKey(tpm);
  // One of no home: nothing is kept of it.
  await createPrimary(tpm, handle.endorsement, attestationTemplate(Buffer.alloc(32)));
  return {
    maker: printable(maker.toString("latin1").replaceAll("\0", "")).trim(),
    version: `${high >>> 16}.${high & 0xffff}.${low >>> 16}.${low & 0xffff}`,
    banks,
    ekCertificate: certificate,
    isOwnerLocked: ((properties.get(property.permanent) ?? 0) & ownerAuthSet) !== 0,
  };
}

async function readProperties(tpm: Tpm, first: number): Promise<Map<number, number>> {
  const reader = await ask(tpm, capability.properties, first);
  const values = new Map<number, number>();
  for (let count = reader.count(mostProperties); count > 0; count--) {
    const name = reader.u32();
    values.set(name, reader.u32());
  }
  return values;
}

async function readBanks(tpm: Tpm): Promise<Bank[]> {
  const selections = readSelections(await ask(tpm, capability.pcrs, 0));
  return selections.flatMap(({ algorithm, registers }) => {
    const hash = hashOf(algorithm);
    return hash === undefined || registers.length === 0 ? [] : [hash.name];
  });
}

async function ask(tpm: Tpm, wanted: number, first: number) {
  const { reader } = await tpm.run("GetCapability", {
    parameters: [u32(wanted), u32(first), u32(mostProperties)],
  });
  reader.u8();
  if (reader.u32() !== wanted) throw garbage("another capability than the one asked for");
  return reader;
}
