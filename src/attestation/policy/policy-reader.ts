/**
 * Reads the text of a policy. A line that cannot be read is an error: a rule that was passed over would let a host through
 * that it was to stop. Pure.
 */
import { visiblePattern } from "../../protocol/printable.ts";
import { type Bank, banks } from "../structures/platform-state.ts";
import type { HostKeys, KnownEvent, KnownFile, Policy, RegisterRule } from "./policy.ts";
import { policyFormat } from "./policy-text.ts";

const limits = {
  lines: 16_384,
  lineChars: 8192,
  keyBytes: 1024,
  values: 16,
  version: 1_000_000_000,
} as const;
const hexChars: Readonly<Record<Bank, number>> = { sha256: 64, sha384: 96 };
/** Words of a person, of a log, of a certificate. */
const wordsPattern = visiblePattern(1, 300);
const pathPattern = visiblePattern(1, 8000);
const namePattern = /^[^\s\p{C}#]{1,255}$/u;

/** What is wrong with a text, as the end of a sentence, and in which line of it (counted from 1; 0: in none). */
export interface PolicyFault {
  line: number;
  says: string;
}

/** The policy in this text, or the first thing that is wrong with it. Never throws for what the text holds. */
export function readPolicyText(text: string): Policy | PolicyFault {
  const reading = new Reading();
  const lines = text.split("\n");
  if (lines.length > limits.lines) return { line: 0, says: `has more than ${limits.lines} lines` };
  for (const [index, line] of lines.entries()) {
    const says = line.length > limits.lineChars ? "is too long" : reading.line(line);
    if (says !== null) return { line: index + 1, says };
  }
  const policy = reading.finish();
  return typeof policy === "string" ? { line: 0, says: policy } : policy;
}

/** A register's rule while its lines are read; of "value" the values are what is required, what was seen is allowed. */
interface OpenRule {
  kind: "value" | "events" | "ima";
  required: (KnownEvent & Partial<KnownFile>)[];
  allowed: (KnownEvent & Partial<KnownFile>)[];
}

class Reading {
  readonly #heads = new Map<string, string>();
  readonly #registers = new Map<number, OpenRule | { kind: "ignore"; why: string }>();
  #open: OpenRule | null = null;

  /** Takes one line; null, or what is wrong with it. */
  line(row: string): string | null {
    const text = row.trim();
    if (text === "" || text.startsWith("#")) return null;
    const [word = "", rest = ""] = splitAtBlank(text);
    if (/^\s/.test(row)) return this.#ruleLine(word, rest);
    this.#open = null;
    if (word === "register") return this.#register(rest);
    if (word === "ignore") return this.#ignore(rest);
    const read = headReaders[word];
    if (read === undefined) return `begins with "${shownWord(word)}", which no policy knows`;
    if (this.#heads.has(word)) return `says ${word} a second time`;
    // The digests of a register are read as this bank's, so the bank cannot change below them.
    if (this.#registers.size > 0) return `says ${word} below the registers; it belongs above them`;
    const says = read(rest);
    if (says === null) this.#heads.set(word, rest);
    return says;
  }

  /** The policy, or what is missing. */
  finish(): Policy | string {
    const missing = Object.keys(headReaders).filter((word) => !this.#heads.has(word));
    if (missing.length > 0) return `has no line ${missing.join(", ")}`;
    const judged = [...this.#registers.values()].filter(({ kind }) => kind !== "ignore");
    if (judged.length === 0) return "names no register, so it would allow every state";
    for (const [register, rule] of this.#registers) {
      if (rule.kind === "value" && rule.required.length === 0) return `has no value for register ${register}`;
      // An empty register would satisfy a rule that only allows.
      if (rule.kind === "events" && rule.required.length === 0)
        return `requires no event of register ${register}, so that one into which nothing was measured would do`;
    }
    const head = (word: string) => this.#heads.get(word) ?? "";
    const [host = "", name = ""] = splitAtBlank(head("host"));
    return {
      host,
      name,
      version: Number(head("version")),
      writtenBy: head("written-by"),
      writtenAt: head("written-at"),
      endorsementKey: {
        digest: head("endorsement-key").slice("sha256:".length),
        certificate: certificateOf(head("endorsement-certificate")),
      },
      attestationKey: Buffer.from(head("attestation-key"), "base64"),
      tlsKeyInTpm: head("tls-key") === "in-tpm",
      bank: this.#bank(),
      registers: new Map(
        [...this.#registers].sort(([a], [b]) => a - b).map(([register, rule]) => [register, ruleOf(rule)]),
      ),
    };
  }

  #bank(): Bank {
    return banks.find((bank) => bank === this.#heads.get("bank")) ?? "sha256";
  }

  #register(rest: string): string | null {
    const [numberText = "", kind = ""] = splitAtBlank(rest);
    const register = registerOf(numberText);
    if (register === null) return "names no register: they are 0 to 23";
    if (this.#registers.has(register)) return `names register ${register} a second time`;
    if (!this.#heads.has("bank")) return "names a register above the bank";
    if (kind !== "value" && kind !== "events" && kind !== "ima")
      return "does not say how the register is judged: value, events or ima";
    if (kind === "ima" && register !== 10) return "judges another register than 10 by IMA's list";
    this.#open = { kind, required: [], allowed: [] };
    this.#registers.set(register, this.#open);
    return null;
  }

  #ignore(rest: string): string | null {
    const [numberText = "", why = ""] = splitAtBlank(rest);
    const register = registerOf(numberText);
    if (register === null) return "names no register: they are 0 to 23";
    if (this.#registers.has(register)) return `names register ${register} a second time`;
    if (!wordsPattern.test(why)) return "does not say why the register is ignored";
    this.#registers.set(register, { kind: "ignore", why });
    return null;
  }

  #ruleLine(word: string, rest: string): string | null {
    const rule = this.#open;
    if (rule === null) return "is indented, but belongs to no register";
    const words = { value: ["is", "seen"], events: ["require", "allow"], ima: ["require", "allow"] }[
      rule.kind
    ];
    const which = words.indexOf(word);
    if (which < 0) return `begins with "${shownWord(word)}"; below it stand ${words.join(" and ")}`;
    const list = which === 0 ? rule.required : rule.allowed;
    const known: OpenRule["required"][number] | string =
      rule.kind === "ima" ? fileOf(rest) : this.#eventOf(rest, word === "is");
    if (typeof known === "string") return known;
    if (word === "is" && list.length >= limits.values) return `gives more than ${limits.values} values`;
    if (word !== "seen" && list.some((other) => other.digest === known.digest && other.path === known.path))
      return "says the same a second time";
    list.push(known);
    return null;
  }

  #eventOf(rest: string, bare: boolean): KnownEvent | string {
    const [digest = "", words = ""] = splitAtBlank(rest);
    const chars = hexChars[this.#bank()];
    if (digest.length !== chars || !/^[0-9a-f]+$/.test(digest))
      return `has no digest of ${this.#bank()}: ${chars} digits of 0-9 and a-f`;
    if (bare ? words !== "" : !wordsPattern.test(words))
      return bare ? "has more than a value" : "does not say what was measured";
    return { digest, words };
  }
}

/** What is wrong with the value of a line of the head; each has to be there. */
const headReaders: Readonly<Record<string, (value: string) => string | null>> = {
  format: (value) =>
    value === String(policyFormat) ? null : `has a format that this version of migrate does not know`,
  host: (value) => {
    const [host = "", name = ""] = splitAtBlank(value);
    if (!/^sha256:[0-9a-f]{64}$/.test(host))
      return "has no fingerprint: sha256: and 64 digits of 0-9 and a-f";
    return namePattern.test(name) ? null : "has no name: one word of 1 to 255 characters";
  },
  version: (value) =>
    /^[1-9]\d{0,9}$/.test(value) && Number(value) <= limits.version ? null : "has no version: 1 or more",
  "written-at": (value) =>
    /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/.test(value) && !Number.isNaN(Date.parse(value))
      ? null
      : "has no time, as 2026-11-30T22:00:00Z",
  "written-by": (value) => (wordsPattern.test(value) ? null : "does not say who wrote it"),
  "endorsement-key": (value) =>
    /^sha256:[0-9a-f]{64}$/.test(value) ? null : "has no digest: sha256: and 64 digits of 0-9 and a-f",
  "endorsement-certificate": (value) => {
    const [word = "", issuer = ""] = splitAtBlank(value);
    if (word === "none" && issuer === "") return null;
    const known = word === "checked" || word === "unchecked";
    return known && wordsPattern.test(issuer)
      ? null
      : "says neither none, checked ISSUER nor unchecked ISSUER";
  },
  "attestation-key": (value) => {
    const key = Buffer.from(value, "base64");
    const good = key.length > 0 && key.length <= limits.keyBytes && key.toString("base64") === value;
    return good ? null : "has no public area in base64";
  },
  "tls-key": (value) =>
    value === "in-tpm" || value === "on-disk" ? null : "says neither in-tpm nor on-disk",
  bank: (value) =>
    banks.some((bank) => bank === value) ? null : `names no bank of registers: ${banks.join(" or ")}`,
};

function certificateOf(value: string): HostKeys["endorsementKey"]["certificate"] {
  const [word = "", issuer = ""] = splitAtBlank(value);
  return word === "none" ? null : { issuer, chainChecked: word === "checked" };
}

/** "sha256:… NAME PATH"; verity:… is a digest of fs-verity, as IMA has it. */
function fileOf(rest: string): (KnownEvent & KnownFile) | string {
  const [digest = "", behind = ""] = splitAtBlank(rest);
  const [name = "", path = ""] = splitAtBlank(behind);
  if (!/^(?:verity:)?[a-z0-9_-]{1,16}:(?:[0-9a-f]{2}){20,64}$/.test(digest))
    return "has no digest, as sha256: and 64 digits of 0-9 and a-f";
  if (/^(?:md5|sha1):/.test(digest)) return "requires a digest of SHA-1 or MD5, which proves nothing today";
  if (!namePattern.test(name)) return "has no name for the program";
  if (!pathPattern.test(path)) return "has no path";
  return { digest, name, path, words: "" };
}

function ruleOf(rule: OpenRule | { kind: "ignore"; why: string }): RegisterRule {
  if (rule.kind === "ignore") return rule;
  const { kind, required, allowed } = rule;
  const events = (list: typeof required) => list.map(({ digest, words }) => ({ digest, words }));
  const files = (list: typeof required) =>
    list.map(({ digest, name = "", path = "" }) => ({ digest, name, path }));
  if (kind === "value") return { kind, values: required.map(({ digest }) => digest), seen: events(allowed) };
  if (kind === "events") return { kind, required: events(required), allowed: events(allowed) };
  return { kind, required: files(required), allowed: files(allowed) };
}

function registerOf(text: string): number | null {
  return /^(?:\d|1\d|2[0-3])$/.test(text) ? Number(text) : null;
}

/** The first word, and what follows the blanks behind it. */
function splitAtBlank(text: string): [string, string] {
  const [, word = "", rest = ""] = /^(\S*)\s*(.*)$/s.exec(text) ?? [];
  return [word, rest];
}

function shownWord(word: string): string {
  return word.slice(0, 40).replaceAll(/[^\x20-\x7e]/g, "?");
}
