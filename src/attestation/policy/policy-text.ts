/**
 * A policy as the text that a person edits: a word and its value on each line, and what belongs to a register indented
 * below it. policy-reader.ts reads it. Pure.
 */
import { createHash } from "node:crypto";
import type { HostKeys, KnownEvent, KnownFile, Policy, RegisterRule } from "./policy.ts";

export const policyFormat = 1;

/** A policy as this program writes it. readPolicyText of policy-reader.ts reads the same policy from it. */
export function policyText(policy: Policy): string {
  const { endorsementKey: ek } = policy;
  const head = [
    `# What ${policy.name} has to prove of its state before a VM goes there, or is taken from there.`,
    `# See "The policy file" in docs/operating.md. Give it a higher version with each change: an older one is then refused.`,
    "",
    `format ${policyFormat}`,
    `host ${policy.host} ${policy.name}`,
    `version ${policy.version}`,
    `written-at ${policy.writtenAt}`,
    `written-by ${policy.writtenBy}`,
    "",
    `endorsement-key sha256:${ek.digest}`,
    `endorsement-certificate ${certificateText(ek.certificate)}`,
    `attestation-key ${policy.attestationKey.toString("base64")}`,
    `tls-key ${policy.tlsKeyInTpm ? "in-tpm" : "on-disk"}`,
    "",
    `bank ${policy.bank}`,
  ];
  const rules = [...policy.registers].flatMap(([register, rule]) => ["", ...ruleLines(register, rule)]);
  return `${[...head, ...rules].join("\n")}\n`;
}

/** SHA-256 of the text's bytes, lower-case hex: what a quote is made over, so that a prover knows what it is held to. */
export function policyDigest(text: string): string {
  return createHash("sha256").update(text, "utf8").digest("hex");
}

function certificateText(certificate: HostKeys["endorsementKey"]["certificate"]): string {
  if (certificate === null) return "none";
  return `${certificate.chainChecked ? "checked" : "unchecked"} ${certificate.issuer}`;
}

function ruleLines(register: number, rule: RegisterRule): string[] {
  if (rule.kind === "ignore") return [`ignore ${register} ${rule.why}`];
  if (rule.kind === "value")
    return [
      `register ${register} value`,
      ...rule.values.map((value) => `  is ${value}`),
      ...rule.seen.map(eventLine("seen")),
    ];
  const head = `register ${register} ${rule.kind}`;
  return rule.kind === "events"
    ? [head, ...rule.required.map(eventLine("require")), ...rule.allowed.map(eventLine("allow"))]
    : [head, ...rule.required.map(fileLine("require")), ...rule.allowed.map(fileLine("allow"))];
}

const eventLine = (word: string) => (event: KnownEvent) => `  ${word} ${event.digest} ${event.words}`;
const fileLine = (word: string) => (file: KnownFile) => `  ${word} ${file.digest} ${file.name} ${file.path}`;
