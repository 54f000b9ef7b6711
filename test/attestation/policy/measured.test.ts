/** What was measured into each register, as a person is shown it. */
import { describe, expect, test } from "bun:test";
import { measuredInto } from "../../../src/attestation/policy/measured.ts";
import type { PlatformState } from "../../../src/attestation/structures/platform-state.ts";
import { logVector, stateOf } from "../../support/attestation/log-vector.ts";
import { imaEntry, imaValue, MadeEventLog } from "../../support/attestation/made-logs.ts";

const state = stateOf(logVector("secure-boot"), logVector("ima-sig"));
const into = (register: number, shown: PlatformState = state) =>
  measuredInto(shown).find((measured) => measured.register === register)?.words;

describe("what was measured into a register", () => {
  test("is told of each that was quoted, in order, with its value", () => {
    expect(measuredInto(state).map(({ register }) => register)).toEqual([...Array(24).keys()]);
    expect(measuredInto(state)[7]?.value).toBe(state.registers.get(7)!);
  });

  test("is what the firmware's log proves", () => {
    expect(into(7)?.[0]).toBe("Secure Boot is on (ccfc4bb32888a345…)");
    expect(into(8)).toContain(
      "kernel command line: /vmlinuz console=ttyS0 ima_policy=tcb quiet (0225ab8456eede27…)",
    );
  });

  test("is what IMA's list proves, and no more", () => {
    expect(into(10)?.at(-1)).toBe("/usr/bin/a_name (sha256:8149b2d32351d4c0…)");
    expect(into(10)).toHaveLength(6);
    const written = stateOf(logVector("other-command-line"), logVector("ima-ng"));
    expect(into(10, written)).toContain("/etc/written (written to while it was in use)");
  });

  test("is nothing where the register is as it was at the start", () => {
    expect(into(16)).toEqual(["nothing was measured into it"]);
    expect(into(17)).toEqual(["nothing was measured into it"]);
  });

  test("is not known where no log proves it, and it is said why", () => {
    const registers = new Map([...state.registers, [7, "77".repeat(32)]]);
    expect(into(7, { ...state, registers })).toEqual([
      "the firmware's log does not give this value: something else was measured, or after it",
    ]);
    expect(into(7, { ...state, eventLog: null })).toEqual(["there is no firmware's log"]);
    expect(into(7, { ...state, eventLog: Buffer.alloc(0) })).toEqual(["The firmware's log is empty"]);
    expect(into(10, { ...state, imaLog: null })).toEqual(["There is no list of IMA's"]);
  });

  test("fills no screen", () => {
    const log = new MadeEventLog(["sha256"]);
    for (let n = 0; n < 1000; n++) log.event(4, 0xd, `event ${n}`);
    const entries = Array.from({ length: 1000 }, (_, n) => ({ path: `/usr/bin/${n}` }));
    const registers = new Map([
      [4, log.value("sha256", 4)],
      [10, imaValue("sha256", entries)],
    ]);
    const shown = { ...state, registers, eventLog: log.bytes, imaLog: Buffer.concat(entries.map(imaEntry)) };
    for (const register of [4, 10]) {
      expect(into(register, shown)).toHaveLength(41);
      expect(into(register, shown)?.at(-1)).toBe("and 960 more");
    }
  });
});
