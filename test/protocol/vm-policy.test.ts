/** The words and the digest of a VM's own policy. */
import { expect, test } from "bun:test";
import { MigrateError } from "../../src/protocol/errors.ts";
import {
  isAsTight,
  noPolicy,
  offeredOf,
  parsePolicy,
  policyDigest,
  policyIn,
  policyText,
  rulesOf,
  tightened,
} from "../../src/protocol/vm-policy.ts";
import { codeOf } from "../support/system/refusals.ts";

const both = { onlyAttested: true, noCopies: true };
const one = { onlyAttested: false, noCopies: true };

// [RULE-2]
test("the digest is over the rules that hold, as computed elsewhere", () => {
  // printf 'migrate vm policy v1\0\0\0\0\11no-copies' | sha256sum
  expect(policyDigest(one)).toBe("sha256:202d24dca0ffaf4cbf8a1d50c878c5786e6e61fdcd2132a01e3f715093b2d691");
  expect(new Set([noPolicy, one, both, { ...both, noCopies: false }].map(policyDigest)).size).toBe(4);
  expect(policyIn(offeredOf(both))).toEqual(both);
  expect(policyIn(undefined)).toEqual(noPolicy);
  expect(codeOf(() => policyIn({ ...both, digest: policyDigest(one) }))).toBe("policy");
});

test("words are read and written, and no others", () => {
  expect(parsePolicy("no-copies,attested")).toEqual(both);
  expect(rulesOf(both)).toEqual(["attested", "no-copies"]);
  expect([parsePolicy("none"), policyText(noPolicy), offeredOf(noPolicy)]).toEqual([
    noPolicy,
    null,
    undefined,
  ]);
  for (const text of ["", "no-copies,", "constructor", "none,attested"])
    expect(() => parsePolicy(text)).toThrow(MigrateError);
});

test("rules are added, and none is lost", () => {
  expect(tightened(one, { onlyAttested: true, noCopies: false })).toEqual(both);
  expect([isAsTight(one, both), isAsTight(both, one), isAsTight(noPolicy, one)]).toEqual([true, false, true]);
});
