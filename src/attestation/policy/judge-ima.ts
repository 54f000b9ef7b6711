/** Holds what IMA has measured against the files that a policy names. Pure. */
import { type ImaEntry, imaRegister } from "../logs/ima-log.ts";
import { brief } from "./differences.ts";
import type { ExplainedState, ProvenList } from "./explained-state.ts";
import { boundedFindings, type Finding, finding } from "./finding.ts";
import type { KnownFile, RegisterRule } from "./policy.ts";

type ImaRule = Extract<RegisterRule, { kind: "ima" }>;

/** What ways through a list, which may be long, have found so far. */
export interface LookedThrough {
  /** How many entries, and the last of them. */
  count: number;
  last: ImaEntry | undefined;
  /** The required digests that are there. */
  measured: Set<string>;
  /** By their words: what was run from the path of a file that the policy names, and is not that file. */
  others: Map<string, Finding>;
  violations: number;
  unread: number;
}

/** More of them are not told apart. */
const mostOthers = 1000;

/**
 * What of IMA's list, as far as the quote proves it, the rule does not allow: a required digest that is not there; at a
 * path that the policy names, another digest or one that the kernel could not take (a violation).
 * `before` is what was found in an earlier state by the same rule: where the list goes on, only what is new is looked at.
 */
export function judgeIma(
  rule: ImaRule,
  ima: ExplainedState["ima"],
  before?: LookedThrough,
): { findings: Finding[]; list?: LookedThrough } {
  if ("says" in ima) return { findings: [finding(imaRegister, null, ima.kind, true, ima.says)] };
  const { required } = rule;
  const list = lookThrough(rule, ima, before);
  const faults = [
    ...required.filter(({ digest }) => !list.measured.has(digest)).map(missing),
    ...list.others.values(),
  ];
  const found = required.filter(({ digest }) => list.measured.has(digest)).map(present);
  const findings = [...boundedFindings(faults), ...boundedFindings(found), ...remarks(ima, list)];
  return { findings, list };
}

function lookThrough(
  { required, allowed }: ImaRule,
  { proven }: ProvenList,
  before: LookedThrough | undefined,
): LookedThrough {
  const wanted = new Set(required.map(({ digest }) => digest));
  const digestsAt = new Map<string, Set<string>>();
  for (const { path, digest } of [...required, ...allowed])
    digestsAt.set(path, (digestsAt.get(path) ?? new Set()).add(digest));
  const goesOn = before !== undefined && before.count > 0 && proven[before.count - 1] === before.last;
  const list: LookedThrough = goesOn
    ? before
    : { count: 0, last: undefined, measured: new Set(), others: new Map(), violations: 0, unread: 0 };
  for (const entry of proven.slice(list.count)) {
    const { path, digest } = entry.fields();
    if (entry.violation) list.violations++;
    else if (path === null) list.unread++;
    else if (digest !== null && wanted.has(digest)) list.measured.add(digest);
    const known = path === null ? undefined : digestsAt.get(path);
    if (known === undefined || path === null || list.others.size >= mostOthers) continue;
    if (!entry.violation && digest !== null && known.has(digest)) continue;
    const other = otherContent(path, digest, entry.violation);
    list.others.set(other.words, other);
  }
  list.count = proven.length;
  list.last = proven.at(-1);
  return list;
}

function otherContent(path: string, digest: string | null, violation: boolean): Finding {
  const words = violation
    ? `${path} was written to while it was in use, so that IMA could not measure it.`
    : `IMA has measured another ${path} than the policy has: ${digest === null ? "without a digest" : brief(digest)}.`;
  return finding(imaRegister, digest, violation ? "violation" : "file-differs", true, words);
}

function missing({ digest, name, path }: KnownFile): Finding {
  const words = `IMA has not measured ${name} as the policy has it: ${path} (${brief(digest)}).`;
  return finding(imaRegister, digest, "file-missing", true, words);
}

function present({ digest, name, path }: KnownFile): Finding {
  const words = `IMA has measured ${name} as the policy has it: ${path} (${brief(digest)}).`;
  return finding(imaRegister, digest, "as-recorded", false, words);
}

/** What a person should know of the list, and the policy does not judge. */
function remarks({ proven, behind }: ProvenList, { violations, unread }: LookedThrough): Finding[] {
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
