/** IMA's list: real ones against the register of the machine that wrote them, and what is refused. */
import { describe, expect, test } from "bun:test";
import { parseImaLog, replayIma, replaysAsPaddedSha1 } from "../../../src/attestation/logs/ima-log.ts";
import { logLimits } from "../../../src/attestation/logs/log-limits.ts";
import { knownPrograms } from "../../../src/attestation/logs/programs.ts";
import { logVector } from "../../support/attestation/log-vector.ts";
import { hash, imaEntry, imaValue, type MadeImaEntry, u32 } from "../../support/attestation/made-logs.ts";
import { outcomeOf, refusalOf } from "../../support/attestation/refusal-of.ts";

const busybox = "sha256:3d9f2889d6782537624a4e1a10e68a2ddd53e0ee8bac02676f27308f42ec6bf6";

describe("a real list", () => {
  test("in ima-sig replays to the register up to the entry that was measured later", () => {
    const vector = logVector("ima-sig");
    const log = parseImaLog(vector.bytes);
    const quoted = vector.registers.get("sha256")!.get(10)!;
    expect(replayIma(log, "sha256", quoted)).toEqual({ value: quoted, entries: 6 });
    expect(log.entries.map((entry) => entry.fields().path)).toEqual([
      "boot_aggregate",
      "/bin/busybox",
      "/usr/bin/migrate",
      "/usr/bin/swtpm",
      "/usr/bin/qemu-system-x86_64",
      "/usr/bin/a_name",
      "/usr/bin/later",
    ]);
    expect(log.entries[1]?.fields()).toMatchObject({ template: "ima-sig", digest: busybox });
  });

  test("in ima-ng replays over a violation, as the kernel does", () => {
    const vector = logVector("ima-ng");
    const log = parseImaLog(vector.bytes);
    const quoted = vector.registers.get("sha256")!.get(10)!;
    expect(replayIma(log, "sha256", quoted).value).toBe(quoted);
    expect(log.entries.filter(({ violation }) => violation).map((entry) => entry.fields().path)).toEqual([
      "/etc/written",
    ]);
  });

  test("has the digest of what was booted first: SHA-256 over registers 0 to 9", () => {
    const registers = logVector("secure-boot").registers.get("sha256")!;
    const values = Array.from({ length: 10 }, (_, register) => Buffer.from(registers.get(register)!, "hex"));
    const { entries } = parseImaLog(logVector("ima-sig").bytes);
    expect(entries[0]?.fields().digest).toBe(`sha256:${hash("sha256", ...values).toString("hex")}`);
  });

  test("is recognised in a bank that the kernel extends with SHA-1 and zeros, and does not count there", () => {
    const vector = logVector("ima-sig");
    const log = parseImaLog(vector.bytes);
    const quoted = vector.registers.get("sha384")!.get(10)!;
    expect(replayIma(log, "sha384", quoted).entries).toBeNull();
    expect(replaysAsPaddedSha1(log, "sha384", quoted)).toBe(true);
    expect(replaysAsPaddedSha1(log, "sha256", vector.registers.get("sha256")!.get(10)!)).toBe(false);
  });

  test("names the programs of a move", () => {
    const { entries } = parseImaLog(logVector("ima-sig").bytes);
    expect(knownPrograms(entries)).toEqual([
      { name: "migrate", path: "/usr/bin/migrate", digest: busybox },
      { name: "swtpm", path: "/usr/bin/swtpm", digest: busybox },
      {
        name: "qemu",
        path: "/usr/bin/qemu-system-x86_64",
        digest: "sha256:c8872210411124be7961821d7881ce3c7a4e2fc8746ef8614905058cd81f0cf9",
      },
    ]);
  });

  test("is refused when it is cut, unless the cut is between two entries", () => {
    const { bytes } = logVector("ima-sig");
    const parsed = Array.from({ length: bytes.length }, (_, length) =>
      outcomeOf(() => parseImaLog(bytes.subarray(0, length))),
    ).filter((cut) => typeof cut !== "string");
    expect(parsed.map(({ entries }) => entries.length)).toEqual([0, 1, 2, 3, 4, 5, 6]);
  });

  test("is refused when it is there twice", () => {
    const { bytes } = logVector("ima-sig");
    expect(outcomeOf(() => parseImaLog(Buffer.concat([bytes, bytes])))).toBe(
      "IMA's list begins anew at entry 8: it is more than one list.",
    );
  });
});

describe("the replay", () => {
  const entries: MadeImaEntry[] = [
    { path: "boot_aggregate" },
    { path: "/usr/bin/a" },
    { path: "/var/log/x", violation: true },
    { path: "/usr/bin/b", register: 11 },
    { path: "/usr/bin/c", template: "ima-sig", more: [Buffer.from("signature")] },
  ];
  const log = parseImaLog(Buffer.concat(entries.map(imaEntry)));

  test.each(["sha256", "sha384"] as const)("of %s is the kernel's, by hash arithmetic", (bank) => {
    expect(replayIma(log, bank)).toEqual({ value: imaValue(bank, entries), entries: 5 });
    expect(replayIma(log, bank, imaValue(bank, entries.slice(0, 3)))).toMatchObject({ entries: 3 });
  });

  test("reaches no value that was not there on the way", () => {
    expect(replayIma(log, "sha256", "ab".repeat(32)).entries).toBeNull();
    const left = [entries[0]!, ...entries.slice(2)];
    expect(replayIma(log, "sha256", imaValue("sha256", left)).entries).toBeNull();
  });

  test("goes on where the list and the register did", () => {
    const beginning = parseImaLog(Buffer.concat(entries.slice(0, 2).map(imaEntry)));
    const more = parseImaLog(log.bytes, beginning);
    expect(more.entries[1]).toBe(beginning.entries[1]);
    expect(more.entries.map((entry) => entry.fields())).toEqual(log.entries.map((entry) => entry.fields()));
    const from = replayIma(beginning, "sha256", imaValue("sha256", entries.slice(0, 2)));
    expect(from.entries).toBe(2);
    const quoted = imaValue("sha256", entries);
    expect(replayIma(more, "sha256", quoted, from)).toEqual(replayIma(log, "sha256", quoted));
    expect(replayIma(more, "sha256", from.value, from)).toEqual(from);
    // Another list is read from its beginning.
    const other = parseImaLog(imaEntry({ path: "/other" }), beginning);
    expect(other.entries.map((entry) => entry.fields().path)).toEqual(["/other"]);
  });

  test("of an untouched register needs no entry", () => {
    expect(replayIma(log, "sha256", "00".repeat(32)).entries).toBe(0);
  });
});

