/**
 * The policy files of a home: HOME/attest/<64 hex digits of a host's fingerprint>.policy, one a host. What is in one
 * decides where VMs may go, so it is this user's alone, and replaced whole or not at all.
 */
import { chmodSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { homeFileMaxBytes, readHomeFile, replaceHomeFile } from "../../home/home-file.ts";
import { MigrateError } from "../../protocol/errors.ts";
import type { PcrSelection } from "../structures/platform-state.ts";
import type { Policy } from "./policy.ts";
import { readPolicyText } from "./policy-reader.ts";
import { policyDigest, policyText } from "./policy-text.ts";

export type { HostKeys, KnownEvent, KnownFile, Policy, RegisterRule } from "./policy.ts";
export { policyDigest, policyText } from "./policy-text.ts";

/**
 * The policy in a file's text. `path` is for the sentence alone.
 * @throws MigrateError "home-unusable" naming the file, the line and what is wrong with it.
 */
export function parsePolicy(text: string, path: string): Policy {
  const policy = readPolicyText(text);
  if (!("says" in policy)) return policy;
  const { line, says } = policy;
  throw unusable(`${path}${line > 0 ? `, line ${line},` : ""} ${says}.`);
}

/** Where the policy of the host with this fingerprint ("sha256:" and 64 hex digits) lies. */
export function policyPath(home: string, fingerprint: string): string {
  return join(home, "attest", `${fingerprint.replace(/^sha256:/, "")}.policy`);
}

/**
 * The policy for this host, the text of its file, and the digest of that; null if there is none.
 * @throws MigrateError "home-unusable" if the file cannot be read, can be written by others, is about another host, or
 *   has a line that cannot be read.
 */
export function readPolicy(
  home: string,
  fingerprint: string,
): { policy: Policy; digest: string; text: string } | null {
  const path = policyPath(home, fingerprint);
  const text = readHomeFile(path, 0o022);
  if (text === null) return null;
  const policy = parsePolicy(text, path);
  if (policy.host !== fingerprint)
    throw unusable(`${path} is about another host than the one that it is named after (${policy.host}).`);
  return { policy, digest: policyDigest(text), text };
}

/**
 * Puts the policy in the place of the one for its host, if there is one, and returns its digest. Whoever calls it sees to
 * the version.
 * @throws MigrateError "home-unusable"; "limit" if it is too long; "bug" if what is written could not be read again.
 */
export function writePolicy(home: string, policy: Policy): string {
  const path = policyPath(home, policy.host);
  const text = policyText(policy);
  if (Buffer.byteLength(text) > homeFileMaxBytes)
    throw new MigrateError(
      "limit",
      `The policy for ${policy.name} would be longer than ${homeFileMaxBytes} bytes.`,
      {
        hint: "Record fewer registers.",
      },
    );
  const again = readPolicyText(text);
  if ("says" in again)
    throw new MigrateError("bug", `A policy was made that cannot be read: line ${again.line} ${again.says}`);
  makeAttestFolder(home);
  replaceHomeFile(path, text);
  return policyDigest(text);
}

/** The registers that a quote is asked for: those that the policy judges. */
export function selectionOf({ bank, registers }: Policy): PcrSelection {
  const judged = [...registers].filter(([, rule]) => rule.kind !== "ignore").map(([register]) => register);
  return { bank, registers: judged.sort((a, b) => a - b) };
}

/** Which logs the policy cannot be judged without. */
export function wantsLogs({ registers }: Policy): { events: boolean; ima: boolean } {
  const kinds = [...registers.values()].map(({ kind }) => kind);
  return { events: kinds.includes("events"), ima: kinds.includes("ima") };
}

/** Makes the folder of what is about other hosts' state, closed to others, and folders in it. Throws MigrateError "home-unusable". */
export function makeAttestFolder(home: string, ...within: string[]): string {
  const path = join(home, "attest", ...within);
  try {
    mkdirSync(path, { recursive: true, mode: 0o700 });
    chmodSync(path, 0o700);
    return path;
  } catch (cause) {
    const code = (cause as NodeJS.ErrnoException).code ?? "unknown error";
    throw new MigrateError("home-unusable", `The folder ${path} cannot be made (${code}).`, {
      hint: "Move away what stands there.",
      cause,
    });
  }
}

function unusable(sentence: string): MigrateError {
  return new MigrateError("home-unusable", sentence, {
    hint: 'Mend that line ("The policy file" in docs/operating.md shows the form), or move the file away, and run migrate attest record again.',
  });
}
