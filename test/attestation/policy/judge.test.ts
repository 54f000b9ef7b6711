/** What a policy allows of a state, and in which words it says what it does not. */
import { describe, expect, test } from "bun:test";
import { provenPrograms } from "../../../src/attestation/policy/explained-state.ts";
import { type Finding, Judge, judge } from "../../../src/attestation/policy/judge.ts";
import { type Policy, parsePolicy, policyText } from "../../../src/attestation/policy/policy-file.ts";
import { recordPolicy, usualRegisters } from "../../../src/attestation/policy/record.ts";
import type { PlatformState } from "../../../src/attestation/structures/platform-state.ts";
import { logVector, stateOf } from "../../support/attestation/log-vector.ts";
import {
  imaEntry,
  imaValue,
  MadeEventLog,
  type MadeImaEntry,
  u32,
} from "../../support/attestation/made-logs.ts";
import { policyHead } from "../../support/attestation/policy-head.ts";

const state = stateOf(logVector("secure-boot"), logVector("ima-sig"));
const other = stateOf(logVector("other-command-line"), logVector("ima-ng"));
const policy = recordPolicy(state, policyHead, { registers: usualRegisters(state), byEvents: [4, 8] });

/** The faults, as "kind register: words". */
function faultsOf(judged: Policy, shown: PlatformState): string[] {
  const { allowed, findings } = judge(judged, shown);
  const faults = findings.filter(({ fault }) => fault);
  expect(allowed).toBe(faults.length === 0);
  return faults.map(textOf);
}

function textOf({ kind, register, words }: Finding): string {
  return `${kind} ${register}: ${words}`;
}

const only = (registers: Policy["registers"]): Policy => ({ ...policy, registers });
const rule = (register: number) => policy.registers.get(register)!;
const withRegister = (register: number, value: string): PlatformState => ({
  ...state,
  registers: new Map([...state.registers, [register, value]]),
});

describe("a policy that was recorded of a state", () => {
  test("allows that state, also once it was written and read", () => {
    expect(faultsOf(parsePolicy(policyText(policy), "hostb.policy"), state)).toEqual([]);
    expect([...policy.registers.keys()]).toEqual([0, 2, 4, 7, 8, 9, 10, 14]);
  });

  test("says what it found good, and which registers it did not judge", () => {
    const texts = judge(policy, state).findings.map(textOf);
    expect(texts).toContain("as-recorded 7: Register 7 holds what the policy has.");
    expect(texts).toContain(
      "as-recorded 8: Register 8: each of 9 events that were measured is in the policy.",
    );
    expect(texts).toContain(
      "as-recorded 10: IMA has measured migrate as the policy has it: /usr/bin/migrate (sha256:3d9f2889d6782537…).",
    );
    expect(texts).toContain("unproven 10: 1 entries of IMA's list came after the quote and are not proven.");
    expect(texts).toContain(
      "not-judged 11: Register 11 is not in the policy and was not judged: nothing was measured into it.",
    );
    expect(texts).toContain(
      "not-judged 5: Register 5 is not in the policy and was not judged: it holds a5ceb755d043f324….",
    );
  });

  test("refuses another kernel command line, and names it", () => {
    expect(faultsOf(only(new Map([[8, rule(8)]])), other)).toEqual([
      "event-unknown 8: Measured into register 8 and not in the policy: GRUB's command: linux /vmlinuz console=ttyS0 ima_template=ima-ng quiet (c75574e3d325f121…).",
      "event-unknown 8: Measured into register 8 and not in the policy: kernel command line: /vmlinuz console=ttyS0 ima_template=ima-ng quiet (2f906795a8779628…).",
      "event-missing 8: The policy requires in register 8, and it was not measured: GRUB's command: linux /vmlinuz console=ttyS0 ima_policy=tcb quiet (9d9151d9c2ff76b5…).",
      "event-missing 8: The policy requires in register 8, and it was not measured: kernel command line: /vmlinuz console=ttyS0 ima_policy=tcb quiet (0225ab8456eede27…).",
    ]);
  });

  test("says of a register that is judged by its value what has changed", () => {
    const [fault = "", ...more] = faultsOf(only(new Map([[9, rule(9)]])), other);
    expect(more).toEqual([]);
    expect(fault).toStartWith("value-differs 9: Register 9 holds ");
    expect(fault).toContain("; has changed: file that the boot loader read: /initrd.gz (");
    expect(fault).toContain(
      "; has changed: file that the boot loader read: (hd0,msdos1)/EFI/debian/grub.cfg (",
    );
    expect(fault).not.toContain("/vmlinuz (");
  });
});

