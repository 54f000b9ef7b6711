/** The firmware's log: real ones against the registers of the machine that wrote them, and what is refused. */
import { describe, expect, test } from "bun:test";
import { parseEventLog, replayEvents } from "../../../src/attestation/logs/event-log.ts";
import { logLimits } from "../../../src/attestation/logs/log-limits.ts";
import { banks } from "../../../src/attestation/structures/platform-state.ts";
import { logVector } from "../../support/attestation/log-vector.ts";
import {
  efiVariable,
  event2,
  firstEvent,
  hash,
  imageLoad,
  MadeEventLog,
  specId,
  u32,
} from "../../support/attestation/made-logs.ts";
import { outcomeOf, refusalOf } from "../../support/attestation/refusal-of.ts";

const separator = 4;

describe.each(["secure-boot", "other-command-line"])("a real log: %s", (name) => {
  const vector = logVector(name);
  const log = parseEventLog(vector.bytes);

  test.each(banks)("replays to every register of %s", (bank) => {
    const values = replayEvents(log, bank);
    expect(values.size).toBe(24);
    const registers = [...vector.registers.get(bank)!];
    expect(registers.filter(([register, value]) => values.get(register) !== value)).toEqual([]);
    expect(registers.length).toBe(23);
  });

  test("is refused when it is there twice", () => {
    expect(outcomeOf(() => parseEventLog(Buffer.concat([vector.bytes, vector.bytes])))).toMatch(
      /has 0 digests at event \d+/,
    );
  });
});

/** Steps are primes, so that cuts fall on fields of every kind. */
test.each<[string, Buffer, number]>([
  ["at every byte", everyKind().bytes, 1],
  ["and a real one", logVector("secure-boot").bytes, 23],
])("a log that is cut is refused, unless the cut is between two events: %s", (_, bytes, step) => {
  const log = parseEventLog(bytes);
  const counts: number[] = [];
  for (let length = 0; length < bytes.length; length += step) {
    const cut = outcomeOf(() => parseEventLog(bytes.subarray(0, length)));
    if (typeof cut === "string") continue;
    // Such a one is a log, and another one: its replay tells.
    expect([...replayEvents(cut, "sha256")]).not.toEqual([...replayEvents(log, "sha256")]);
    counts.push(cut.events.length);
  }
  if (step === 1) expect(counts).toEqual(log.events.map((_event, index) => index));
});

/** A log with an event of each kind that firmware, shim and GRUB write. */
function everyKind(): MadeEventLog {
  return new MadeEventLog()
    .event(0, 8, Buffer.from("version\0", "utf16le"))
    .event(7, 0x80000001, efiVariable("SecureBoot", Buffer.from([1])))
    .event(4, separator, u32(0))
    .event(4, 0x80000003, imageLoad("\\EFI\\BOOT\\BOOTX64.EFI"), "the program")
    .event(8, 0xd, "kernel_cmdline: /vmlinuz quiet\0", "/vmlinuz quiet");
}

describe("what a log says of an event", () => {
  const log = parseEventLog(logVector("secure-boot").bytes);
  const wordsOf = (confirmed: boolean) =>
    log.events.filter((event) => event.confirmed === confirmed).map(({ words }) => words);

  test("is confirmed where the digest is of it", () => {
    expect(wordsOf(true)).toContain("Secure Boot is on");
    expect(wordsOf(true)).toContain("kernel command line: /vmlinuz console=ttyS0 ima_policy=tcb quiet");
  });

  test("is its word alone where the digest is of something that the log does not hold", () => {
    expect(wordsOf(false)).toContain("EFI application: \\EFI\\BOOT\\grubx64.efi");
    expect(wordsOf(false)).toContain("file that the boot loader read: /vmlinuz");
  });

  test("is its word alone of a program, also where the digest is of the words", () => {
    const path = imageLoad("\\EFI\\debian\\shimx64.efi");
    const made = new MadeEventLog().event(4, 0x80000003, path);
    expect(parseEventLog(made.bytes).events[0]?.confirmed).toBe(false);
  });

  test("is called untrue where the digest is of something else", () => {
    const lie = new MadeEventLog().event(8, 0xd, "kernel_cmdline: /vmlinuz quiet\0", "/vmlinuz init=/bin/sh");
    expect(parseEventLog(lie.bytes).events[0]).toMatchObject({
      confirmed: false,
      words: "kernel command line: /vmlinuz quiet (so says the log, but what was measured is something else)",
    });
  });
});

