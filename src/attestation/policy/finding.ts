/** One thing that judging a state has found. Pure. */

export type FindingKind =
  /** As the policy has it: a register's value, its events, or a file that IMA measured. */
  | "as-recorded"
  | "value-differs"
  | "event-unknown"
  | "event-missing"
  | "file-missing"
  | "file-differs"
  | "violation"
  | "not-quoted"
  | "not-judged"
  | "ignored"
  | "log-missing"
  | "log-broken"
  | "log-differs"
  | "unproven"
  | "bank-differs";

export interface Finding {
  /** Null if it is about no register. */
  register: number | null;
  /** Of the event or the file, or the register's value; null if it is about none. */
  digest: string | null;
  kind: FindingKind;
  /** Whether the state is not allowed because of it. */
  fault: boolean;
  /** One printable sentence: what was expected, what came, which event explains it. */
  words: string;
}

export function finding(
  register: number | null,
  digest: string | null,
  kind: FindingKind,
  fault: boolean,
  words: string,
): Finding {
  return { register, digest, kind, fault, words };
}

/** A hostile log has thousands of events; a person needs a dozen. */
const mostShown = 12;

/** The first of these, and one that counts the others. */
export function boundedFindings(findings: readonly Finding[]): Finding[] {
  const next = findings[mostShown];
  if (next === undefined) return [...findings];
  const words = `Register ${next.register}: ${findings.length - mostShown} more like these.`;
  return [...findings.slice(0, mostShown), { ...next, digest: null, words }];
}
