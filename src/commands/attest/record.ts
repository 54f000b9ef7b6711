/** `migrate attest record`: what a host has to prove from now on. */
import { readFileSync } from "node:fs";
import type { Policy } from "../../attestation/policy/policy.ts";
import { policyPath, policyText } from "../../attestation/policy/policy-file.ts";
import { parseRegisters } from "../../attestation/structures/pcr-selection.ts";
import { parseFingerprint } from "../../channel/fingerprint.ts";
import { parseTicket } from "../../channel/ticket.ts";
import { type Draft, draftOf, draftOfSeen, record } from "../../migration/operator/attest/record-host.ts";
import { MigrateError } from "../../protocol/errors.ts";
import { printable } from "../../protocol/printable.ts";
import type { Reporter } from "../../terminal/reporter.ts";
import { flagOf, readValue, usageErrors } from "../cli/arguments.ts";
import { confirmed, homeOf, passphraseFrom, passphraseOptions, type World } from "../cli/context.ts";
import { defineCommand } from "../cli/define-command.ts";
import { optional, toggle } from "../cli/option.ts";
import { calledHost, openHost } from "../cli/ssh-host.ts";
import { ticketFrom, ticketOptions } from "../cli/ticket-input.ts";
import { remarksOn } from "./remarks.ts";

const name = "migrate attest record";

export default defineCommand({
  name,
  summary: "record what a host runs today, as what it has to prove from now on",
  about:
    "For when that host is known to be good. Asks it for the keys of its TPM and for its state, shows both, asks, and writes a policy file that a person can read and change. With the fingerprint of a source in place of HOST:PORT it takes what that source showed when it last came to migrate serve --require-attestation.",
  positionals: {
    names: ["HOST:PORT"],
    least: 1,
    about: ["Where migrate serve --attest runs, or ssh://[USER@]HOST; or the fingerprint of a source"],
  },
  options: {
    yes: toggle("Do not ask"),
    update: toggle("There is a policy for it: show what has changed, and record that"),
    pcrs: optional(
      "LIST",
      "Registers to record: 0-7,14 (default: 0, 2, 4, 7, and of 8, 9, 10, 12 and 14 those in use; or those of the policy that there is)",
      parseRegisters,
    ),
    byEvents: optional(
      "LIST",
      "Of these record which events may be measured, in place of the value: the order is then free",
      parseRegisters,
    ),
    ekRoots: optional(
      "FILE",
      "Certificates (PEM) of makers of TPMs that you trust: the TPM's own must lead to one",
    ),
    ...ticketOptions,
    ...passphraseOptions,
  },
  examples: [
    [`${name} 192.0.2.7:7600`, "shows what it runs, and asks"],
    [`${name} 192.0.2.7:7600 --update --yes`, "after an update of that host, in a script"],
  ],
  async run({ options, positionals, world, reporter }) {
    const [where = ""] = positionals;
    const home = homeOf(world);
    const host = parseFingerprint(where);
    const flag = (["pcrs", "byEvents", "ekRoots"] as const).find((one) => options[one] !== undefined);
    if (host !== null && flag !== undefined)
      throw usageErrors(name)(
        `${flagOf(flag)} is about a host that is asked, and a fingerprint names what a source has shown already`,
        "Leave it out, and change the policy file that is written.",
      );
    const draft = host === null ? await asked(where, options, world, reporter) : draftOfSeen(home, host);
    const { policy, before, changes } = draft;
    if (before !== null && !options.update)
      throw new MigrateError(
        "policy",
        `there is a policy for ${before.name} already, version ${before.version}`,
        {
          hint: `migrate attest verify ${where} holds it against that; --update records what has changed`,
        },
      );
    if (before !== null && changes.length === 0) {
      reporter.result(
        { event: "unchanged", host: policy.host, name: before.name, version: before.version },
        `${printable(before.name)} is as version ${before.version} of its policy has it.`,
      );
      return undefined;
    }
    for (const line of before === null ? seenLines(policy) : changes) reporter.aside(printable(line));
    const remarks = remarksOn(policy);
    for (const remark of remarks) reporter.note(printable(remark));
    if (!options.yes && !(await confirmed(world, question(draft)))) {
      reporter.result({ event: "kept", host: policy.host, changed: false }, "Nothing is recorded.");
      return undefined;
    }
    const version = record(home, draft);
    reporter.result(
      {
        event: "recorded",
        host: policy.host,
        name: policy.name,
        version,
        path: policyPath(home, policy.host),
        changes,
      },
      `Recorded, as version ${version}: ${policyPath(home, policy.host)}`,
    );
    return undefined;
  },
});

type Options = Parameters<typeof ticketFrom>[1] & {
  passphraseFile: string | undefined;
  pcrs: readonly number[] | undefined;
  byEvents: readonly number[] | undefined;
  ekRoots: string | undefined;
};

async function asked(where: string, options: Options, world: World, reporter: Reporter): Promise<Draft> {
  const refuse = usageErrors(name);
  const home = homeOf(world);
  const called = readValue("HOST:PORT", () => calledHost(where), refuse);
  const passphrase = passphraseFrom(world, options.passphraseFile);
  const ticketText = await ticketFrom(world, options);
  const there = openHost(called, { home, passphrase, attest: true }, { world, reporter });
  try {
    return await draftOf({
      home,
      ...{ address: there.address, way: there.way, passphrase },
      ...(ticketText === undefined ? {} : { ticket: parseTicket(ticketText) }),
      notice: (message) => reporter.note(message),
      name: where,
      ...{ registers: options.pcrs, byEvents: options.byEvents },
      roots: options.ekRoots === undefined ? [] : certificatesIn(options.ekRoots),
    });
  } finally {
    await there.close();
  }
}

/** As the policy file has it, without what only explains the file. */
function seenLines(policy: Policy): string[] {
  return policyText(policy)
    .split("\n")
    .filter((line) => line !== "" && !line.startsWith("#"));
}

function question({ policy, before }: Draft): string {
  return before === null
    ? `Is this what ${printable(policy.name)} has to prove from now on?`
    : `Is this what ${printable(policy.name)} has to prove from now on, in place of version ${before.version}?`;
}

/** The certificates of a PEM file (RFC 7468). Throws MigrateError "file-unusable". */
function certificatesIn(path: string): string[] {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (cause) {
    const why = (cause as NodeJS.ErrnoException).code ?? String(cause);
    throw new MigrateError("file-unusable", `${path} cannot be read (${why})`, { cause });
  }
  const found = text.match(/-----BEGIN CERTIFICATE-----[\s\S]+?-----END CERTIFICATE-----/g) ?? [];
  if (found.length === 0)
    throw new MigrateError("file-unusable", `there is no certificate in ${path}`, {
      hint: "it must hold one or more in PEM, each between BEGIN CERTIFICATE and END CERTIFICATE",
    });
  return found;
}
