/** What is recorded of a state, and how two policies differ in words. */
import { describe, expect, test } from "bun:test";
import type { Policy, RegisterRule } from "../../../src/attestation/policy/policy-file.ts";
import { parsePolicy, policyText } from "../../../src/attestation/policy/policy-file.ts";
import { comparePolicies, recordPolicy, usualRegisters } from "../../../src/attestation/policy/record.ts";
import { logVector, stateOf } from "../../support/attestation/log-vector.ts";
import { MadeEventLog } from "../../support/attestation/made-logs.ts";
import { policyHead } from "../../support/attestation/policy-head.ts";
import { refusalOf } from "../../support/attestation/refusal-of.ts";

const state = stateOf(logVector("secure-boot"), logVector("ima-sig"));
const other = stateOf(logVector("other-command-line"), logVector("ima-ng"));
const record = (shown = state, byEvents: number[] = [], registers = usualRegisters(shown)) =>
  recordPolicy(shown, policyHead, { registers, byEvents });
const only = (register: number, rule: RegisterRule): Policy => ({
  ...record(),
  registers: new Map([[register, rule]]),
});

describe("a record", () => {
  test("is of the registers that say what was booted, as far as they are quoted and used", () => {
    expect(usualRegisters(state)).toEqual([0, 2, 4, 7, 8, 9, 10, 14]);
    expect(usualRegisters({ ...state, imaLog: null })).toEqual([0, 2, 4, 7, 8, 9, 14]);
    expect(usualRegisters({ ...state, registers: new Map([[7, "00".repeat(32)]]) })).toEqual([7]);
  });

  test("has a value with what was measured, events each once, and the programs of a move", () => {
    const { registers } = record(state, [8]);
    const secureBoot = registers.get(7);
    expect(secureBoot).toMatchObject({ kind: "value", values: [state.registers.get(7)!] });
    expect(secureBoot?.kind === "value" && secureBoot.seen.map(({ words }) => words)[0]).toBe(
      "Secure Boot is on",
    );
    const commands = registers.get(8);
    expect(commands?.kind === "events" && commands.required.map(({ words }) => words)).toContain(
      "kernel command line: /vmlinuz console=ttyS0 ima_policy=tcb quiet",
    );
    const programs = registers.get(10);
    expect(programs?.kind === "ima" && programs.required.map(({ name }) => name)).toEqual([
      "migrate",
      "swtpm",
      "qemu",
    ]);
  });

  test("of a state without logs is of values alone", () => {
    const bare = { ...state, eventLog: null, imaLog: null };
    expect(
      [...record(bare).registers.values()].map((rule) => rule.kind === "value" && rule.seen.length),
    ).toEqual(usualRegisters(bare).map(() => 0));
  });

  test("of what a hostile TPM's certificate says can be read again", () => {
    const issuer = `CN=x\nregister 0 ignore\x1b[2J${"y".repeat(5000)}`;
    const endorsementKey = { digest: "cd".repeat(32), certificate: { issuer, chainChecked: false } };
    const policy = recordPolicy(state, { ...policyHead, endorsementKey }, { registers: [7], byEvents: [] });
    expect(parsePolicy(policyText(policy), "x")).toEqual(policy);
  });

  test.each<[string, () => unknown, string, string]>([
    [
      "a register that was not quoted",
      () => record({ ...state, registers: new Map() }, [], [7]),
      "usage",
      "Register 7 was not quoted.",
    ],
    [
      "events of a register that no log explains",
      () => record({ ...state, registers: new Map([[4, "44".repeat(32)]]) }, [4], [4]),
      "attestation",
      "The firmware's log does not say what was measured into register 4.",
    ],
    [
      "events of a log that is broken",
      () => record({ ...state, eventLog: Buffer.alloc(0) }, [4], [4]),
      "attestation",
      "The firmware's log is empty.",
    ],
    [
      "a list of IMA's that is another host's",
      () => record({ ...state, imaLog: other.imaLog }, [], [10]),
      "attestation",
      "IMA's list does not give the quoted value of register 10: something is left out of it, added or changed.",
    ],
    [
      "thousands of events",
      () => record(flooded(), [4], [4]),
      "limit",
      "More than 500 events were measured into register 4.",
    ],
  ])("is refused for %s", (_, work, code, message) => {
    expect(refusalOf(work)).toMatchObject({ code, message, hint: expect.any(String) });
  });

  test("keeps what a person has written into the policy before it", () => {
    const events = record(state, [8]).registers.get(8);
    const programs = record().registers.get(10);
    if (events?.kind !== "events" || programs?.kind !== "ima") throw new Error("not by log");
    const [moved, ...required] = events.required;
    const later = { digest: `sha256:${"07".repeat(32)}`, name: "migrate", path: "/usr/bin/migrate" };
    const before: Policy = {
      ...record(),
      registers: new Map<number, RegisterRule>([
        [4, { kind: "events", required: [moved!], allowed: [moved!] }],
        [7, { kind: "ignore", why: "its owner changes that" }],
        [
          8,
          {
            kind: "events",
            required,
            allowed: [moved!, { digest: "88".repeat(32), words: "another kernel" }],
          },
        ],
        [10, { ...programs, allowed: [later] }],
      ]),
    };
    const options = { registers: [4, 7, 8, 10], byEvents: [8], before };
    const { registers } = recordPolicy(state, policyHead, options);
    expect(registers.get(7)).toEqual({ kind: "ignore", why: "its owner changes that" });
    expect(registers.get(8)).toEqual({
      ...events,
      allowed: [{ digest: "88".repeat(32), words: "another kernel" }],
    });
    expect(registers.get(10)).toEqual({ ...programs, allowed: [later] });
    // Judged in another way now, so that what it allowed means nothing.
    expect(registers.get(4)?.kind).toBe("value");
    const other = recordPolicy(
      { ...state, bank: "sha384", registers: new Map([[7, "77".repeat(48)]]) },
      policyHead,
      {
        ...options,
        registers: [7],
      },
    );
    expect(other.registers.get(7)?.kind).toBe("value");
  });

  test("of thousands of events by value keeps none of them", () => {
    expect(record(flooded(), [], [4]).registers.get(4)).toMatchObject({ kind: "value", seen: [] });
  });
});