describe("the replay", () => {
  test("begins register 0 with the locality of the start", () => {
    const made = new MadeEventLog().locality(3).event(0, 8, "version").event(0, separator, u32(0));
    expect(replayEvents(parseEventLog(made.bytes), "sha256").get(0)).toBe(made.value("sha256", 0));
    expect(replayEvents(parseEventLog(made.bytes), "sha384").get(0)).toBe(made.value("sha384", 0));
    const without = new MadeEventLog().event(0, 8, "version").event(0, separator, u32(0));
    expect(made.value("sha256", 0)).not.toBe(without.value("sha256", 0));
  });

  test("begins register 0 with 4 where the hardware has measured first", () => {
    const hardware = new MadeEventLog().event(0, 0x80000010, "HCRTM").event(0, 8, "version");
    const same = new MadeEventLog().locality(4).event(0, 0x80000010, "HCRTM").event(0, 8, "version");
    expect(replayEvents(parseEventLog(hardware.bytes), "sha256").get(0)).toBe(same.value("sha256", 0));
  });

  test("extends nothing for what is only said", () => {
    const made = new MadeEventLog().event(4, 3, "only said").event(4, separator, u32(0));
    const log = parseEventLog(made.bytes);
    expect(replayEvents(log, "sha256").get(4)).toBe(made.value("sha256", 4));
    expect(log.events[0]).toMatchObject({
      extended: false,
      confirmed: false,
      words: "said, not measured: only said",
    });
  });

  test("leaves the registers of a dynamic launch all ones, until something is measured into them", () => {
    const made = new MadeEventLog().event(17, separator, u32(0));
    const values = replayEvents(parseEventLog(made.bytes), "sha256");
    expect(values.get(17)).toBe(made.value("sha256", 17));
    expect(values.get(18)).toBe("ff".repeat(32));
    expect(values.get(16)).toBe("00".repeat(32));
  });

  test("is refused for a bank that the log has no digests of", () => {
    const made = new MadeEventLog(["sha1", "sha256"]).event(0, 8, "version");
    const log = parseEventLog(made.bytes);
    expect(log.algorithms).toEqual(["sha1", "sha256"]);
    expect(outcomeOf(() => replayEvents(log, "sha384"))).toBe(
      "The firmware's log has no sha384 digest at event 2, but one of sha256.",
    );
  });

  test("passes over an algorithm that is not known here, by the size that the head gives it", () => {
    const digest = hash("sha256", Buffer.from("x"));
    const head = firstEvent(
      specId([
        [0xb, 32],
        [0x99, 5],
      ]),
    );
    const event = event2(
      7,
      separator,
      [
        [0x99, Buffer.alloc(5, 1)],
        [0xb, digest],
      ],
      Buffer.from("x"),
    );
    const log = parseEventLog(Buffer.concat([head, event]));
    expect(log.events[0]?.digests).toEqual({ sha256: digest.toString("hex") });
    const value = hash("sha256", Buffer.alloc(32), digest).toString("hex");
    expect(replayEvents(log, "sha256").get(7)).toBe(value);
  });
});

