/** What a policy says beside its registers, for tests that are not about that. */
import type { PolicyHead } from "../../../src/attestation/policy/record.ts";

export const policyHead: PolicyHead = {
  host: `sha256:${"ab".repeat(32)}`,
  name: "hostb",
  version: 1,
  writtenBy: "root@hosta",
  writtenAt: "2026-11-30T22:00:00Z",
  endorsementKey: { digest: "cd".repeat(32), certificate: { issuer: "CN=A maker", chainChecked: true } },
  attestationKey: Buffer.from("0023000b00050072", "hex"),
  tlsKeyInTpm: true,
};
