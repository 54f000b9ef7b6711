/** What a policy allows of a state, and in which words it says what it does not. */
import { describe, expect, test } from "bun:test";
import { judge } from "../../../src/attestation/policy/judge.ts";
import { parsePolicy, policyText } from "../../../src/attestation/policy/policy-file.ts";
import { recordPolicy, usualRegisters } from "../../../src/attestation/policy/record.ts";
import { logVector, stateOf } from "../../support/attestation/log-vector.ts";
import { policyHead } from "../../support/attestation/policy-head.ts";

const state = stateOf(logVector("secure-boot"), logVector("ima-sig"));

describe("a policy that was recorded of a state", () => {
  test("allows that state, also once it was written and read", () => {
    const policy = recordPolicy(state, policyHead, { registers: usualRegisters(state), byEvents: [4, 8] });
    const { findings, allowed } = judge(parsePolicy(policyText(policy), "hostb.policy"), state);
    expect(findings.filter(({ fault }) => fault)).toEqual([]);
    expect(allowed).toBe(true);
    expect([...policy.registers.keys()]).toEqual([0, 2, 4, 7, 8, 9, 10, 14]);
  });
});
