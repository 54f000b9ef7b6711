/**
 * A platform that a test makes up: an attestation key in memory and whatever registers, clock and logs it is to show. What
 * it signs has the form in which a TPM signs it, true or not, so that a verifier sees lies that no TPM would tell.
 */
import { createHash, generateKeyPairSync, type KeyObject, sign } from "node:crypto";
import { type Binding, quoteBinding } from "../../../src/attestation/evidence/binding.ts";
import { type Policy, writePolicy } from "../../../src/attestation/policy/policy-file.ts";
import { recordPolicy } from "../../../src/attestation/policy/record.ts";
import { algorithm, bankHash } from "../../../src/attestation/structures/algorithms.ts";
import { attestationTemplate } from "../../../src/attestation/structures/key-templates.ts";
import { sized, u8, u16, u32 } from "../../../src/attestation/structures/marshal.ts";
import { digestOfRegisters } from "../../../src/attestation/structures/pcr-selection.ts";
import type { Bank, PlatformState, TpmClock } from "../../../src/attestation/structures/platform-state.ts";
import { encodePublic } from "../../../src/attestation/structures/public-area.ts";
import type { MessageBody } from "../../../src/protocol/messages.ts";
import { policyHead } from "./policy-head.ts";

type Challenge = MessageBody<"challenge">;
type Evidence = MessageBody<"evidence">;

/** What of a proof is to be other than it should be. */
export interface ProofChange {
  /** Of the connection that it says it is bound to. */
  binding?: Partial<Binding>;
  nonce?: string;
  policy?: string;
  /** TPM_GENERATED and TPM_ST_ATTEST_QUOTE where they are absent. */
  magic?: number;
  type?: number;
  /** The selection in the quote, and what its digest is over: each bank with its registers. */
  selections?: { bank: Bank; registers: readonly number[] }[];
  /** The key that signs. */
  key?: KeyObject;
  clock?: Partial<TpmClock>;
  /** Registers that hold something else. */
  registers?: Record<number, string>;
  /** Fields of EVIDENCE that are said in place of the right ones. */
  said?: Partial<Evidence>;
}

export class MadeUpPlatform {
  readonly akPublic: Buffer;
  readonly key: KeyObject;
  readonly registers: Map<number, string>;
  readonly clock: TpmClock = { clockMs: 1000, resetCount: 7, restartCount: 2, safe: true };
  eventLog: Buffer | null = null;
  imaLog: Buffer | null = null;

  constructor(registers: ReadonlyMap<number, string> = untouched("sha256")) {
    const { publicKey, privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
    this.key = privateKey;
    this.akPublic = akPublicOf(publicKey);
    this.registers = new Map(registers);
  }

  get state(): PlatformState {
    const { registers, clock, eventLog, imaLog } = this;
    return { bank: "sha256", registers, clock, firmwareVersion: "0000000000000001", eventLog, imaLog };
  }

  /** Writes the policy that allows what this platform shows now, for the host with this fingerprint, into a home. */
  recordIn(
    home: string,
    host: string,
    options: { version?: number; registers?: number[]; byEvents?: number[]; akPublic?: Buffer } = {},
  ): Policy {
    const { version = 1, registers = [0, 4, 7], byEvents = [], akPublic = this.akPublic } = options;
    const head = { ...policyHead, host, version, attestationKey: akPublic };
    const policy = recordPolicy(this.state, head, { registers, byEvents });
    writePolicy(home, policy);
    return policy;
  }

  /** EVIDENCE for a challenge on the connection of `binding`. */
  prove(binding: Binding, asked: Challenge, change: ProofChange = {}): Evidence {
    const qualifying = quoteBinding(
      { ...binding, ...change.binding },
      change.nonce ?? asked.nonce,
      change.policy ?? asked.policy,
    );
    const holds = (register: number, bank: Bank) =>
      change.registers?.[register] ?? (bank === "sha256" ? this.registers.get(register)! : zeros(bank));
    const selections = change.selections ?? [{ bank: asked.bank, registers: asked.registers }];
    const quoted = Buffer.concat([
      u32(change.magic ?? 0xff544347),
      u16(change.type ?? 0x8018),
      sized(Buffer.from("000b", "hex"), Buffer.alloc(32, 1)),
      sized(qualifying),
      clockBytes({ ...this.clock, ...change.clock }),
      Buffer.from("0000000000000001", "hex"),
      u32(selections.length),
      ...selections.map(({ bank, registers }) =>
        Buffer.concat([u16(bankHash(bank).id), u8(3), bitmap(registers)]),
      ),
      sized(digestOver(selections, holds)),
    ]);
    return {
      quoted: quoted.toString("base64"),
      signature: signed(change.key ?? this.key, quoted).toString("base64"),
      values: asked.registers.map((register) => holds(register, asked.bank)),
      ...(asked.events && this.eventLog !== null ? { events: this.eventLog.length } : {}),
      ...(asked.imaFrom !== undefined && this.imaLog !== null ? { ima: this.imaLog.length } : {}),
      ...change.said,
    };
  }
}

/** All registers as they are when a platform starts. */
export function untouched(bank: Bank): Map<number, string> {
  return new Map(Array.from({ length: 24 }, (_, register) => [register, zeros(bank)]));
}

/** TPMT_PUBLIC of an attestation key, by its template but for the attributes that are given. */
export function akPublicOf(publicKey: KeyObject, attributes?: number): Buffer {
  const { x = "", y = "" } = publicKey.export({ format: "jwk" });
  const template = attestationTemplate(Buffer.alloc(32));
  return encodePublic({
    ...template,
    attributes: attributes ?? template.attributes,
    ...{ x: Buffer.from(x, "base64url"), y: Buffer.from(y, "base64url") },
  });
}

/** TPMT_SIGNATURE: ECDSA with SHA-256. */
function signed(key: KeyObject, bytes: Buffer): Buffer {
  const raw = sign("sha256", bytes, { key, dsaEncoding: "ieee-p1363" });
  return Buffer.concat([
    u16(algorithm.ecdsa),
    u16(algorithm.sha256),
    sized(raw.subarray(0, 32)),
    sized(raw.subarray(32)),
  ]);
}

function digestOver(
  selections: NonNullable<ProofChange["selections"]>,
  holds: (register: number, bank: Bank) => string,
): Buffer {
  const [only] = selections;
  if (only === undefined || selections.length > 1 || only.registers.length === 0)
    return createHash("sha256").digest();
  const values = new Map(only.registers.map((register) => [register, holds(register, only.bank)]));
  return digestOfRegisters(only, values)!;
}

const zeros = (bank: Bank) => "00".repeat(bankHash(bank).bytes);

function bitmap(registers: readonly number[]): Buffer {
  const bits = Buffer.alloc(3);
  for (const register of registers) bits[register >> 3]! |= 1 << (register & 7);
  return bits;
}

function clockBytes({ clockMs, resetCount, restartCount, safe }: TpmClock): Buffer {
  const ms = Buffer.alloc(8);
  ms.writeBigUInt64BE(BigInt(clockMs));
  return Buffer.concat([ms, u32(resetCount), u32(restartCount), u8(safe ? 1 : 0)]);
}
