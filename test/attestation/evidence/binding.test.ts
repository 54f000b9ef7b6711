/** What a proof is bound to [ATT-2]. The digests were computed with Python's hashlib. */
import { describe, expect, test } from "bun:test";
import {
  activationProof,
  type Binding,
  enrolBinding,
  isActivationProof,
  quoteBinding,
} from "../../../src/attestation/evidence/binding.ts";

const binding: Binding = {
  role: "destination",
  exporter: Buffer.alloc(32, 0xe1),
  prover: `sha256:${"aa".repeat(32)}`,
  verifier: `sha256:${"bb".repeat(32)}`,
  session: "00112233445566778899aabbccddeeff",
  attempt: 7,
};
const nonce = "cc".repeat(32);
const policy = "dd".repeat(32);

test("a quote and an enrolment are bound as SPEC.md says", () => {
  expect(quoteBinding(binding, nonce, policy).toString("hex")).toBe(
    "47a5291b19a994f29879436cc040e565b3e98596fc4bdce7c634d1f080a3cd3d",
  );
  expect(enrolBinding({ ...binding, session: "", attempt: 0 }, nonce).toString("hex")).toBe(
    "b532140fa1973e6654a8896aaad20307aadc41ba0c9057bc0ded50d3be18e4b9",
  );
});

describe("another binding comes of", () => {
  const right = quoteBinding(binding, nonce, policy).toString("hex");
  const others: Record<string, Partial<Binding>> = {
    "the other role": { role: "source" },
    "another connection": { exporter: Buffer.alloc(32, 0xe2) },
    "another prover": { prover: `sha256:${"ab".repeat(32)}` },
    "another verifier": { verifier: `sha256:${"ab".repeat(32)}` },
    "the two exchanged": { prover: binding.verifier, verifier: binding.prover },
    "another session": { session: "00112233445566778899aabbccddeefe" },
    "no session": { session: "" },
    "another attempt": { attempt: 8 },
  };
  for (const [what, change] of Object.entries(others))
    test(what, () => {
      expect(quoteBinding({ ...binding, ...change }, nonce, policy).toString("hex")).not.toBe(right);
    });

  test("another nonce, another policy, and an enrolment", () => {
    expect(quoteBinding(binding, "cd".repeat(32), policy).toString("hex")).not.toBe(right);
    expect(quoteBinding(binding, nonce, "de".repeat(32)).toString("hex")).not.toBe(right);
    expect(enrolBinding(binding, nonce).toString("hex")).not.toBe(right);
  });
});

test("an activation is proven by the credential's secret alone, for one enrolment alone", () => {
  const [secret, enrolment] = [Buffer.alloc(32, 1), Buffer.alloc(32, 2)];
  const proof = activationProof(secret, enrolment);
  expect(isActivationProof(proof, secret, enrolment)).toBe(true);
  expect(isActivationProof(proof, Buffer.alloc(32, 3), enrolment)).toBe(false);
  expect(isActivationProof(proof, secret, Buffer.alloc(32, 4))).toBe(false);
  expect(isActivationProof(proof.slice(0, 62), secret, enrolment)).toBe(false);
});