test("the programs of a move are named as far as the quote proves the list", () => {
  expect(provenPrograms(state).map(({ name }) => name)).toEqual(["migrate", "swtpm", "qemu"]);
  expect(provenPrograms({ ...state, imaLog: other.imaLog })).toEqual([]);
  expect(provenPrograms({ ...state, imaLog: null })).toEqual([]);
});

describe("a register", () => {
  const value = { kind: "value" as const, values: ["11".repeat(32), "22".repeat(32)], seen: [] };

  test("may hold any of several values, and no other", () => {
    const either = only(new Map([[16, value]]));
    expect(faultsOf(either, withRegister(16, "22".repeat(32)))).toEqual([]);
    expect(faultsOf(either, withRegister(16, "33".repeat(32)))).toEqual([
      "value-differs 16: Register 16 holds 3333333333333333…, the policy has 1111111111111111… or 2222222222222222….",
    ]);
  });

  test("that the policy needs and the quote does not cover is a fault", () => {
    const registers = new Map(state.registers);
    registers.delete(7);
    expect(faultsOf(policy, { ...state, registers })).toEqual([
      "not-quoted 7: Register 7 was not quoted, but the policy needs it.",
    ]);
    expect(faultsOf(policy, { ...state, registers: new Map() }).length).toBe(policy.registers.size);
  });

  test("that the policy ignores may hold anything, and this is said", () => {
    const judged = only(new Map([...policy.registers, [1, { kind: "ignore", why: "settings" }]]));
    const changed = { ...withRegister(1, "33".repeat(32)), eventLog: null };
    const texts = judge(judged, changed)
      .findings.filter(({ register }) => register === 1)
      .map(textOf);
    expect(texts).toEqual(["ignored 1: Register 1 is ignored, as the policy says: settings."]);
  });

  test("of another bank is not compared", () => {
    const sha384 = stateOf(logVector("secure-boot"), null, "sha384");
    expect(faultsOf(policy, sha384)).toEqual([
      "bank-differs null: The policy is about bank sha256; what came is of sha384.",
    ]);
  });
});

