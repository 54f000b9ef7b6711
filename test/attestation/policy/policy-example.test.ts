/** The policy that docs/operating.md shows as a whole is one, and judges as it is said there. */
import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { judge } from "../../../src/attestation/policy/judge.ts";
import {
  parsePolicy,
  policyText,
  selectionOf,
  wantsLogs,
} from "../../../src/attestation/policy/policy-file.ts";
import { logVector, stateOf } from "../../support/attestation/log-vector.ts";
import { MadeEventLog } from "../../support/attestation/made-logs.ts";

const document = readFileSync(join(import.meta.dir, "../../../docs/operating.md"), "utf8");
const text = /^```\n(# What hostb has to prove[\s\S]*?)^```$/m.exec(document)?.[1] ?? "";
const policy = parsePolicy(text, "docs/operating.md");

test("the example is a policy, written as this program writes one", () => {
  const bare = (lines: string) => lines.replaceAll(/^#.*\n|^\n/gm, "");
  expect(bare(policyText(policy))).toBe(bare(text));
  expect(selectionOf(policy)).toEqual({ bank: "sha256", registers: [7, 8, 10] });
  expect(wantsLogs(policy)).toEqual({ events: true, ima: true });
});

test.each([
  ["secure-boot", "ima-sig"],
  ["other-command-line", "ima-ng"],
])("it allows the two kernel command lines that it names: %s", (events, ima) => {
  const { findings } = judge(policy, stateOf(logVector(events), logVector(ima)));
  expect(findings.filter(({ fault }) => fault)).toEqual([]);
});

test("it allows no third one", () => {
  const made = new MadeEventLog().event(
    8,
    0xd,
    "kernel_cmdline: /vmlinuz init=/bin/sh\0",
    "/vmlinuz init=/bin/sh",
  );
  const state = stateOf(logVector("secure-boot"), logVector("ima-sig"));
  const registers = new Map([...state.registers, [8, made.value("sha256", 8)]]);
  const { allowed, findings } = judge(policy, { ...state, registers, eventLog: made.bytes });
  expect(allowed).toBe(false);
  expect(findings.map(({ words }) => words).join("\n")).toContain(
    "Measured into register 8 and not in the policy: kernel command line: /vmlinuz init=/bin/sh",
  );
});
