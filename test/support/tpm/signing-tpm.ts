/**
 * A TPM that is played: it signs whatever structure it is told to, with a key whose public area says what an attestation
 * key's says. What a verifier sees in a quote alone it cannot tell from a real one, so that every fault can be made.
 */
import { generateKeyPairSync, type KeyObject, sign } from "node:crypto";
import { attestationTemplate } from "../../../src/attestation/structures/key-templates.ts";
import { sized, u8, u16, u32 } from "../../../src/attestation/structures/marshal.ts";
import { digestOfRegisters, encodeSelection } from "../../../src/attestation/structures/pcr-selection.ts";
import type { PcrSelection, TpmClock } from "../../../src/attestation/structures/platform-state.ts";
import { encodePublic } from "../../../src/attestation/structures/public-area.ts";

/** The parts of a quote that can be made wrong: TPM 2.0 Library Part 2, 10.12.12, TPMS_ATTEST. */
export interface QuoteParts {
  magic?: number;
  type?: number;
  clock?: Partial<TpmClock>;
  selection: PcrSelection;
  registers: ReadonlyMap<number, string>;
  qualifyingData: Buffer;
  pcrDigest?: Buffer;
}

const u64 = (value: number) => {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64BE(BigInt(value));
  return bytes;
};

export class SigningTpm {
  readonly #key: KeyObject;
  /** TPMT_PUBLIC of its attestation key. */
  readonly akPublic: Buffer;

  constructor(attributes?: number) {
    const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "prime256v1" });
    this.#key = privateKey;
    const { x = "", y = "" } = publicKey.export({ format: "jwk" });
    const area = attestationTemplate(Buffer.from(x, "base64url"));
    this.akPublic = encodePublic({
      ...area,
      attributes: attributes ?? area.attributes,
      y: Buffer.from(y, "base64url"),
    });
  }

  /** TPMS_ATTEST. */
  attest(parts: QuoteParts): Buffer {
    const { magic = 0xff544347, type = 0x8018, clock = {}, selection, registers, qualifyingData } = parts;
    const { clockMs = 5000, resetCount = 3, restartCount = 0, safe = true } = clock;
    const digest = parts.pcrDigest ?? digestOfRegisters(selection, registers) ?? Buffer.alloc(32);
    return Buffer.concat([
      u32(magic),
      u16(type),
      sized(Buffer.alloc(34, 1)),
      sized(qualifyingData),
      ...[u64(clockMs), u32(resetCount), u32(restartCount), u8(safe ? 1 : 0)],
      Buffer.alloc(8, 2),
      encodeSelection(selection),
      sized(digest),
    ]);
  }

  /** TPMT_SIGNATURE over it: ECDSA with SHA-256. */
  signature(attest: Buffer): Buffer {
    const raw = sign("sha256", attest, { key: this.#key, dsaEncoding: "ieee-p1363" });
    return Buffer.concat([u16(0x0018), u16(0x000b), sized(raw.subarray(0, 32)), sized(raw.subarray(32))]);
  }

  quote(parts: QuoteParts): { quoted: Buffer; signature: Buffer; values: string[] } {
    const quoted = this.attest(parts);
    const values = parts.selection.registers.map((register) => parts.registers.get(register) ?? "");
    return { quoted, signature: this.signature(quoted), values };
  }
}
