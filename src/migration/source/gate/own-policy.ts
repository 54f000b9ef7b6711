/**
 * A VM's own policy at the source: what its vm.json says, and what the person who sends it adds. Nobody loosens it on the
 * way; that is done where the VM lies (`migrate vm-policy`).
 */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { MigrateError } from "../../../protocol/errors.ts";
import { manifestName } from "../../../protocol/names.ts";
import { isAsTight, noPolicy, rulesOf, tightened, type VmPolicy } from "../../../protocol/vm-policy.ts";
import { policyOfManifest, readManifest } from "../../../vm/folder/manifest.ts";
import type { SessionRecord } from "../../journal/journal.ts";
import type { Mode } from "../../ownership/phases.ts";
import type { Facts } from "../../providers/departure.ts";

/** What `kept` of a source has, whatever the provider. */
interface KeptPolicy {
  vmPolicy?: VmPolicy;
}

/** The policy with which a session sends its VM. */
export function policyOf({ kept }: Pick<SessionRecord, "kept">): VmPolicy {
  return (kept as KeptPolicy | null)?.vmPolicy ?? noPolicy;
}

/**
 * The VM, with the rules that its vm.json and the person give it, as the journal is to keep it. Throws MigrateError
 * "policy" for a copy of a VM that is not copied, and "vm-invalid" if vm.json cannot be read.
 */
export function withPolicy<T extends Facts>(facts: T, mode: Mode, added: VmPolicy = noPolicy): T {
  const policy = tightened(policyBeside(facts), added);
  if (rulesOf(policy).length === 0) return facts;
  if (policy.noCopies && mode === "copy") {
    throw new MigrateError("policy", `${facts.name} is not copied: its own policy says so`, {
      side: "source",
      hint: "Move it. Or loosen its policy here, where it lies: migrate vm-policy.",
    });
  }
  return { ...facts, kept: { side: "source", ...facts.kept, vmPolicy: policy } };
}

/** True if a session that was begun goes on with the policy that the VM has now. */
export function hasSamePolicy(record: SessionRecord, facts: Facts, added: VmPolicy = noPolicy): boolean {
  const now = tightened(policyBeside(facts), added);
  const then = policyOf(record);
  return isAsTight(now, then) && isAsTight(then, now);
}

function policyBeside({ folder }: Pick<Facts, "folder">): VmPolicy {
  const path = folder === null ? null : join(folder, manifestName);
  if (path === null || !existsSync(path)) return noPolicy;
  return policyOfManifest(readManifest(path));
}

/** What a destination has shown of itself before the offer. */
export interface Shown {
  /** It knows that a VM can have a policy (WELCOME's `policies`). */
  knowsPolicies: boolean;
  /** It has proven what it runs, on this connection. */
  attested: boolean;
}

/**
 * To be asked before anything of the VM, its name among it, is told to a destination. Throws MigrateError "version" if
 * that would not keep to the VM's policy, and "attestation" if it has not proven what the policy wants proven.
 */
export function requirePolicyKept(
  record: Pick<SessionRecord, "name" | "kept">,
  { knowsPolicies, attested }: Shown,
): void {
  const policy = policyOf(record);
  if (rulesOf(policy).length === 0) return;
  if (!knowsPolicies) {
    throw new MigrateError(
      "version",
      `${record.name} has a policy of its own (${rulesOf(policy).join(", ")}), and the destination is of a version that does not know such`,
      { side: "source", hint: "Bring migrate there to this host's version." },
    );
  }
  if (!policy.onlyAttested || attested) return;
  throw new MigrateError(
    "attestation",
    `${record.name} goes to hosts alone that prove what they run, and the destination has not done so`,
    {
      side: "source",
      hint: "Its own policy says so. Have the destination attest, or loosen the policy here, where the VM lies: migrate vm-policy.",
    },
  );
}
