/** A policy's text and its file: what is written is read again, and a line that cannot be read is an error. */
import { describe, expect, test } from "bun:test";
import { createHash } from "node:crypto";
import { chmodSync, mkdirSync, readFileSync, renameSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import {
  type Policy,
  parsePolicy,
  policyDigest,
  policyPath,
  policyText,
  readPolicy,
  selectionOf,
  wantsLogs,
  writePolicy,
} from "../../../src/attestation/policy/policy-file.ts";
import { policyHead } from "../../support/attestation/policy-head.ts";
import { refusalOf } from "../../support/attestation/refusal-of.ts";
import { eachTestInFolder } from "../../support/system/test-folder.ts";

const digest = (n: number) => n.toString(16).padStart(64, "0");
const event = (n: number, words = `event ${n}`) => ({ digest: digest(n), words });
const file = (n: number, name: string, path: string) => ({ digest: `sha256:${digest(n)}`, name, path });

const policy: Policy = {
  ...policyHead,
  bank: "sha256",
  registers: new Map([
    [0, { kind: "value", values: [digest(1), digest(2)], seen: [event(3), event(3)] }],
    [4, { kind: "events", required: [event(4, "EFI application: \\EFI\\a # b")], allowed: [event(5)] }],
    [5, { kind: "ignore", why: "the partition table changes" }],
    [
      10,
      {
        kind: "ima",
        required: [file(6, "migrate", "/usr/bin/migrate")],
        allowed: [file(7, "migrate", "/usr/bin/migrate"), file(8, "qemu", "/opt/a  b/qemu")],
      },
    ],
  ]),
};
const text = policyText(policy);
const read = (changed: string) => parsePolicy(changed, "/home/attest/b.policy");

describe("the text of a policy", () => {
  test("holds all of it", () => {
    expect(read(text)).toEqual(policy);
    expect(policyText(read(text))).toBe(text);
  });

  test.each<[string, Policy]>([
    ["without a certificate", { ...policy, endorsementKey: { digest: digest(9), certificate: null } }],
    [
      "with a certificate whose chain was not checked",
      {
        ...policy,
        endorsementKey: { digest: digest(9), certificate: { issuer: "CN=x", chainChecked: false } },
      },
    ],
    ["with a TLS key on the disk", { ...policy, tlsKeyInTpm: false }],
    [
      "of the other bank",
      {
        ...policy,
        bank: "sha384",
        registers: new Map([[7, { kind: "value", values: ["ab".repeat(48)], seen: [] }]]),
      },
    ],
  ])("holds one %s", (_, other) => {
    expect(read(policyText(other))).toEqual(other);
  });

  test("may have comments, blank lines, and the line ends of another system", () => {
    const edited = `# mine\n\n${text.replaceAll("\n", "  \r\n")}\n  # at its end`;
    expect(read(edited)).toEqual(policy);
  });

  test("has the digest of its bytes, so that a comment changes it too", () => {
    expect(policyDigest(text)).toBe(createHash("sha256").update(text).digest("hex"));
    expect(policyDigest(`${text}# x\n`)).not.toBe(policyDigest(text));
  });

  test("says which registers are asked for, and which logs are needed", () => {
    expect(selectionOf(policy)).toEqual({ bank: "sha256", registers: [0, 4, 10] });
    expect(wantsLogs(policy)).toEqual({ events: true, ima: true });
    const values: Policy = { ...policy, registers: new Map([[0, policy.registers.get(0)!]]) };
    expect(wantsLogs(values)).toEqual({ events: false, ima: false });
  });
});

describe("a text is refused, with its line, that", () => {
  const lineOf = (part: string) => text.split("\n").findIndex((line) => line.includes(part.trim())) + 1;

  /** What is replaced by what, what is said of that line. */
  test.each<[string, string, string, string]>([
    [
      "has a word that is not known",
      "bank sha256",
      "banks sha256",
      'begins with "banks", which no policy knows',
    ],
    ["has a word of another format", "tls-key in-tpm", "tls-key IN-TPM", "says neither in-tpm nor on-disk"],
    ["has another format", "format 1", "format 2", "has a format that this version of migrate does not know"],
    ["has version 0", "version 1\n", "version 0\n", "has no version: 1 or more"],
    ["has a version of 1e3", "version 1\n", "version 1e3\n", "has no version: 1 or more"],
    ["has a time that is none", "2026-11-30T22", "2026-13-30T22", "has no time, as 2026-11-30T22:00:00Z"],
    [
      "has a key that is no base64",
      "attestation-key AC",
      "attestation-key !C",
      "has no public area in base64",
    ],
    ["has base64 of two forms", "attestation-key AC", "attestation-key A C", "has no public area in base64"],
    [
      "says nothing of a certificate",
      "certificate checked",
      "certificate maybe",
      "says neither none, checked ISSUER nor unchecked ISSUER",
    ],
    ["names a bank of SHA-1", "bank sha256", "bank sha1", "names no bank of registers: sha256 or sha384"],
    [
      "has a digest in capitals",
      `is ${digest(2)}`,
      `is ${"A".repeat(64)}`,
      "has no digest of sha256: 64 digits of 0-9 and a-f",
    ],
    [
      "has a short digest",
      `is ${digest(2)}`,
      `is ${digest(2).slice(1)}`,
      "has no digest of sha256: 64 digits of 0-9 and a-f",
    ],
    ["has a comment behind a value", `is ${digest(2)}`, `is ${digest(2)} # old`, "has more than a value"],
    ["has a value twice", `is ${digest(2)}`, `is ${digest(1)}`, "says the same a second time"],
    [
      "does not say what was measured",
      `allow ${digest(5)} event 5`,
      `allow ${digest(5)}`,
      "does not say what was measured",
    ],
    [
      "has a rule of another kind",
      `allow ${digest(5)}`,
      `is ${digest(5)}`,
      'begins with "is"; below it stand require and allow',
    ],
    ["names a register twice", "register 4 events", "register 0 events", "names register 0 a second time"],
    ["names register 24", "register 4 events", "register 24 events", "names no register: they are 0 to 23"],
    ["names register 04", "register 4 events", "register 04 events", "names no register: they are 0 to 23"],
    [
      "does not say how a register is judged",
      "register 4 events",
      "register 4",
      "does not say how the register is judged: value, events or ima",
    ],
    [
      "judges another register by IMA",
      "register 10 ima",
      "register 11 ima",
      "judges another register than 10 by IMA's list",
    ],
    [
      "ignores without a reason",
      "ignore 5 the partition table changes",
      "ignore 5",
      "does not say why the register is ignored",
    ],
    [
      "requires SHA-1",
      `require sha256:${digest(6)}`,
      `require sha1:${"a".repeat(40)}`,
      "requires a digest of SHA-1 or MD5, which proves nothing today",
    ],
    ["has no path", "migrate /usr/bin/migrate", "migrate", "has no path"],
    ["has escape sequences", "event 5", "event \x1b[2J", "does not say what was measured"],
    [
      "is about nobody",
      "host sha256:ab",
      "host sha256:xx",
      "has no fingerprint: sha256: and 64 digits of 0-9 and a-f",
    ],
    [
      "has an indented line outside of a register",
      "bank sha256",
      "  bank sha256",
      "is indented, but belongs to no register",
    ],
  ])("%s", (_, part, other, says) => {
    const error = refusalOf(() => read(text.replace(part, other)));
    expect(error.message).toBe(`/home/attest/b.policy, line ${lineOf(part)}, ${says}.`);
    expect(error.code).toBe("home-unusable");
  });

  const whole = (changed: string) => refusalOf(() => read(changed)).message;

  test("says the same twice", () => {
    const line = lineOf("version 1") + 1;
    expect(whole(text.replace("version 1\n", "version 1\nversion 2\n"))).toBe(
      `/home/attest/b.policy, line ${line}, says version a second time.`,
    );
  });

  test("lacks a line", () => {
    expect(whole(text.replace(/^version.*\n/m, ""))).toBe("/home/attest/b.policy has no line version.");
    expect(whole("")).toBe(
      "/home/attest/b.policy has no line format, host, version, written-at, written-by, endorsement-key, endorsement-certificate, attestation-key, tls-key, bank.",
    );
  });

  test("would allow every state", () => {
    const head = text.slice(0, text.indexOf("register 0"));
    const nothing = "/home/attest/b.policy names no register, so it would allow every state.";
    expect(whole(head)).toBe(nothing);
    expect(whole(`${head}ignore 0 why not\n`)).toBe(nothing);
  });

  test("would allow a register into which nothing was measured", () => {
    expect(whole(text.replace(/^ {2}require .*EFI.*\n/m, ""))).toBe(
      "/home/attest/b.policy requires no event of register 4, so that one into which nothing was measured would do.",
    );
    expect(whole(text.replaceAll(/^ {2}is .*\n/gm, ""))).toBe(
      "/home/attest/b.policy has no value for register 0.",
    );
  });

  test("changes the bank below its registers", () => {
    const moved = `${text.replace("bank sha256\n", "")}`.replace("format 1\n", "format 1\nbank sha256\n");
    expect(read(moved)).toEqual(policy);
    expect(whole(`${text.replace(/^version.*\n/m, "")}version 1\n`)).toContain(
      "says version below the registers; it belongs above them",
    );
  });

  test("is very long", () => {
    expect(whole(`${text}${"\n".repeat(20_000)}`)).toBe("/home/attest/b.policy has more than 16384 lines.");
    expect(whole(`${text}# ${"x".repeat(10_000)}`)).toContain("is too long");
  });
});

describe("the file of a policy", () => {
  let home: string;
  eachTestInFolder("migrate-policy-", (folder) => {
    home = folder;
  });

  test("is this user's alone, and is read as it was written", () => {
    const written = writePolicy(home, policy);
    const path = policyPath(home, policy.host);
    expect(path).toBe(join(home, "attest", `${"ab".repeat(32)}.policy`));
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(statSync(join(home, "attest")).mode & 0o777).toBe(0o700);
    expect(readPolicy(home, policy.host)).toEqual({ policy, digest: written, text: policyText(policy) });
    expect(written).toBe(policyDigest(readFileSync(path, "utf8")));
  });

  test("is replaced by the next", () => {
    writePolicy(home, policy);
    writePolicy(home, { ...policy, version: 2 });
    expect(readPolicy(home, policy.host)?.policy.version).toBe(2);
  });

  test("is null for a host without one", () => {
    expect(readPolicy(home, policy.host)).toBeNull();
  });

  test("is refused if others can write it, or if it was put in another host's place", () => {
    writePolicy(home, policy);
    const path = policyPath(home, policy.host);
    chmodSync(path, 0o620);
    expect(refusalOf(() => readPolicy(home, policy.host)).code).toBe("home-unusable");
    chmodSync(path, 0o640);
    expect(readPolicy(home, policy.host)?.policy).toEqual(policy);
    const other = `sha256:${"00".repeat(32)}`;
    renameSync(path, policyPath(home, other));
    expect(refusalOf(() => readPolicy(home, other)).message).toContain("is about another host");
  });

  test("that cannot be read names itself and the line", () => {
    mkdirSync(join(home, "attest"));
    const path = policyPath(home, policy.host);
    writeFileSync(path, text.replace("bank sha256", "bank x"), { mode: 0o600 });
    expect(refusalOf(() => readPolicy(home, policy.host)).message).toStartWith(
      `${path}, line 15, names no bank`,
    );
  });

  test("is not written if it could not be read again", () => {
    expect(refusalOf(() => writePolicy(home, { ...policy, name: "two words" })).code).toBe("bug");
    const seen = Array.from({ length: 8000 }, (_, n) => event(n, "x".repeat(200)));
    const long = new Map([[0, { kind: "value" as const, values: [digest(1)], seen }]]);
    expect(refusalOf(() => writePolicy(home, { ...policy, registers: long })).code).toBe("limit");
    expect(readPolicy(home, policy.host)).toBeNull();
  });
});
