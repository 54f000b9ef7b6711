/**
 * A VM's own policy: what may be done with it, wherever it is (SPEC.md, A VM's own policy). It travels with the VM, named
 * by a digest over all of its rules, so that who does not know one of them notices. Pure.
 */
import { createHash } from "node:crypto";
import * as v from "valibot";
import { MigrateError } from "./errors.ts";
import { digest } from "./fields.ts";

export interface VmPolicy {
  /** It goes to hosts alone that prove what they run. */
  onlyAttested: boolean;
  /** It is never copied. */
  noCopies: boolean;
}

/** What OFFER has of it. */
export const offeredPolicy = v.object({
  onlyAttested: v.optional(v.boolean()),
  noCopies: v.optional(v.boolean()),
  digest,
});
export type OfferedPolicy = v.InferOutput<typeof offeredPolicy>;

export const noPolicy: VmPolicy = { onlyAttested: false, noCopies: false };

/** The rules by the words that a person types, and that the digest is over, in the order of the alphabet. */
const words = { attested: "onlyAttested", "no-copies": "noCopies" } as const satisfies Record<
  string,
  keyof VmPolicy
>;
type Word = keyof typeof words;
const allWords = Object.keys(words) as Word[];

/** The words of the rules that hold. */
export const rulesOf = (policy: VmPolicy): Word[] => allWords.filter((word) => policy[words[word]]);

/** What a person reads of them, as the end of a sentence that begins with the VM's name; null if none holds. */
export function policyText(policy: VmPolicy): string | null {
  const texts = [
    ...(policy.onlyAttested ? ["goes to hosts alone that prove what they run"] : []),
    ...(policy.noCopies ? ["is not copied"] : []),
  ];
  return texts.length === 0 ? null : texts.join(", and ");
}

/** Reads "attested,no-copies", or "none". Throws MigrateError "usage"; its message ends a sentence that begins with the flag. */
export function parsePolicy(text: string): VmPolicy {
  const policy = { ...noPolicy };
  if (text === "none") return policy;
  for (const word of text.split(",")) {
    const rule = Object.hasOwn(words, word) ? words[word as Word] : undefined;
    if (rule === undefined)
      throw new MigrateError(
        "usage",
        `takes none, or ${allWords.join(" and ")} with a comma between, not "${text}"`,
      );
    policy[rule] = true;
  }
  return policy;
}

/** All rules of both: whoever sends a VM may add some, and takes none away. */
export const tightened = (one: VmPolicy, other: VmPolicy): VmPolicy => ({
  onlyAttested: one.onlyAttested || other.onlyAttested,
  noCopies: one.noCopies || other.noCopies,
});

/** True if `after` has every rule of `before`. */
export const isAsTight = (before: VmPolicy, after: VmPolicy): boolean =>
  rulesOf(before).every((word) => after[words[word]]);

/** SHA-256("migrate vm policy v1" 00 | for each rule that holds, in the order of the alphabet: P(its word)). */
export function policyDigest(policy: VmPolicy): string {
  const hash = createHash("sha256").update("migrate vm policy v1\0");
  for (const word of rulesOf(policy)) {
    const length = Buffer.alloc(4);
    length.writeUInt32BE(word.length);
    hash.update(length).update(word);
  }
  return `sha256:${hash.digest("hex")}`;
}

/** As OFFER carries it; undefined if no rule holds. */
export function offeredOf(policy: VmPolicy): OfferedPolicy | undefined {
  return rulesOf(policy).length === 0 ? undefined : { ...policy, digest: policyDigest(policy) };
}

/** What an offer says. Throws MigrateError "policy" if it has rules that are not known here. */
export function policyIn(offered: OfferedPolicy | undefined): VmPolicy {
  if (offered === undefined) return noPolicy;
  const { onlyAttested = false, noCopies = false } = offered;
  const policy = { onlyAttested, noCopies };
  if (policyDigest(policy) === offered.digest) return policy;
  throw new MigrateError("policy", "the VM's own policy has rules that the destination does not know");
}
