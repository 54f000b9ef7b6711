/** How a new policy differs from the one that it replaces, in words that a person decides by. Pure. */
import { brief, differences, ruled } from "./differences.ts";
import type { KnownEvent, KnownFile, Policy, RegisterRule } from "./policy.ts";

/**
 * A sentence for each difference, without a full stop; [] if both allow the same states of the same keys. Version, writer
 * and time are not compared. Each is one printable line.
 */
export function comparePolicies(before: Policy, now: Policy): string[] {
  const words: string[] = [];
  if (before.host !== now.host) words.push(`it is another host: ${now.host} instead of ${before.host}`);
  if (before.name !== now.name) words.push(`the host's name is ${now.name} instead of ${before.name}`);
  words.push(...keyDifferences(before, now));
  if (before.bank !== now.bank) {
    words.push(`the bank is ${now.bank} instead of ${before.bank}, so that no register can be compared`);
    return words;
  }
  const registers = [...new Set([...before.registers.keys(), ...now.registers.keys()])].sort((a, b) => a - b);
  for (const register of registers)
    words.push(
      ...ruleDifferences(before.registers.get(register), now.registers.get(register)).map(
        (difference) => `register ${register}: ${difference}`,
      ),
    );
  return words;
}

function keyDifferences(before: Policy, now: Policy): string[] {
  const words: string[] = [];
  const { endorsementKey: oldKey } = before;
  const { endorsementKey: newKey } = now;
  if (oldKey.digest !== newKey.digest)
    words.push(
      `it is another TPM: its endorsement key is ${brief(newKey.digest)}, not ${brief(oldKey.digest)}`,
    );
  const certificate = ({ certificate }: typeof oldKey) =>
    certificate === null
      ? "no certificate of its maker"
      : `a certificate of ${certificate.issuer}${certificate.chainChecked ? "" : ", whose chain was not checked"}`;
  if (certificate(oldKey) !== certificate(newKey))
    words.push(`the TPM has ${certificate(newKey)}; before it had ${certificate(oldKey)}`);
  if (!before.attestationKey.equals(now.attestationKey))
    words.push("the attestation key is another one: the TPM was cleared, or the host's home is new");
  if (before.tlsKeyInTpm !== now.tlsKeyInTpm)
    words.push(
      now.tlsKeyInTpm
        ? "the host's TLS key is in its TPM now"
        : "the host's TLS key is not in its TPM any more",
    );
  return words;
}

function ruleDifferences(before: RegisterRule | undefined, now: RegisterRule | undefined): string[] {
  if (before === undefined && now === undefined) return [];
  if (before === undefined)
    return now?.kind === "ignore" ? ["ignored now"] : ["judged now, and was not before"];
  if (now === undefined) return before.kind === "ignore" ? [] : ["not judged any more"];
  if (before.kind === "value" && now.kind === "value") {
    const same =
      before.values.length === now.values.length &&
      before.values.every((value) => now.values.includes(value));
    if (same) return [];
    const why = before.seen.length > 0 && now.seen.length > 0 ? differences(before.seen, now.seen) : [];
    return [
      `holds ${now.values.map(brief).join(" or ")} instead of ${before.values.map(brief).join(" or ")}`,
      ...why,
    ];
  }
  if (before.kind === "events" && now.kind === "events")
    return [
      ...differences(before.required, now.required, ruled("required")),
      ...differences(before.allowed, now.allowed, ruled("allowed")),
    ];
  if (before.kind === "ima" && now.kind === "ima")
    return [
      ...differences(asEvents(before.required), asEvents(now.required), ruled("required")),
      ...differences(asEvents(before.allowed), asEvents(now.allowed), ruled("allowed")),
    ];
  if (before.kind === "ignore" && now.kind === "ignore") return [];
  return [`judged by ${kindWords(now)}, before by ${kindWords(before)}`];
}

/** Files are what their path and name say: the words by which a difference is told. */
function asEvents(files: readonly KnownFile[]): KnownEvent[] {
  return files.map(({ digest, name, path }) => ({ digest, words: `${name} ${path}` }));
}

function kindWords({ kind }: RegisterRule): string {
  return { value: "its value", events: "its events", ima: "IMA's list", ignore: "nothing" }[kind];
}