describe("an entry", () => {
  const only = (entry: MadeImaEntry) => parseImaLog(imaEntry(entry)).entries[0]!.fields();

  test("has a template of its own, named by its fields", () => {
    expect(only({ template: "d-ng|n-ng", path: "/a" })).toMatchObject({ template: "d-ng|n-ng", path: "/a" });
  });

  test("of ima-ngv2 says whose digest it is", () => {
    const digest = hash("sha256", Buffer.from("x"));
    const hex = digest.toString("hex");
    expect(only({ template: "ima-ngv2", algorithm: "ima:sha256", digest }).digest).toBe(`sha256:${hex}`);
    expect(only({ template: "ima-ngv2", algorithm: "verity:sha256", digest }).digest).toBe(
      `verity:sha256:${hex}`,
    );
  });

  test("of a template that is not known here has neither path nor digest, and is replayed", () => {
    const entry: MadeImaEntry = { template: "ima-next", data: Buffer.from("anything") };
    const log = parseImaLog(imaEntry(entry));
    expect(log.entries[0]?.fields()).toMatchObject({ path: null, digest: null });
    expect(replayIma(log, "sha256").value).toBe(imaValue("sha256", [entry]));
  });

  test.each<[string, MadeImaEntry]>([
    ["fields that end early", { data: Buffer.concat([u32(9), Buffer.from("sha256:")]) }],
    ["a field of 4 GiB", { data: u32(0xffffffff) }],
    ["bytes behind its fields", { more: [Buffer.from("more")] }],
    ["nothing", { data: Buffer.alloc(0) }],
  ])("whose data has %s has neither path nor digest", (_, entry) => {
    expect(only(entry)).toMatchObject({ path: null, digest: null });
  });

  test("has no digest if that has not its algorithm's length", () => {
    expect(only({ digest: Buffer.alloc(20, 1) })).toMatchObject({ path: "/usr/bin/a", digest: null });
  });

  test.each([
    ["/a\x1b[2Jb", "/a\\x1b[2Jb"],
    ["/a b", "/a b"],
    ["/a ", "/a\\x20"],
    ["/a\\x20", "/a\\x5cx20"],
    ["/ä\u202e", "/\\xc3\\xa4\\xe2\\x80\\xae"],
    ["/grün", "/grün"],
  ])("shows the path %j as %s", (path, shown) => {
    expect(only({ path }).path).toBe(shown);
  });

  test("has no path if bytes hide behind its zero", () => {
    expect(only({ path: "/usr/bin/migrate\0.evil" }).path).toBeNull();
  });
});

describe("a list is refused", () => {
  const good = imaEntry({});
  test.each<[string, Buffer, string]>([
    [
      "with an entry of 4 GiB",
      Buffer.concat([good, u32(10), Buffer.alloc(20), u32(6), Buffer.from("ima-ng"), u32(0xffffffff)]),
      "IMA's list is cut at entry 2: 4294967295 bytes are announced, 0 are left.",
    ],
    [
      "with a template's name of 4 GiB",
      Buffer.concat([u32(10), Buffer.alloc(20), u32(0xffffffff)]),
      "IMA's list has a template's name of 4294967295 bytes at entry 1.",
    ],
    [
      "with a register that no TPM has",
      imaEntry({ register: 24 }),
      "IMA's list names register 24 at entry 1, which no TPM has.",
    ],
    [
      "in the template of SHA-1 alone",
      imaEntry({ template: "ima" }),
      "IMA's list is in the template ima, whose digests are SHA-1 alone: boot with ima_template=ima-ng.",
    ],
    [
      "that is too long",
      Buffer.alloc(logLimits.imaLogBytes + 1),
      `IMA's list is ${logLimits.imaLogBytes + 1} bytes long, more than ${logLimits.imaLogBytes}.`,
    ],
  ])("%s", (_, bytes, sentence) => {
    expect(refusalOf(() => parseImaLog(bytes))).toMatchObject({ code: "attestation", message: sentence });
  });

  test("of more entries than are kept", () => {
    const tiny = Buffer.concat([u32(10), Buffer.alloc(20, 1), u32(1), Buffer.from("x"), u32(0)]);
    const first = imaEntry({ template: "y", data: Buffer.from("boot") });
    const bytes = Buffer.concat([first, ...Array<Buffer>(logLimits.imaEntries).fill(tiny)]);
    expect(outcomeOf(() => parseImaLog(bytes))).toBe(
      `IMA's list has more than ${logLimits.imaEntries} entries.`,
    );
  });
});
