/** A hundred thousand logs that are nearly good: each is read, or refused as one that cannot be believed. */
import { expect, test } from "bun:test";
import { parseEventLog, replayEvents } from "../../../src/attestation/logs/event-log.ts";
import { parseImaLog, replayIma } from "../../../src/attestation/logs/ima-log.ts";
import { MigrateError } from "../../../src/protocol/errors.ts";
import { efiVariable, imaEntry, imageLoad, MadeEventLog, u32 } from "../../support/attestation/made-logs.ts";
import { type SeededRandom, seeded } from "../../support/system/random.ts";

const inputs = 50_000;

const events = new MadeEventLog(["sha1", "sha256"])
  .locality(3)
  .event(0, 8, Buffer.from("version\0", "utf16le"))
  .event(7, 0x80000001, efiVariable("SecureBoot", Buffer.from([1])))
  .event(4, 4, u32(0))
  .event(4, 0x80000003, imageLoad("\\EFI\\BOOT\\BOOTX64.EFI"), "the program")
  .event(8, 0xd, "kernel_cmdline: /vmlinuz quiet\0", "/vmlinuz quiet").bytes;

const entries = Buffer.concat([
  imaEntry({ path: "boot_aggregate" }),
  imaEntry({ path: "/usr/bin/migrate", template: "ima-sig", more: [Buffer.from("signature")] }),
  imaEntry({ path: "/etc/x", violation: true }),
  imaEntry({ path: "/usr/bin/a", template: "d-ng|n-ng" }),
]);

/** Values at which lengths and counts go wrong. */
const odd = [0, 1, 0x7f, 0x80, 0xff, 0xffff, 0x10000, 0x7fffffff, 0x80000000, 0xfffffffe, 0xffffffff];

function damaged(good: Buffer, random: SeededRandom): Buffer {
  const bytes = Buffer.from(good);
  for (let times = 1 + random.below(3); times > 0; times--) {
    const at = random.below(bytes.length - 8);
    if (random.chance(0.3)) bytes.writeUInt8(random.below(256), at);
    else if (random.chance(0.4)) bytes.writeUInt32LE(random.pick(odd), at);
    else if (random.chance(0.5))
      bytes.writeBigUInt64LE(BigInt(random.pick(odd)) << BigInt(random.below(32)), at);
    else bytes.copy(bytes, random.below(bytes.length - 8), at, at + random.below(64));
  }
  return random.chance(0.2) ? bytes.subarray(0, random.below(bytes.length)) : bytes;
}

/** How many inputs were read; whatever is thrown beside a MigrateError "attestation" fails the test. */
function survive(random: SeededRandom, good: Buffer, read: (bytes: Buffer) => void): number {
  let fine = 0;
  for (let input = 0; input < inputs; input++) {
    const bytes = damaged(good, random);
    try {
      read(bytes);
      fine++;
    } catch (thrown) {
      if (thrown instanceof MigrateError && thrown.code === "attestation") continue;
      throw new Error(`input ${input}: ${bytes.toString("hex")}`, { cause: thrown });
    }
  }
  return fine;
}

test("firmware's logs that are nearly good", () => {
  const fine = survive(seeded("firmware's logs"), events, (bytes) => {
    const log = parseEventLog(bytes);
    for (const { words, digests } of log.events) {
      if (/[\p{C}\n]/u.test(words) || words.length > 300) throw new Error(`words: ${words}`);
      if (Object.keys(digests).length > 2) throw new Error("digests");
    }
    replayEvents(log, "sha256");
  });
  // Many are good logs still, with other words; many are not.
  expect(fine).toBeGreaterThan(inputs / 10);
  expect(fine).toBeLessThan((inputs * 9) / 10);
}, 60_000);

test("IMA's lists that are nearly good", () => {
  const fine = survive(seeded("IMA's lists"), entries, (bytes) => {
    const log = parseImaLog(bytes);
    for (const entry of log.entries) {
      const { path } = entry.fields();
      if (path !== null && /[\p{C}\n]/u.test(path)) throw new Error(`path: ${path}`);
    }
    replayIma(log, "sha256", "ab".repeat(32));
  });
  expect(fine).toBeGreaterThan(inputs / 10);
  expect(fine).toBeLessThan((inputs * 9) / 10);
}, 60_000);
