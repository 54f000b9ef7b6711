/** `migrate attest check`: evidence of a move, checked again, with nothing but the file. */
import { readFileSync, statSync } from "node:fs";
import { checkEvidence, evidenceMaxBytes, type Moment } from "../../attestation/evidence/evidence-file.ts";
import { errorCodes, exitCodes, MigrateError } from "../../protocol/errors.ts";
import { printable } from "../../protocol/printable.ts";
import { defineCommand } from "../cli/define-command.ts";
import { findingLine } from "./finding-lines.ts";

const name = "migrate attest check";

const whenWords: Readonly<Record<Moment, string>> = {
  offer: "before the offer",
  start: "before its start there",
  again: "again, on the way",
  release: "before the release",
  verify: "when it was asked",
};

export default defineCommand({
  name,
  summary: "check the evidence of a move again, from its file",
  about:
    "Checks what a TPM has signed, what that was bound to, the logs, and the policy of that day, without any host being asked. migrate history --json names the files. Ends with 3 when something does not hold.",
  positionals: { names: ["FILE"], least: 1, about: ["A file with evidence"] },
  options: {},
  examples: [[`${name} /var/lib/migrate/attest/evidence/7c9e….json`, "a year later, on any host"]],
  async run({ positionals, reporter }) {
    const [path = ""] = positionals;
    const { evidence, policy, judgements } = checkEvidence(textOf(path), path);
    const last = evidence.proofs.length - 1;
    for (const [i, proof] of evidence.proofs.entries()) {
      const { allowed, findings } = judgements[i]!;
      const at = new Date(proof.atMs).toISOString();
      // Of the last one all is shown, of the others what is wrong.
      const told = findings
        .filter(({ fault }) => fault || i === last)
        .map((finding) => findingLine(finding, reporter.columns()));
      reporter.result(
        { event: "proof", moment: proof.moment, at, allowed, findings },
        [`${at}  ${allowed ? "proven" : "not as recorded"}, ${whenWords[proof.moment]}`, ...told].join("\n"),
      );
    }
    const allowed = judgements.every((judgement) => judgement.allowed);
    const { prover, verifier, role, session } = evidence;
    const when = session === "" ? "" : ` in session ${session.slice(0, 12)}`;
    reporter.result(
      { event: "checked", ...{ prover, verifier, role, session, allowed }, policy: policy.version },
      `${printable(policy.name)} (${prover}), as ${role}, ${allowed ? "has proven" : "has not proven"} to ${verifier}${when} what version ${policy.version} of its policy asks.`,
    );
    return allowed ? exitCodes.done : errorCodes.attestation;
  },
});

function textOf(path: string): string {
  try {
    const { size } = statSync(path);
    if (size > evidenceMaxBytes)
      throw new MigrateError("attestation", `${path} is longer than any evidence: ${size} bytes`);
    return readFileSync(path, "utf8");
  } catch (cause) {
    if (cause instanceof MigrateError) throw cause;
    const why = (cause as NodeJS.ErrnoException).code ?? String(cause);
    throw new MigrateError("file-unusable", `${path} cannot be read (${why})`, { cause });
  }
}