describe("a firmware's log", () => {
  const byEvents = only(new Map([[4, rule(4)]]));
  const byValue = only(new Map([[7, rule(7)]]));
  const noLog = (bytes: Buffer | null) => ({ ...state, eventLog: bytes });
  const log = state.eventLog!;

  test("that the policy needs and that is not there is a fault; one that it does not need is none", () => {
    expect(faultsOf(byEvents, noLog(null))).toEqual([
      "log-missing 4: The policy judges register 4 by its events, and there is no firmware's log.",
    ]);
    expect(faultsOf(byValue, noLog(null))).toEqual([]);
  });

  test.each<[string, Buffer, string]>([
    [
      "is cut",
      log.subarray(0, -3),
      "log-broken null: The firmware's log is cut at event 46: 40 bytes are announced, 37 are left.",
    ],
    [
      "is there twice",
      Buffer.concat([log, log]),
      "log-broken null: The firmware's log has 0 digests at event 47; its head has 3 algorithms.",
    ],
    ["is empty", Buffer.alloc(0), "log-broken null: The firmware's log is empty."],
    [
      "is 100 MB long",
      Buffer.alloc(100_000_000),
      "log-broken null: The firmware's log is 100000000 bytes long, more than 4194304.",
    ],
  ])("that %s is a fault, whatever the policy judges", (_, bytes, fault) => {
    expect(faultsOf(byEvents, noLog(bytes))).toEqual([fault]);
    expect(faultsOf(byValue, noLog(bytes))).toEqual([fault]);
  });

  const differs = (register: number) =>
    `log-differs ${register}: The firmware's log does not give the quoted value of register ${register}: something is left out of it, added or changed.`;

  test("that does not replay to the quoted value is a fault, whatever the policy judges", () => {
    expect(faultsOf(byEvents, noLog(other.eventLog))).toEqual([]);
    const lie = new MadeEventLog().event(4, 4, u32(0)).event(7, 4, u32(0)).bytes;
    expect(faultsOf(byEvents, noLog(lie))).toEqual([differs(4)]);
    expect(faultsOf(byValue, noLog(lie))).toEqual([differs(7)]);
    expect(faultsOf(byEvents, withRegister(4, "44".repeat(32)))).toEqual([differs(4)]);
  });

  test("need not explain a value that none explained when it was recorded", () => {
    const recorded = recordPolicy(noLog(null), policyHead, { registers: [7], byEvents: [] });
    expect(recorded.registers.get(7)).toMatchObject({ kind: "value", seen: [] });
    const lie = new MadeEventLog().event(7, 4, u32(0)).bytes;
    expect(faultsOf(recorded, noLog(lie))).toEqual([]);
  });

  test("that cannot be read is said, and no fault, where none could be when it was recorded", () => {
    const old = noLog(Buffer.concat([Buffer.alloc(4), Buffer.from([8]), Buffer.alloc(100)]));
    const recorded = recordPolicy(old, policyHead, { registers: [4, 7, 10], byEvents: [] });
    expect(faultsOf(recorded, old)).toEqual([]);
    expect(judge(recorded, old).findings[0]).toMatchObject({ kind: "log-broken", fault: false });
    expect(
      faultsOf(recorded, { ...old, registers: withRegister(4, "44".repeat(32)).registers }),
    ).toHaveLength(1);
  });

  test("may have what the policy allows, and must have what it requires", () => {
    const made = (...events: string[]) => {
      const written = new MadeEventLog();
      for (const event of events) written.event(8, 0xd, event);
      return { ...withRegister(8, written.value("sha256", 8)), eventLog: written.bytes };
    };
    const full = recordPolicy(made("a", "b"), policyHead, { registers: [8], byEvents: [8] }).registers.get(8);
    if (full?.kind !== "events") throw new Error("not by events");
    const [a, b] = full.required;
    const judged = only(new Map([[8, { kind: "events", required: [a!], allowed: [b!] }]]));
    expect(faultsOf(judged, made("a"))).toEqual([]);
    expect(faultsOf(judged, made("b", "a", "b"))).toEqual([]);
    expect(faultsOf(judged, made("b"))[0]).toStartWith("event-missing 8: ");
    expect(faultsOf(judged, made("a", "c"))[0]).toStartWith("event-unknown 8: ");
    expect(faultsOf(judged, made())).toHaveLength(1);
  });

  test("of thousands of events that nobody knows fills no screen", () => {
    const written = new MadeEventLog(["sha256"]);
    for (let n = 0; n < 3000; n++) written.event(4, 0xd, `event ${n}`);
    const shown = { ...withRegister(4, written.value("sha256", 4)), eventLog: written.bytes };
    const faults = faultsOf(byEvents, shown);
    expect(faults).toHaveLength(13);
    expect(faults.at(-1)).toContain(`Register 4: ${3000 + rule4Events() - 12} more like these.`);
    const seen = judge(only(new Map([[4, valueRule()]])), shown).findings.map(({ words }) => words.length);
    expect(Math.max(...seen)).toBeLessThan(4000);
  });

  const rule4Events = () => {
    const events = rule(4);
    return events.kind === "events" ? events.required.length : 0;
  };
  const valueRule = () => {
    const recorded = recordPolicy(state, policyHead, { registers: [4], byEvents: [] });
    return recorded.registers.get(4)!;
  };
});

