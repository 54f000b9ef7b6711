/** `migrate attest verify`: what a host shows today, held against what was recorded, and nothing decided. */

import type { KnownProgram } from "../../../attestation/logs/programs.ts";
import { provenPrograms } from "../../../attestation/policy/explained-state.ts";
import { type Judgement, judge } from "../../../attestation/policy/judge.ts";
import { type Measured, measuredInto } from "../../../attestation/policy/measured.ts";
import type { Policy } from "../../../attestation/policy/policy.ts";
import { readPolicy, selectionOf } from "../../../attestation/policy/policy-file.ts";
import type { PlatformState } from "../../../attestation/structures/platform-state.ts";
import { Verifier } from "../../../attestation/verifier.ts";
import { Journal } from "../../journal/journal.ts";
import { notRecorded, requireNewest } from "../../proofs/peer-proofs.ts";
import { type AskedHostOptions, withAskedHost } from "./asked-host.ts";

export interface Verified {
  policy: Policy;
  state: PlatformState;
  judgement: Judgement;
  /** What was measured into each register, as far as the logs prove it. */
  measured: Measured[];
  /** The programs of a move that IMA has measured there. */
  programs: KnownProgram[];
}

/** Throws as `withAskedHost`, "attestation" for a host without a policy here, and for a proof that is none. */
export async function verifyHost(options: AskedHostOptions): Promise<Verified> {
  return await withAskedHost(options, async ({ home, link, peer, binding }) => {
    const found = readPolicy(home, peer);
    if (found === null) throw notRecorded(peer);
    const { policy, digest } = found;
    const journal = Journal.open(home);
    try {
      requireNewest(journal, peer, policy.version);
    } finally {
      journal.close();
    }
    const { state } = await new Verifier(link, binding).prove({
      ...{ selection: selectionOf(policy), policyDigest: digest, akPublic: policy.attestationKey },
      ...{ events: true, imaFrom: 0 },
    });
    return {
      policy,
      state,
      judgement: judge(policy, state),
      measured: measuredInto(state),
      programs: provenPrograms(state),
    };
  });
}
