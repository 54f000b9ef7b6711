/** The firmware's log as tpm2_eventlog of tpm2-tools reads it: the same events, and the same registers. */
import { describe, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseEventLog, replayEvents } from "../../../src/attestation/logs/event-log.ts";
import { banks } from "../../../src/attestation/structures/platform-state.ts";
import { logVector } from "../../support/attestation/log-vector.ts";
import { efiVariable, imageLoad, MadeEventLog, u32 } from "../../support/attestation/made-logs.ts";
import { runChild } from "../../support/system/child.ts";
import { seeded } from "../../support/system/random.ts";
import { eachTestInFolder } from "../../support/system/test-folder.ts";

let folder: string;
eachTestInFolder("migrate-event-log-", (made) => {
  folder = made;
});

interface Oracle {
  events: number;
  /** By bank and register. */
  values: Map<string, string>;
}

async function oracleOf(log: Buffer): Promise<Oracle> {
  const path = join(folder, "log");
  writeFileSync(path, log);
  const stdout = await runChild(["tpm2_eventlog", path]);
  const values = new Map<string, string>();
  let bank = "";
  for (const line of stdout.slice(stdout.lastIndexOf("\npcrs:")).split("\n")) {
    bank = /^ {2}(sha\d+):$/.exec(line)?.[1] ?? bank;
    const [, register, value] = /^ {4}(\d+) *: 0x([0-9a-f]+)$/.exec(line) ?? [];
    if (register !== undefined && value !== undefined) values.set(`${bank} ${register}`, value);
  }
  return { events: stdout.match(/^- EventNum: /gm)?.length ?? 0, values };
}

/** How many registers were compared. */
async function compare(bytes: Buffer): Promise<number> {
  const oracle = await oracleOf(bytes);
  const log = parseEventLog(bytes);
  // It counts the head.
  expect(log.events.length + 1).toBe(oracle.events);
  let compared = 0;
  for (const bank of banks) {
    if (!log.algorithms.includes(bank)) continue;
    for (const [register, value] of replayEvents(log, bank)) {
      const expected = oracle.values.get(`${bank} ${register}`);
      if (expected === undefined) continue;
      expect(value, `${bank} ${register}`).toBe(expected);
      compared++;
    }
  }
  return compared;
}

describe("tpm2_eventlog agrees", () => {
  test.each(["secure-boot", "other-command-line"])("on a real log: %s", async (name) => {
    expect(await compare(logVector(name).bytes)).toBe(22);
  });

  // Without what is only said: tpm2-tools 5.4 takes that for measured, and begins register 0 with zeros in any locality.
  test("on made ones, of one bank and of three", async () => {
    const random = seeded("made logs");
    for (let round = 0; round < 12; round++) {
      const log = new MadeEventLog(
        random.pick([["sha256"], ["sha1", "sha256"], ["sha1", "sha256", "sha384"]]),
      );
      for (let event = random.below(40); event >= 0; event--) {
        const [type, data, measured] = random.pick<[number, Buffer | string, string?]>([
          [4, u32(0)],
          [8, Buffer.from("version\0", "utf16le")],
          [0x80000001, efiVariable("SecureBoot", Buffer.from([random.below(2)]))],
          [0x80000003, imageLoad("\\EFI\\BOOT\\BOOTX64.EFI"), `program ${event}`],
          [0xd, "kernel_cmdline: /vmlinuz quiet\0", "/vmlinuz quiet"],
        ]);
        log.event(random.below(16), type, data, measured);
      }
      expect(await compare(log.bytes)).toBeGreaterThan(0);
    }
  }, 60_000);
});
