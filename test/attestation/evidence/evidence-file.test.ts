/** Evidence that was kept is checked again as if it came just now [ATT-6]. */
import { describe, expect, test } from "bun:test";
import { quoteBinding } from "../../../src/attestation/evidence/binding.ts";
import {
  checkEvidence,
  type Evidence,
  evidenceText,
  keptProofOf,
} from "../../../src/attestation/evidence/evidence-file.ts";
import { policyDigest, policyText } from "../../../src/attestation/policy/policy-file.ts";
import { recordPolicy } from "../../../src/attestation/policy/record.ts";
import type { PlatformState, TpmClock } from "../../../src/attestation/structures/platform-state.ts";
import { SigningTpm } from "../../support/tpm/signing-tpm.ts";

const tpm = new SigningTpm();
const exporter = Buffer.alloc(32, 0xe1);
const session = "00112233445566778899aabbccddeeff";
const [prover, verifier] = [`sha256:${"aa".repeat(32)}`, `sha256:${"bb".repeat(32)}`];
const binding = { role: "destination", exporter, prover, verifier, session, attempt: 1 } as const;
const state: PlatformState = {
  bank: "sha256",
  registers: new Map([0, 7].map((register) => [register, `${register}`.repeat(64)])),
  clock: { clockMs: 5000, resetCount: 3, restartCount: 0, safe: true },
  firmwareVersion: "02".repeat(8),
  eventLog: null,
  imaLog: null,
};
const policy = policyText(
  recordPolicy(
    state,
    {
      ...{ host: prover, name: "hostb", version: 4, writtenBy: "root@hosta" },
      writtenAt: "2026-11-30T22:00:00Z",
      endorsementKey: { digest: "ee".repeat(32), certificate: null },
      ...{ attestationKey: tpm.akPublic, tlsKeyInTpm: false },
    },
    { registers: [0, 7], byEvents: [] },
  ),
);

function proof(moment: "offer" | "release", nonce: string, change: Partial<PlatformState> = {}) {
  const shown = { ...state, ...change };
  const { quoted, signature } = tpm.quote({
    selection: { bank: "sha256", registers: [0, 7] },
    registers: shown.registers,
    clock: shown.clock,
    qualifyingData: quoteBinding(binding, nonce, policyDigest(policy)),
  });
  return keptProofOf(moment, 1_764_540_000_000, { nonce, quoted, signature, state: shown });
}

const evidenceOf = (clock: Partial<TpmClock> = {}): Evidence => ({
  ...{ evidence: "migrate attest v1", role: "destination", prover, verifier },
  ...{ exporter: exporter.toString("hex"), session, attempt: 1, policy },
  proofs: [
    proof("offer", "01".repeat(32)),
    proof("release", "02".repeat(32), { clock: { ...state.clock, clockMs: 6000, ...clock } }),
  ],
});
const check = (evidence: Evidence) => checkEvidence(evidenceText(evidence), "e.json");
const refusal = expect.objectContaining({ code: "attestation" });

test("what was proven is still proven", () => {
  const { judgements, policy: held, state: shown } = check(evidenceOf());
  expect(judgements.map(({ allowed }) => allowed)).toEqual([true, true]);
  expect(held.version).toBe(4);
  expect(shown.registers).toEqual(state.registers);
});

test("what the policy does not allow is told, and not thrown", () => {
  const evidence = evidenceOf();
  const other = new Map([...state.registers, [7, "f".repeat(64)] as const]);
  evidence.proofs.push(proof("release", "03".repeat(32), { registers: other }));
  expect(check(evidence).judgements.map(({ allowed }) => allowed)).toEqual([true, true, false]);
});

describe("refused is evidence", () => {
  const twisted: Record<string, (evidence: Evidence) => void> = {
    "of another session": (evidence) => {
      evidence.session = "ff".repeat(16);
    },
    "of another connection": (evidence) => {
      evidence.exporter = "00".repeat(32);
    },
    "of another host": (evidence) => {
      evidence.prover = verifier;
    },
    "with another policy": (evidence) => {
      evidence.policy = policy.replace("version 4", "version 5");
    },
    "with a value changed": (evidence) => {
      evidence.proofs[1]!.values[1] = "f".repeat(64);
    },
    "with a nonce changed": (evidence) => {
      evidence.proofs[0]!.nonce = "03".repeat(32);
    },
    "with a signature of another": (evidence) => {
      evidence.proofs[1]!.signature = evidence.proofs[0]!.signature;
    },
  };
  for (const [what, twist] of Object.entries(twisted))
    test(what, () => {
      const evidence = evidenceOf();
      twist(evidence);
      expect(() => check(evidence)).toThrow(refusal);
    });

  for (const [what, clock] of Object.entries({
    "of two boots": { resetCount: 4 },
    "of a host that slept in between": { restartCount: 1 },
    "of which the second was made first": { clockMs: 4999 },
  }))
    test(what, () => {
      expect(() => check(evidenceOf(clock))).toThrow(refusal);
    });

  test("that is none", () => {
    for (const text of ["", "{}", "[]", "null", '{"evidence":"migrate attest v2"}'])
      expect(() => checkEvidence(text, "e.json")).toThrow(refusal);
  });

  test("with a log that unpacks to more than a log may have", () => {
    const evidence = evidenceOf();
    evidence.proofs[0]!.eventLog = Buffer.from(Bun.gzipSync(Buffer.alloc(5 * 1024 * 1024))).toString(
      "base64",
    );
    expect(() => check(evidence)).toThrow(refusal);
  });
});