describe("two policies", () => {
  const value = (hex: string): RegisterRule => ({ kind: "value", values: [hex.repeat(32)], seen: [] });

  test("of one state do not differ, whenever and by whomever they were written", () => {
    expect(comparePolicies(record(), { ...record(), version: 9, writtenBy: "x", writtenAt: "y" })).toEqual(
      [],
    );
    const events = record(state, [8]);
    const rule = events.registers.get(8);
    if (rule?.kind !== "events") throw new Error("not by events");
    const turned = only(8, { ...rule, required: [...rule.required].reverse() });
    expect(comparePolicies(only(8, rule), turned)).toEqual([]);
  });

  test("say what was booted then and now", () => {
    const words = comparePolicies(record(state, [8], [7, 8, 9]), record(other, [8], [7, 8, 9]));
    expect(words).toEqual([
      "register 8: no longer required: GRUB's command: linux /vmlinuz console=ttyS0 ima_policy=tcb quiet (9d9151d9c2ff76b5…)",
      "register 8: no longer required: kernel command line: /vmlinuz console=ttyS0 ima_policy=tcb quiet (0225ab8456eede27…)",
      "register 8: required now: GRUB's command: linux /vmlinuz console=ttyS0 ima_template=ima-ng quiet (c75574e3d325f121…)",
      "register 8: required now: kernel command line: /vmlinuz console=ttyS0 ima_template=ima-ng quiet (2f906795a8779628…)",
      expect.stringMatching(/^register 9: holds [0-9a-f]{16}… instead of d0edb2e5cc5ea859…$/),
      expect.stringMatching(
        /^register 9: has changed: file that the boot loader read: \(hd0,msdos1\)\/EFI\/debian\/grub\.cfg \(/,
      ),
      expect.stringMatching(/^register 9: has changed: file that the boot loader read: \/initrd\.gz \(/),
    ]);
  });

  test("say that the order alone is another", () => {
    const written = (...events: string[]) => {
      const log = new MadeEventLog();
      for (const event of events) log.event(8, 0xd, event);
      const registers = new Map([[8, log.value("sha256", 8)]]);
      return record({ ...state, registers, eventLog: log.bytes }, [], [8]);
    };
    expect(comparePolicies(written("a", "b"), written("b", "a"))[1]).toBe(
      "register 8: the same was measured in another order",
    );
    expect(comparePolicies(written("a", "a"), written("a"))[1]).toBe(
      "register 8: no longer measured: boot loader: a (ca978112ca1bbdca…)",
    );
  });

  test.each<[string, RegisterRule, RegisterRule | undefined, string[]]>([
    [
      "another value",
      value("11"),
      value("22"),
      ["register 3: holds 2222222222222222… instead of 1111111111111111…"],
    ],
    [
      "another kind",
      value("11"),
      { kind: "ignore", why: "x" },
      ["register 3: judged by nothing, before by its value"],
    ],
    ["nothing", value("11"), undefined, ["register 3: not judged any more"]],
    [
      "another program",
      { kind: "ima", required: [{ digest: "sha256:11", name: "migrate", path: "/m" }], allowed: [] },
      { kind: "ima", required: [{ digest: "sha256:22", name: "migrate", path: "/m" }], allowed: [] },
      ["register 3: has changed: migrate /m (sha256:11… before, sha256:22… now)"],
    ],
    [
      "what is allowed",
      { kind: "events", required: [], allowed: [] },
      { kind: "events", required: [], allowed: [{ digest: "11", words: "a program" }] },
      ["register 3: allowed now: a program (11…)"],
    ],
  ])("say %s of a register", (_, before, now, words) => {
    const after = now === undefined ? { ...record(), registers: new Map() } : only(3, now);
    expect(comparePolicies(only(3, before), after)).toEqual(words);
  });

  test("say that a register is judged now", () => {
    expect(comparePolicies({ ...record(), registers: new Map() }, only(3, value("11")))).toEqual([
      "register 3: judged now, and was not before",
    ]);
  });

  test("say which keys are others", () => {
    const now: Policy = {
      ...record(),
      endorsementKey: { digest: "ee".repeat(32), certificate: null },
      attestationKey: Buffer.from("other"),
      tlsKeyInTpm: false,
    };
    expect(comparePolicies(record(), now)).toEqual([
      "it is another TPM: its endorsement key is eeeeeeeeeeeeeeee…, not cdcdcdcdcdcdcdcd…",
      "the TPM has no certificate of its maker; before it had a certificate of CN=A maker",
      "the attestation key is another one: the TPM was cleared, or the host's home is new",
      "the host's TLS key is not in its TPM any more",
    ]);
  });

  test("of two banks have no registers to compare", () => {
    expect(comparePolicies(record(), { ...record(), bank: "sha384" })).toEqual([
      "the bank is sha384 instead of sha256, so that no register can be compared",
    ]);
  });
});

function flooded() {
  const log = new MadeEventLog(["sha256"]);
  for (let n = 0; n < 600; n++) log.event(4, 0xd, `event ${n}`);
  return { ...state, registers: new Map([[4, log.value("sha256", 4)]]), eventLog: log.bytes };
}
