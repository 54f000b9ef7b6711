/** The firmware's log, against the registers of a machine that wrote one. */
import { describe, expect, test } from "bun:test";
import { parseEventLog, replayEvents } from "../../../src/attestation/logs/event-log.ts";
import { banks } from "../../../src/attestation/structures/platform-state.ts";
import { logVector } from "../../support/attestation/log-vector.ts";

describe("a real log: OVMF, shim, GRUB, Linux", () => {
  const vector = logVector("secure-boot");
  const log = parseEventLog(vector.bytes);

  test.each(banks)("replays to every register of %s", (bank) => {
    const values = replayEvents(log, bank);
    expect(values.size).toBe(24);
    const differing = [...vector.registers.get(bank)!].filter(
      ([register, value]) => values.get(register) !== value,
    );
    expect(differing).toEqual([]);
    expect(vector.registers.get(bank)!.size).toBe(23);
  });

  test("says in words what was booted", () => {
    const confirmed = log.events.filter((event) => event.confirmed).map((event) => event.words);
    expect(confirmed).toContain("Secure Boot is on");
    expect(confirmed).toContain("kernel command line: /vmlinuz console=ttyS0 ima_policy=tcb quiet");
    expect(confirmed).toContain(
      "what allowed a program to boot: an entry of SbatLevel: sbat,1,2025021800 shim,4 grub,5",
    );
    // The digest is of the program, which the log does not hold: its name is the log's word.
    const claimed = log.events.filter((event) => !event.confirmed).map((event) => event.words);
    expect(claimed).toContain("EFI application: \\EFI\\BOOT\\grubx64.efi");
    expect(claimed).toContain("file that the boot loader read: /vmlinuz");
  });
});