describe("IMA's list", () => {
  const good: MadeImaEntry[] = [
    { path: "boot_aggregate" },
    { path: "/usr/bin/migrate" },
    { path: "/usr/bin/swtpm" },
  ];
  const shows = (entries: readonly MadeImaEntry[], quoted = entries): PlatformState => ({
    ...withRegister(10, imaValue("sha256", quoted)),
    imaLog: Buffer.concat(entries.map(imaEntry)),
  });
  const judged = only(recordPolicy(shows(good), policyHead, { registers: [10], byEvents: [] }).registers);

  test("that grew is allowed, and what came after the quote is not believed", () => {
    expect(faultsOf(judged, shows([...good, { path: "/usr/bin/a" }]))).toEqual([]);
    const behind = judge(judged, shows([...good, { path: "/usr/bin/a" }], good)).findings.map(textOf);
    expect(behind).toContain("unproven 10: 1 entries of IMA's list came after the quote and are not proven.");
    // What is required must not stand behind the quote either.
    expect(faultsOf(judged, shows(good, good.slice(0, 2)))).toEqual([
      expect.stringMatching(
        /^file-missing 10: IMA has not measured swtpm as the policy has it: \/usr\/bin\/swtpm/,
      ),
    ]);
  });

  test("in which a required program is missing is a fault", () => {
    expect(faultsOf(judged, shows(good.slice(0, 2)))).toEqual([
      expect.stringMatching(/^file-missing 10: IMA has not measured swtpm/),
    ]);
  });

  test("in which a program of that path has another content is a fault, even beside the good one", () => {
    const twice = [...good, { path: "/usr/bin/migrate", digest: Buffer.alloc(32, 7) }];
    expect(faultsOf(judged, shows(twice))).toEqual([
      "file-differs 10: IMA has measured another /usr/bin/migrate than the policy has: sha256:0707070707070707….",
    ]);
    const rules = judged.registers.get(10);
    if (rules?.kind !== "ima") throw new Error("not by IMA");
    const allowed = [{ digest: `sha256:${"07".repeat(32)}`, name: "migrate", path: "/usr/bin/migrate" }];
    expect(faultsOf(only(new Map([[10, { ...rules, allowed }]])), shows(twice))).toEqual([]);
  });

  test("in which such a program was written to while it ran is a fault; another violation is said", () => {
    expect(faultsOf(judged, shows([...good, { path: "/usr/bin/migrate", violation: true }]))).toEqual([
      "violation 10: /usr/bin/migrate was written to while it was in use, so that IMA could not measure it.",
    ]);
    const { allowed, findings } = judge(judged, shows([...good, { path: "/var/log/x", violation: true }]));
    expect(allowed).toBe(true);
    expect(findings.map(({ words }) => words)).toContain(
      "IMA has no digest of 1 files, which were written to while they were in use (violations).",
    );
  });

  test.each<[string, Partial<PlatformState>, string]>([
    ["is not there", { imaLog: null }, "log-missing 10: There is no list of IMA's."],
    [
      "is empty",
      { imaLog: Buffer.alloc(0) },
      "log-differs 10: IMA's list does not give the quoted value of register 10: something is left out of it, added or changed.",
    ],
    [
      "lacks an entry",
      { imaLog: Buffer.concat([good[0]!, good[2]!].map(imaEntry)) },
      "log-differs 10: IMA's list does not give the quoted value of register 10: something is left out of it, added or changed.",
    ],
    [
      "is cut",
      { imaLog: Buffer.concat(good.map(imaEntry)).subarray(0, -1) },
      "log-broken 10: IMA's list is cut at entry 3: 63 bytes are announced, 62 are left.",
    ],
    [
      "is there twice",
      { imaLog: Buffer.concat([...good, ...good].map(imaEntry)) },
      "log-broken 10: IMA's list begins anew at entry 4: it is more than one list.",
    ],
  ])("that %s is a fault", (_, changed, words) => {
    expect(faultsOf(judged, { ...shows(good), ...changed })).toEqual([words]);
  });

  test("is judged in the same way where a platform shows it again and again", () => {
    const more = [...good, { path: "/usr/bin/a" }, { path: "/usr/bin/migrate", digest: Buffer.alloc(32, 7) }];
    const one = new Judge(judged);
    const steps: PlatformState[] = [
      shows(good.slice(0, 2)),
      shows(good),
      shows(good),
      shows(more.slice(0, 4), good),
      shows(more),
      shows(good),
      { ...shows(good), imaLog: Buffer.concat(more.map(imaEntry)).subarray(0, -1) },
      { ...shows(more), imaLog: null },
      shows(more.slice(1), good),
      { ...shows(good), eventLog: other.eventLog },
      shows([{ path: "boot_aggregate", violation: true }, ...good.slice(1)]),
    ];
    for (const [step, shown] of steps.entries())
      expect({ step, ...one.judge(shown) }).toEqual({ step, ...judge(judged, shown) });
    expect(one.judge(shows(good)).allowed).toBe(true);
    expect(one.judge(shows(more)).allowed).toBe(false);
  });

  test("of a bank that the kernel fills with SHA-1 is a fault, with the way out", () => {
    const sha384 = stateOf(logVector("secure-boot"), logVector("ima-sig"), "sha384");
    const wide: Policy = { ...policy, bank: "sha384", registers: new Map([[10, rule(10)]]) };
    expect(faultsOf(wide, sha384)).toEqual([expect.stringContaining("use bank sha256, or a newer kernel")]);
  });
});
