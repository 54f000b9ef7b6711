/** Holds what IMA has measured against the files that a policy names. Pure. */
import { type ImaEntry, imaRegister } from "../logs/ima-log.ts";
import { brief } from "./differences.ts";
import type { ExplainedState } from "./explained-state.ts";
import { boundedFindings, type Finding, type FindingKind, finding } from "./finding.ts";
import type { KnownFile, RegisterRule } from "./policy.ts";

/**
 * What of IMA's list, as far as the quote proves it, the rule does not allow: a required digest that is not there; at a
 * path that the policy names, another digest or one that the kernel could not take (a violation).
 */
export function judgeIma(
  { required, allowed }: Extract<RegisterRule, { kind: "ima" }>,
  ima: ExplainedState["ima"],
): Finding[] {
  if ("says" in ima) return [finding(imaRegister, null, ima.kind, true, ima.says)];
  const { proven, behind } = ima;
  const measured = new Set(proven.map(({ digest, violation }) => (violation ? null : digest)));
  const faults = [
    ...required.filter(({ digest }) => !measured.has(digest)).map(missing),
    ...otherDigests(proven, [...required, ...allowed]),
  ];
  const found = required.filter(({ digest }) => measured.has(digest)).map(present);
  return [...boundedFindings(faults), ...boundedFindings(found), ...remarks(proven, behind)];
}

function missing({ digest, name, path }: KnownFile): Finding {
  const words = `IMA has not measured ${name} as the policy has it: ${path} (${brief(digest)}).`;
  return finding(imaRegister, digest, "file-missing", true, words);
}

function present({ digest, name, path }: KnownFile): Finding {
  const words = `IMA has measured ${name} as the policy has it: ${path} (${brief(digest)}).`;
  return finding(imaRegister, digest, "as-recorded", false, words);
}

/** What was run from the path of a file that the policy names, and is not that file. */
function otherDigests(proven: readonly ImaEntry[], files: readonly KnownFile[]): Finding[] {
  const digestsAt = new Map<string, Set<string>>();
  for (const { path, digest } of files) digestsAt.set(path, (digestsAt.get(path) ?? new Set()).add(digest));
  const faults = new Map<string, Finding>();
  for (const { path, digest, violation } of proven) {
    const known = path === null ? undefined : digestsAt.get(path);
    if (known === undefined || (digest !== null && !violation && known.has(digest))) continue;
    const kind: FindingKind = violation ? "violation" : "file-differs";
    const words = violation
      ? `${path} was written to while it was in use, so that IMA could not measure it.`
      : `IMA has measured another ${path} than the policy has: ${digest === null ? "without a digest" : brief(digest)}.`;
    faults.set(words, finding(imaRegister, digest, kind, true, words));
  }
  return [...faults.values()];
}

/** What a person should know of the list, and the policy does not judge. */
function remarks(proven: readonly ImaEntry[], behind: number): Finding[] {
  const violations = proven.filter(({ violation }) => violation).length;
  const unread = proven.filter(({ path, violation }) => path === null && !violation).length;
  const words = [
    `Register ${imaRegister}: IMA's list replays to the quoted value after ${proven.length} entries.`,
    ...(violations > 0
      ? [
          `IMA has no digest of ${violations} files, which were written to while they were in use (violations).`,
        ]
      : []),
    ...(unread > 0 ? [`${unread} entries of IMA's list are in a template that is not known here.`] : []),
  ];
  const behindWords = `${behind} entries of IMA's list came after the quote and are not proven.`;
  return [
    ...words.map((sentence) => finding(imaRegister, null, "as-recorded", false, sentence)),
    ...(behind > 0 ? [finding(imaRegister, null, "unproven", false, behindWords)] : []),
  ];
}
