/**
 * The evidence of one connection, as it is kept: what was asked, what a TPM has signed, the logs, and the policy that it
 * was held against. It can be checked again years later, on any host (`migrate attest check`): nothing in it is secret,
 * and nothing in it is believed.
 */
import { createHash } from "node:crypto";
import { gunzipSync, gzipSync } from "node:zlib";
import * as v from "valibot";
import { MigrateError } from "../../protocol/errors.ts";
import { count, hex, text } from "../../protocol/fields.ts";
import { limits } from "../../protocol/limits.ts";
import { type Judgement, judge } from "../policy/judge.ts";
import { type Policy, parsePolicy, policyDigest, selectionOf } from "../policy/policy-file.ts";
import type { PlatformState } from "../structures/platform-state.ts";
import { quoteBinding } from "./binding.ts";
import { checkQuote } from "./check-quote.ts";
import { requireSameBoot } from "./same-boot.ts";

/** When in a move something was proven. */
export const moments = ["offer", "start", "again", "release", "verify"] as const;
export type Moment = (typeof moments)[number];

const base64 = v.pipe(v.string(), v.regex(/^[A-Za-z0-9+/]*={0,2}$/));
const fingerprint = v.pipe(v.string(), v.regex(/^sha256:[0-9a-f]{64}$/));

const keptProof = v.object({
  moment: v.picklist(moments),
  /** Unix time of the verifier, in milliseconds. */
  atMs: count(Number.MAX_SAFE_INTEGER),
  nonce: hex(64),
  quoted: base64,
  signature: base64,
  values: v.pipe(v.array(v.pipe(v.string(), v.regex(/^[0-9a-f]{64,96}$/))), v.maxLength(24)),
  /** Logs, each compressed by gzip; absent where there was none, or it was that of the first proof. */
  eventLog: v.optional(base64),
  imaLog: v.optional(base64),
  /** What of IMA's list came behind that of the first proof, in place of the whole. */
  imaMore: v.optional(base64),
});

const schema = v.object({
  evidence: v.literal("migrate attest v1"),
  role: v.picklist(["source", "destination"]),
  prover: fingerprint,
  verifier: fingerprint,
  exporter: hex(64),
  session: v.union([hex(32), v.literal("")]),
  attempt: count(0xffff_ffff),
  policy: text(1024 * 1024),
  proofs: v.pipe(v.array(keptProof), v.minLength(1), v.maxLength(64)),
});

/** One connection's evidence; its form is that of the file. */
export type Evidence = v.InferOutput<typeof schema>;
export type KeptProof = Evidence["proofs"][number];

/**
 * A proof as it is kept; of its logs those that are not the same as in the connection's first one, and of IMA's list, which
 * grows, what came behind that: a VM stands still while its last proof is noted, and a long list takes long to compress.
 */
export function keptProofOf(
  moment: Moment,
  atMs: number,
  {
    nonce,
    quoted,
    signature,
    state,
  }: { nonce: string; quoted: Buffer; signature: Buffer; state: PlatformState },
  first?: PlatformState,
): KeptProof {
  const packed = (log: Buffer | null, before: Buffer | null = null) =>
    log === null || (before !== null && log.equals(before)) ? undefined : gzipSync(log).toString("base64");
  const eventLog = packed(state.eventLog, first?.eventLog);
  const imaMore = packed(behind(first?.imaLog, state.imaLog));
  const imaLog = imaMore === undefined ? packed(state.imaLog, first?.imaLog) : undefined;
  return {
    moment,
    atMs,
    nonce,
    quoted: quoted.toString("base64"),
    signature: signature.toString("base64"),
    values: [...state.registers.values()],
    ...(eventLog === undefined ? {} : { eventLog }),
    ...(imaLog === undefined ? {} : { imaLog }),
    ...(imaMore === undefined ? {} : { imaMore }),
  };
}

/** What of a list is behind an earlier one; null if it is no longer than that, or is another one. */
function behind(before: Buffer | null | undefined, list: Buffer | null): Buffer | null {
  if (before == null || list === null || list.length <= before.length) return null;
  return list.subarray(0, before.length).equals(before) ? list.subarray(before.length) : null;
}

export function evidenceText(evidence: Evidence): string {
  return `${JSON.stringify(evidence, null, 1)}\n`;
}

/** SHA-256 of a text of evidence, by which a receipt names it; hex 64. */
export function evidenceDigest(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}

/** What a file of evidence shows. */
export interface CheckedEvidence {
  evidence: Evidence;
  policy: Policy;
  /** Of each proof in its order. */
  judgements: readonly Judgement[];
  state: PlatformState;
}

/** The longest text of evidence that is read, in bytes. */
export const evidenceMaxBytes = 64 * 1024 * 1024;

/**
 * Checks evidence from a file as if it came just now: signatures, what they are bound to, registers, logs, the policy,
 * and that the platform was not started anew in between. Throws MigrateError "attestation" for what is no evidence, or is
 * not what a TPM has signed; what the policy does not allow is in what is returned. `path` is for its sentences.
 */
export function checkEvidence(json: string, path: string): CheckedEvidence {
  const evidence = parse(json, path);
  const policy = parsePolicy(evidence.policy, path);
  const digest = policyDigest(evidence.policy);
  const binding = { ...evidence, exporter: Buffer.from(evidence.exporter, "hex") };
  let first: PlatformState | undefined;
  const judgements = evidence.proofs.map((proof) => {
    const quote = {
      quoted: Buffer.from(proof.quoted, "base64"),
      signature: Buffer.from(proof.signature, "base64"),
      values: proof.values,
    };
    const bound = quoteBinding(binding, proof.nonce, digest);
    const shown = checkQuote(quote, policy.attestationKey, selectionOf(policy), bound);
    const state: PlatformState = {
      ...shown,
      eventLog: unpacked(proof.eventLog, limits.eventLogBytes) ?? first?.eventLog ?? null,
      imaLog: imaLogOf(proof, first),
    };
    if (first !== undefined) requireSameBoot(first.clock, state.clock);
    first ??= state;
    return judge(policy, state);
  });
  return { evidence, policy, judgements, state: first! };
}

/** A proof's whole list of IMA's. */
function imaLogOf({ imaLog, imaMore }: KeptProof, first: PlatformState | undefined): Buffer | null {
  const before = first?.imaLog ?? null;
  if (imaMore === undefined) return unpacked(imaLog, limits.imaLogBytes) ?? before;
  if (before === null)
    throw new MigrateError("attestation", "a list of IMA's in the evidence has no beginning");
  return Buffer.concat([before, unpacked(imaMore, limits.imaLogBytes - before.length)!]);
}

function parse(json: string, path: string): Evidence {
  try {
    return v.parse(schema, JSON.parse(json));
  } catch (cause) {
    throw new MigrateError("attestation", `${path} is no evidence of migrate`, {
      cause,
      hint: "migrate history names the file of each move that was attested",
    });
  }
}

function unpacked(packed: string | undefined, mostBytes: number): Buffer | undefined {
  if (packed === undefined) return undefined;
  try {
    return gunzipSync(Buffer.from(packed, "base64"), { maxOutputLength: mostBytes });
  } catch (cause) {
    throw new MigrateError("attestation", "a log in the evidence is damaged, or too long", { cause });
  }
}