describe("a log is refused", () => {
  const noHead =
    "The firmware's log has not the head of one of TPM 2.0; in the form of TPM 1.2, with SHA-1 alone, it would prove nothing.";
  const head = firstEvent(specId([[0xb, 32]]));
  const good = hash("sha256", Buffer.from("x"));
  const event = (count: number) =>
    Buffer.concat([u32(0), u32(separator), u32(count), Buffer.from([0xb, 0]), good, u32(0)]);

  test.each<[string, Buffer, string]>([
    ["that is empty", Buffer.alloc(0), "The firmware's log is empty."],
    ["of the form of TPM 1.2", firstEvent(Buffer.from("Spec ID Event02\0rest")), noHead],
    ["of the form of TPM 1.2 without a head", firstEvent(Buffer.from("x"), 8), noHead],
    ["that is none", firstEvent(Buffer.from("x")), noHead],
    ["with another event in the place of its head", firstEvent(Buffer.from("StartupLocality\0\x03")), noHead],
    [
      "with 2^32 - 1 digests of an event",
      Buffer.concat([head, event(0xffffffff)]),
      "The firmware's log has 4294967295 digests at event 2; its head has 1 algorithms.",
    ],
    [
      "with no digest of an event",
      Buffer.concat([head, event(0)]),
      "The firmware's log has 0 digests at event 2; its head has 1 algorithms.",
    ],
    [
      "with an event of 4 GiB",
      Buffer.concat([head, u32(0), u32(separator), u32(1), Buffer.from([0xb, 0]), good, u32(0xffffffff)]),
      "The firmware's log is cut at event 2: 4294967295 bytes are announced, 0 are left.",
    ],
    [
      "with a head of 4 GiB",
      Buffer.concat([u32(0), u32(3), Buffer.alloc(20), u32(0xffffffff)]),
      "The firmware's log ends in the middle of a field, at byte 32.",
    ],
    [
      "with an algorithm that its head does not name",
      Buffer.concat([head, event2(0, separator, [[0xc, Buffer.alloc(48)]], Buffer.alloc(0))]),
      "The firmware's log has a digest of algorithm 0xc at event 2, which its head does not name.",
    ],
    [
      "with two digests of one algorithm",
      Buffer.concat([
        firstEvent(
          specId([
            [0xb, 32],
            [0xc, 48],
          ]),
        ),
        event2(
          0,
          separator,
          [
            [0xb, good],
            [0xb, good],
          ],
          Buffer.alloc(0),
        ),
      ]),
      "The firmware's log has two digests of one algorithm at event 2.",
    ],
    [
      "with a register that no TPM has",
      Buffer.concat([head, event2(24, separator, [[0xb, good]], Buffer.alloc(0))]),
      "The firmware's log names register 24 at event 2, which no TPM has.",
    ],
    [
      "that gives SHA-256 another size",
      firstEvent(specId([[0xb, 20]])),
      "The firmware's log gives digests of 20 bytes to hash algorithm 0xb.",
    ],
    [
      "that gives an algorithm no size",
      firstEvent(specId([[0x99, 0]])),
      "The firmware's log gives digests of 0 bytes to hash algorithm 0x99.",
    ],
    [
      "that gives an algorithm 65535 bytes",
      firstEvent(specId([[0x99, 65535]])),
      "The firmware's log gives digests of 65535 bytes to hash algorithm 0x99.",
    ],
    [
      "that names an algorithm twice",
      firstEvent(
        specId([
          [0xb, 32],
          [0xb, 32],
        ]),
      ),
      "The firmware's log names a hash algorithm twice in its head.",
    ],
    [
      "that names 2^32 - 1 algorithms",
      firstEvent(specId([], 0xffffffff)),
      "The firmware's log names 4294967295 hash algorithms in its head, more than there are.",
    ],
    [
      "with bytes behind its head's end",
      firstEvent(Buffer.concat([specId([[0xb, 32]]), Buffer.alloc(1)])),
      "The firmware's log has bytes behind its head's end.",
    ],
    [
      "that sets register 0 back in its middle",
      new MadeEventLog().event(0, 8, "version").locality(0).bytes,
      "The firmware's log sets register 0 a second time, at event 3.",
    ],
    [
      "that says two localities",
      new MadeEventLog().locality(3).locality(0).bytes,
      "The firmware's log sets register 0 a second time, at event 3.",
    ],
    [
      "of 100 MB",
      Buffer.alloc(100_000_000),
      `The firmware's log is 100000000 bytes long, more than ${logLimits.eventLogBytes}.`,
    ],
  ])("%s", (_, bytes, sentence) => {
    const error = refusalOf(() => parseEventLog(bytes));
    expect(error.message).toBe(sentence);
    expect(error.code).toBe("attestation");
    expect(error.hint).toBeString();
  });

  test("of a hundred thousand tiny events, before they are kept", () => {
    const tiny = event2(0, separator, [[0x99, Buffer.alloc(1)]], Buffer.alloc(0));
    const log = Buffer.concat([firstEvent(specId([[0x99, 1]])), ...Array<Buffer>(100_000).fill(tiny)]);
    expect(outcomeOf(() => parseEventLog(log))).toBe(
      `The firmware's log has more than ${logLimits.events} events.`,
    );
  });
});
