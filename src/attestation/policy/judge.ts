/** Holds what a platform has shown of its state against the policy for that host. Pure. */
import type { PlatformState } from "../structures/platform-state.ts";
import { brief, differences } from "./differences.ts";
import { type ExplainedState, explainState, isUntouched } from "./explained-state.ts";
import { boundedFindings, type Finding, finding } from "./finding.ts";
import { judgeIma, type LookedThrough } from "./judge-ima.ts";
import type { KnownEvent, Policy, RegisterRule } from "./policy.ts";

export type { Finding, FindingKind } from "./finding.ts";

export interface Judgement {
  /** No finding is a fault. */
  allowed: boolean;
  /** In the order of registers, those about none first. */
  findings: Finding[];
}

/**
 * Whether the policy allows the state, and why. The values in `state.registers` are taken as what was quoted; that the
 * quote is good, fresh and of the policy's attestation key is for its caller to see to, as are clock and keys.
 * A log that is there is held to what it says, whether or not the policy needs it, unless none was good when it was
 * recorded. Never throws for what the logs hold.
 */
export function judge(policy: Policy, state: PlatformState): Judgement {
  return new Judge(policy).judge(state);
}

/** As `judge`, for one platform that shows its state again and again: of logs that go on only what is new is read. */
export class Judge {
  readonly #policy: Policy;
  #explained: ExplainedState | undefined;
  #list: LookedThrough | undefined;

  constructor(policy: Policy) {
    this.#policy = policy;
  }

  judge(state: PlatformState): Judgement {
    const { bank, registers } = this.#policy;
    if (bank !== state.bank) {
      const words = `The policy is about bank ${bank}; what came is of ${state.bank}.`;
      return judgementOf([finding(null, null, "bank-differs", true, words)]);
    }
    this.#explained = explainState(state, this.#explained);
    const findings: Finding[] = [];
    const { eventLogFault } = this.#explained;
    if (eventLogFault !== null)
      findings.push(finding(null, null, "log-broken", reliesOnEvents(this.#policy), eventLogFault));
    for (const [register, rule] of registers)
      findings.push(...this.#register(register, rule, state, this.#explained));
    for (const [register, value] of state.registers) {
      if (registers.has(register)) continue;
      const holds = isUntouched(state, register)
        ? "nothing was measured into it"
        : `it holds ${brief(value)}`;
      const words = `Register ${register} is not in the policy and was not judged: ${holds}.`;
      findings.push(finding(register, value, "not-judged", false, words));
    }
    return judgementOf(findings.sort((a, b) => (a.register ?? -1) - (b.register ?? -1)));
  }

  #register(
    register: number,
    rule: RegisterRule,
    state: PlatformState,
    explained: ExplainedState,
  ): Finding[] {
    if (rule.kind === "ignore") {
      const words = `Register ${register} is ignored, as the policy says: ${rule.why}.`;
      return [finding(register, null, "ignored", false, words)];
    }
    const value = state.registers.get(register);
    if (value === undefined) {
      const words = `Register ${register} was not quoted, but the policy needs it.`;
      return [finding(register, null, "not-quoted", true, words)];
    }
    if (rule.kind === "value") return judgeValue(register, rule, value, state, explained);
    if (rule.kind === "events") return judgeEvents(register, rule, value, state, explained);
    const { findings, list } = judgeIma(rule, explained.ima, this.#list);
    this.#list = list;
    return findings;
  }
}

/** Whether the log was good when this was recorded. Some firmware writes none that is, and has registers all the same. */
function reliesOnEvents({ registers }: Policy): boolean {
  return [...registers.values()].some(
    (rule) => rule.kind === "events" || (rule.kind === "value" && rule.seen.length > 0),
  );
}

function judgementOf(findings: Finding[]): Judgement {
  return { allowed: findings.every(({ fault }) => !fault), findings };
}

function judgeValue(
  register: number,
  { values, seen }: Extract<RegisterRule, { kind: "value" }>,
  value: string,
  state: PlatformState,
  explained: ExplainedState,
): Finding[] {
  const now = explained.eventsOf(register);
  const findings: Finding[] = [];
  // A value that no log explained when it was recorded need not be explained now; one that was, is.
  if (state.eventLog !== null && explained.eventLogFault === null && now === null && seen.length > 0)
    findings.push(logDiffers(register));
  if (values.includes(value))
    return [
      finding(register, value, "as-recorded", false, `Register ${register} holds what the policy has.`),
      ...findings,
    ];
  const expected = values.map(brief).join(" or ");
  const changes = now === null || seen.length === 0 ? [] : differences(seen, now);
  const why = changes.length === 0 ? "" : `; ${changes.join("; ")}`;
  const words = `Register ${register} holds ${brief(value)}, the policy has ${expected}${why}.`;
  return [finding(register, value, "value-differs", true, words), ...findings];
}

function judgeEvents(
  register: number,
  { required, allowed }: Extract<RegisterRule, { kind: "events" }>,
  value: string,
  state: PlatformState,
  explained: ExplainedState,
): Finding[] {
  if (state.eventLog === null) {
    const words = `The policy judges register ${register} by its events, and there is no firmware's log.`;
    return [finding(register, value, "log-missing", true, words)];
  }
  // What is wrong with the log as a whole is a finding already.
  if (explained.eventLogFault !== null) return [];
  const now = explained.eventsOf(register);
  if (now === null) return [logDiffers(register)];
  const known = new Set([...required, ...allowed].map(({ digest }) => digest));
  const measured = new Set(now.map(({ digest }) => digest));
  const unknown = once(now).filter(({ digest }) => !known.has(digest));
  const missing = required.filter(({ digest }) => !measured.has(digest));
  const faults = [
    ...unknown.map(({ digest, words }) =>
      finding(
        register,
        digest,
        "event-unknown",
        true,
        `Measured into register ${register} and not in the policy: ${words} (${brief(digest)}).`,
      ),
    ),
    ...missing.map(({ digest, words }) =>
      finding(
        register,
        digest,
        "event-missing",
        true,
        `The policy requires in register ${register}, and it was not measured: ${words} (${brief(digest)}).`,
      ),
    ),
  ];
  if (faults.length === 0) {
    const words = `Register ${register}: each of ${now.length} events that were measured is in the policy.`;
    return [finding(register, value, "as-recorded", false, words)];
  }
  return boundedFindings(faults);
}

function logDiffers(register: number): Finding {
  const words = `The firmware's log does not give the quoted value of register ${register}: something is left out of it, added or changed.`;
  return finding(register, null, "log-differs", true, words);
}

function once(events: readonly KnownEvent[]): KnownEvent[] {
  return [...new Map(events.map((event) => [event.digest, event])).values()];
}
