/** `migrate attest verify`: what a host runs now, held against what was recorded. */
import type { Finding } from "../../attestation/policy/judge.ts";
import { verifyHost } from "../../migration/operator/attest/verify-host.ts";
import { errorCodes, exitCodes } from "../../protocol/errors.ts";
import { printable } from "../../protocol/printable.ts";
import { readValue, usageErrors } from "../cli/arguments.ts";
import { homeOf, passphraseFrom, passphraseOptions } from "../cli/context.ts";
import { defineCommand } from "../cli/define-command.ts";
import { calledHost, openHost } from "../cli/ssh-host.ts";
import { findingLine, measuredLines, programLine } from "./finding-lines.ts";

const name = "migrate attest verify";

export default defineCommand({
  name,
  summary: "show what a host runs now, and what has changed since it was recorded",
  about:
    "Each register of the policy, what was measured into it, and what is different. Ends with 0 when the policy allows all of it, with 3 when it does not.",
  positionals: {
    names: ["HOST:PORT"],
    least: 1,
    about: ["Where migrate serve --attest runs, or ssh://[USER@]HOST"],
  },
  options: passphraseOptions,
  examples: [[`${name} 192.0.2.7:7600`, "before a window for maintenance"]],
  async run({ options, positionals, world, reporter }) {
    const [where = ""] = positionals;
    const home = homeOf(world);
    const called = readValue("HOST:PORT", () => calledHost(where), usageErrors(name));
    const passphrase = passphraseFrom(world, options.passphraseFile);
    const there = openHost(called, { home, passphrase, attest: true }, { world, reporter });
    try {
      const { policy, state, judgement, measured, programs } = await verifyHost({
        home,
        ...{ address: there.address, way: there.way, passphrase },
        notice: (message) => reporter.note(message),
      });
      const untold = new Map(measured.map((one) => [one.register, one]));
      for (const finding of judgement.findings) {
        const into = untold.get(finding.register ?? -1);
        untold.delete(finding.register ?? -1);
        const lines = [findingLine(finding, reporter.columns()), ...measuredLines(into, reporter.columns())];
        reporter.result({ event: "finding", ...finding, measured: into?.words ?? [] }, lines.join("\n"));
      }
      for (const program of programs)
        reporter.result({ event: "program", ...program }, programLine(program, reporter.columns()));
      const wrong = judgement.findings.filter(({ fault }: Finding) => fault).length;
      const { version, host, name: known } = policy;
      reporter.result(
        { event: "verified", host, name: known, version, allowed: judgement.allowed, ...state.clock },
        judgement.allowed
          ? `${printable(known)} is as version ${version} of its policy has it.`
          : `${printable(known)} is not as version ${version} of its policy has it: ${wrong} ${wrong === 1 ? "difference" : "differences"}.`,
      );
      return judgement.allowed ? exitCodes.done : errorCodes.attestation;
    } finally {
      await there.close();
    }
  },
});
