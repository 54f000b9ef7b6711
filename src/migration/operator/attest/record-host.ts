/** `migrate attest record`: what a host has to prove from now on is what it shows today, on a person's word. */
import { hostname } from "node:os";
import type { Policy } from "../../../attestation/policy/policy.ts";
import { readPolicy, writePolicy } from "../../../attestation/policy/policy-file.ts";
import { comparePolicies } from "../../../attestation/policy/record.ts";
import { Verifier } from "../../../attestation/verifier.ts";
import { openHome } from "../../../home/home.ts";
import { MigrateError } from "../../../protocol/errors.ts";
import { Journal } from "../../journal/journal.ts";
import {
  eventRegistersOf,
  forgetSeen,
  isoSeconds,
  lookAt,
  policyOf,
  readSeen,
  registersOf,
} from "../../proofs/seen.ts";
import { type AskedHostOptions, withAskedHost } from "./asked-host.ts";

/** What would be written, and what it replaces. */
export interface Draft {
  policy: Policy;
  /** The policy that there is; null if there is none. */
  before: Policy | null;
  /** What is different from that, in words; empty if there is none. */
  changes: string[];
}

export interface RecordOptions extends AskedHostOptions {
  /** What the person calls that host. */
  name: string;
  registers?: readonly number[] | undefined;
  byEvents?: readonly number[] | undefined;
  /** Certificates (PEM) that vouch for TPMs. */
  roots?: readonly string[] | undefined;
}

/** Asks the host, and returns what would be recorded; writes nothing. Throws as `withAskedHost`, and Verifier. */
export async function draftOf(options: RecordOptions): Promise<Draft> {
  return await withAskedHost(options, async ({ home, link, peer, binding }) => {
    const found = readPolicy(home, peer);
    const registers = options.registers ?? (found === null ? undefined : registersOf(found.policy));
    const seen = await lookAt(new Verifier(link, binding), options.roots);
    const byEvents = options.byEvents ?? (found === null ? [] : eventRegistersOf(found.policy));
    const policy = policyOf(seen, {
      ...recordingOf(peer, options.name, found?.policy, home),
      registers,
      byEvents,
      before: found?.policy,
    });
    return draft(policy, found?.policy ?? null);
  });
}

/** What a source has shown when it last came here. Throws MigrateError "attestation" if it has shown nothing. */
export function draftOfSeen(path: string, host: string): Draft {
  const home = openHome(path);
  const seen = readSeen(home, host);
  if (seen === null)
    throw new MigrateError("attestation", `${host} has shown nothing here`, {
      hint: "let it try: migrate send --prove there, while migrate serve runs here with --require-attestation",
    });
  const found = readPolicy(home, host);
  if (found !== null && seen.writtenAt < found.policy.writtenAt)
    throw new MigrateError("attestation", `what ${host} has shown here is older than the policy for it`, {
      hint: "let it try once more: migrate send --prove there",
    });
  return draft({ ...seen, ...headOf(host, seen.name, found?.policy, home) }, found?.policy ?? null);
}

/** Writes the policy, which is in force from now on. Returns its version. Throws MigrateError "home-unusable". */
export function record(path: string, { policy }: Draft): number {
  const home = openHome(path);
  writePolicy(home, policy);
  const journal = Journal.open(home);
  try {
    journal.write("policy", () => journal.usePolicy(policy.host, policy.version));
  } finally {
    journal.close();
  }
  forgetSeen(home, policy.host);
  return policy.version;
}

function draft(policy: Policy, before: Policy | null): Draft {
  if (before === null) return { policy, before, changes: [] };
  const newest = policy.version - 1;
  const back =
    before.version < newest
      ? [`the policy that lies there is version ${before.version}, and version ${newest} was in use before`]
      : [];
  return { policy, before, changes: [...back, ...comparePolicies(before, policy)] };
}

/** The same as a policy has it. */
function headOf(host: string, name: string, before: Policy | undefined, home: string) {
  const { writtenAtMs, ...head } = recordingOf(host, name, before, home);
  return { ...head, writtenAt: isoSeconds(writtenAtMs) };
}

function recordingOf(host: string, name: string, before: Policy | undefined, home: string) {
  return {
    ...{ host, name },
    version: newestVersion(home, host, before) + 1,
    writtenBy: `${personHere()}@${hostname()}`,
    writtenAtMs: Date.now(),
  };
}

/** By name where the environment has it (environ(7)), else by number. */
function personHere(): string {
  const named = process.env.SUDO_USER ?? process.env.USER ?? process.env.LOGNAME ?? "";
  return /^[\w.@-]{1,64}$/.test(named) ? named : `uid-${process.getuid?.()}`;
}

/** A version that was in use is not used again, whatever lies there now. */
function newestVersion(home: string, host: string, before: Policy | undefined): number {
  const journal = Journal.open(home);
  try {
    return journal.write("policy", () => journal.usePolicy(host, before?.version ?? 0));
  } finally {
    journal.close();
  }
}
