/** What was found in a platform's state, as lines for a terminal. */
import type { Finding } from "../../attestation/policy/judge.ts";
import { printable } from "../../protocol/printable.ts";
import { padEnd, wrapped } from "../../terminal/line.ts";

/** Where the sentences begin. */
const indent = 10;

/** One finding: whether it is as it should be, and what it is. */
export function findingLine({ fault, kind, words }: Finding, columns: number): string {
  const state = fault ? "differs" : kind === "as-recorded" ? "ok" : "note";
  const [first = "", ...rest] = wrapped(printable(words), Math.max(20, columns - indent));
  return [`${padEnd(state, indent)}${first}`, ...rest.map((line) => " ".repeat(indent) + line)].join("\n");
}
