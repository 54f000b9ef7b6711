/** `migrate attest verify`: what a host shows today, held against what was recorded, and nothing decided. */
import { type Judgement, judge } from "../../../attestation/policy/judge.ts";
import type { Policy } from "../../../attestation/policy/policy.ts";
import { readPolicy, selectionOf } from "../../../attestation/policy/policy-file.ts";
import type { PlatformState } from "../../../attestation/structures/platform-state.ts";
import { Verifier } from "../../../attestation/verifier.ts";
import { notRecorded } from "../../proofs/peer-proofs.ts";
import { type AskedHostOptions, withAskedHost } from "./asked-host.ts";

export interface Verified {
  policy: Policy;
  state: PlatformState;
  judgement: Judgement;
}

/** Throws as `withAskedHost`, "attestation" for a host without a policy here, and for a proof that is none. */
export async function verifyHost(options: AskedHostOptions): Promise<Verified> {
  return await withAskedHost(options, async ({ home, link, peer, binding }) => {
    const found = readPolicy(home, peer);
    if (found === null) throw notRecorded(peer);
    const { policy, digest } = found;
    const { state } = await new Verifier(link, binding).prove({
      ...{ selection: selectionOf(policy), policyDigest: digest, akPublic: policy.attestationKey },
      ...{ events: true, imaFrom: 0 },
    });
    return { policy, state, judgement: judge(policy, state) };
  });
}
