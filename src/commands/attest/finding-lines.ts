/** What was found in a platform's state, as lines for a terminal. */
import type { KnownProgram } from "../../attestation/logs/programs.ts";
import type { Finding } from "../../attestation/policy/judge.ts";
import type { Measured } from "../../attestation/policy/measured.ts";
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

/** What was measured into a register, as far as the logs prove it: below its finding. */
export function measuredLines(measured: Measured | undefined, columns: number): string[] {
  return (measured?.words ?? []).flatMap((words) => hanging(`- ${printable(words)}`, columns));
}

/** A program of a move that IMA has measured there, with the digest of what it is. */
export function programLine({ name, path, digest }: KnownProgram, columns: number): string {
  const [first = "", ...rest] = hanging(`${name}: ${printable(path)}, ${digest}`, columns);
  return [`${padEnd("runs", indent)}${first.trimStart()}`, ...rest].join("\n");
}

function hanging(text: string, columns: number): string[] {
  return wrapped(text, Math.max(20, columns - indent - 2)).map(
    (line, i) => " ".repeat(indent + (i > 0 ? 2 : 0)) + line,
  );
}
