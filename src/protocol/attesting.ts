/** What two hosts say to each other of what their platforms run (SPEC.md, Attestation). Pure. */
import * as v from "valibot";
import { count, hex } from "./fields.ts";
import { limits } from "./limits.ts";

/** Bytes in base64 (RFC 4648, section 4), at most so many of them, up to two. */
const bytes = (most: number) =>
  v.pipe(
    v.string(),
    v.maxLength(Math.ceil(most / 3) * 4),
    v.regex(/^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/),
  );

const structure = bytes(limits.tpmStructureBytes);

const registers = v.pipe(
  v.array(count(23)),
  v.minLength(1),
  v.maxLength(24),
  v.check((list) => list.every((one, i) => i === 0 || one > list[i - 1]!), "is not in ascending order"),
);

export const logNames = ["events", "ima"] as const;
/** The firmware's event log, and IMA's list. */
export type LogName = (typeof logNames)[number];

/** The verifier asks for a proof. */
export const challenge = v.object({
  nonce: hex(64),
  /** SHA-256 of the policy that the proof is held against. */
  policy: hex(64),
  bank: v.picklist(["sha256", "sha384"]),
  registers,
  /** True if the firmware's log is to come along. */
  events: v.boolean(),
  /** IMA's list is to come along from this byte on; absent if it is not. */
  imaFrom: v.optional(count(limits.imaLogBytes)),
});

/** The prover's answer. What follows of logs is fetched piece by piece. */
export const evidence = v.object({
  quoted: structure,
  signature: structure,
  /** The values of the registers that were asked for, in their order. */
  values: v.pipe(v.array(v.pipe(v.string(), v.regex(/^(?:[0-9a-f]{64}|[0-9a-f]{96})$/))), v.maxLength(24)),
  /** Bytes of each log that can be fetched; absent where there is none. */
  events: v.optional(count(limits.eventLogBytes)),
  ima: v.optional(count(limits.imaLogBytes)),
});

export const fetchLog = v.object({ log: v.picklist(logNames), from: count(limits.imaLogBytes) });
export const logPiece = v.object({ bytes: bytes(limits.logPieceBytes) });

/** The verifier asks for the keys of the prover's TPM. */
export const enrol = v.object({ nonce: hex(64) });

export const enrolled = v.object({
  /** TPMT_PUBLIC of the EK and of the AK. */
  ekPublic: structure,
  akPublic: structure,
  /** DER, as it lies in the TPM. */
  ekCertificate: v.optional(bytes(limits.ekCertificateBytes)),
  /**
   * The host's TLS key where the TPM made it: TPMS_ATTEST and TPMT_SIGNATURE of TPM2_CertifyCreation, its TPMT_PUBLIC, and the
   * certificate that it is in (DER).
   */
  hostKey: v.optional(
    v.object({
      certified: structure,
      signature: structure,
      keyPublic: structure,
      certificate: bytes(limits.tpmStructureBytes),
    }),
  ),
});

/** A credential for the AK that only the TPM with that EK can open (TPM 2.0 Library Part 1, 24). */
export const activate = v.object({ credentialBlob: structure, encryptedSecret: structure });
/** HMAC by the credential's secret. */
export const activated = v.object({ proof: hex(64) });
