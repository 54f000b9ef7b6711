/** What rests on a person's word is said before they give it. */
import { expect, test } from "bun:test";
import type { Policy } from "../../../src/attestation/policy/policy.ts";
import { remarksOn } from "../../../src/commands/attest/remarks.ts";

const zero = { kind: "value", values: ["0".repeat(64)], seen: [] } as const;
const measured = { kind: "value", values: ["7".repeat(64)], seen: [] } as const;
const good: Policy = {
  ...{ host: `sha256:${"aa".repeat(32)}`, name: "hostb", version: 1, writtenBy: "root", bank: "sha256" },
  writtenAt: "2026-11-30T22:00:00Z",
  endorsementKey: { digest: "ee".repeat(32), certificate: { issuer: "CN=Maker", chainChecked: true } },
  ...{ attestationKey: Buffer.alloc(1), tlsKeyInTpm: true },
  registers: new Map([
    [0, zero],
    [7, measured],
  ]),
};

test("nothing is said where a maker vouches, something was measured, and the TPM made the key", () => {
  expect(remarksOn(good)).toEqual([]);
});

test("registers into which nothing was measured are told to say nothing", () => {
  expect(remarksOn({ ...good, registers: new Map([[0, zero]]) })).toEqual([
    expect.stringMatching(/^Nothing was measured/),
  ]);
});

test("a TPM that nobody vouches for, and a key in a file, are named", () => {
  const { digest } = good.endorsementKey;
  const unchecked = { issuer: "CN=Somebody", chainChecked: false };
  expect(remarksOn({ ...good, endorsementKey: { digest, certificate: null } })).toEqual([
    expect.stringMatching(/no certificate of a maker/),
  ]);
  expect(remarksOn({ ...good, endorsementKey: { digest, certificate: unchecked } })).toEqual([
    expect.stringMatching(/CN=Somebody.*--ek-roots/),
  ]);
  expect(remarksOn({ ...good, tlsKeyInTpm: false })).toEqual([expect.stringMatching(/lies in a file/)]);
});
