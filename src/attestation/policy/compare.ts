/** How a new policy differs from the one that it replaces, in words that a person decides by. Pure. */
import { bounded, brief, differences } from "./differences.ts";
import type { KnownFile, Policy, RegisterRule } from "./policy.ts";

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
      ...differences(byDigest(before.required), byDigest(now.required)),
      ...differences(byDigest(before.allowed), byDigest(now.allowed)).map((words) => `allowed: ${words}`),
    ];
  if (before.kind === "ima" && now.kind === "ima")
    return bounded([
      ...fileDifferences("required", before.required, now.required),
      ...fileDifferences("allowed", before.allowed, now.allowed),
    ]);
  if (before.kind === "ignore" && now.kind === "ignore") return [];
  return [`judged by ${kindWords(now)}, before by ${kindWords(before)}`];
}

/** The order of a rule's lines means nothing. */
function byDigest<Known extends { digest: string }>(events: readonly Known[]): Known[] {
  return [...events].sort((a, b) => (a.digest < b.digest ? -1 : a.digest > b.digest ? 1 : 0));
}

function fileDifferences(what: string, before: readonly KnownFile[], now: readonly KnownFile[]): string[] {
  const keyOf = ({ digest, path }: KnownFile) => `${digest} ${path}`;
  const had = new Set(before.map(keyOf));
  const has = new Set(now.map(keyOf));
  const say = ({ digest, name, path }: KnownFile) => `${name} ${path} (${brief(digest)})`;
  return [
    ...before.filter((file) => !has.has(keyOf(file))).map((file) => `no longer ${what}: ${say(file)}`),
    ...now.filter((file) => !had.has(keyOf(file))).map((file) => `${what} now: ${say(file)}`),
  ];
}

function kindWords({ kind }: RegisterRule): string {
  return { value: "its value", events: "its events", ima: "IMA's list", ignore: "nothing" }[kind];
}
