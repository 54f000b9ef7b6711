/** What a TPM marshals, read back: whole, cut everywhere, and changed everywhere. */
import { describe, expect, test } from "bun:test";
import { createHash, generateKeyPairSync, sign } from "node:crypto";
import { parseAttest } from "../../../src/attestation/structures/attest.ts";
import {
  attestationTemplate,
  endorsementTemplates,
  hostKeyPolicy,
} from "../../../src/attestation/structures/key-templates.ts";
import { sized, u8, u16, u32 } from "../../../src/attestation/structures/marshal.ts";
import {
  digestOfRegisters,
  encodeSelection,
  isSelection,
  parseRegisters,
  parseSelection,
  readSelections,
} from "../../../src/attestation/structures/pcr-selection.ts";
import {
  encodePublic,
  hasTemplate,
  nameOf,
  parsePublic,
} from "../../../src/attestation/structures/public-area.ts";
import { verifySignature } from "../../../src/attestation/structures/signature.ts";
import { peerFault, StructureReader } from "../../../src/attestation/structures/structure-reader.ts";
import { MigrateError } from "../../../src/protocol/errors.ts";
import { seeded } from "../../support/system/random.ts";
import { refusalOf } from "../../support/system/refusals.ts";

const clock = Buffer.concat([Buffer.alloc(7), u8(200), u32(3), u32(4), u8(1)]);
const selection = { bank: "sha256", registers: [0, 7, 23] } as const;
const quote = Buffer.concat([
  ...[u32(0xff54_4347), u16(0x8018), sized(Buffer.alloc(34, 1)), sized(Buffer.alloc(32, 2)), clock],
  ...[Buffer.from("0123456789abcdef", "hex"), encodeSelection(selection), sized(Buffer.alloc(32, 3))],
]);
const key = generateKeyPairSync("ec", { namedCurve: "P-256" });
const { x = "", y = "" } = key.publicKey.export({ format: "jwk" });
const akPublic = encodePublic({
  ...attestationTemplate(Buffer.from(x, "base64url")),
  y: Buffer.from(y, "base64url"),
});
const raw = sign("sha256", quote, { key: key.privateKey, dsaEncoding: "ieee-p1363" });
const signature = Buffer.concat([u16(0x18), u16(0x0b), sized(raw.subarray(0, 32)), sized(raw.subarray(32))]);

describe("a quote", () => {
  test("is read with all that stands in it", () => {
    const attest = parseAttest(quote);
    expect(attest).toMatchObject({
      kind: "quote",
      extraData: Buffer.alloc(32, 2),
      clock: { clockMs: 200, resetCount: 3, restartCount: 4, safe: true },
      firmwareVersion: "0123456789abcdef",
      selections: [{ algorithm: 0x0b, registers: [0, 7, 23] }],
      pcrDigest: Buffer.alloc(32, 3),
    });
  });

  test("that does not begin as what a TPM has made, or is another kind of word, is refused", () => {
    const other = Buffer.from(quote);
    other[0] = 0;
    expect(refusalOf(() => parseAttest(other), "attestation").message).toContain("no TPM has made it");
    const time = Buffer.from(quote);
    time.writeUInt16BE(0x8019, 4);
    refusalOf(() => parseAttest(time), "attestation");
  });
});

describe("cut anywhere, or followed by a byte, is refused:", () => {
  test.each([
    ["a quote", quote, parseAttest],
    ["a public area", akPublic, parsePublic],
    ["an RSA template", encodePublic(endorsementTemplates[2]!.area), parsePublic],
    ["a signature", signature, (bytes: Buffer) => verifySignature(akPublic, quote, bytes)],
  ] as const)("%s", (_, bytes, read) => {
    expect(() => read(bytes)).not.toThrow();
    for (let end = 0; end < bytes.length; end++) refusalOf(() => read(bytes.subarray(0, end)), "attestation");
    refusalOf(() => read(Buffer.concat([bytes, u8(0)])), "attestation");
  });
});

test("bytes changed anywhere give a MigrateError or a value, never another exception", () => {
  const random = seeded("changed structures");
  for (let round = 0; round < 20_000; round++) {
    const bytes = Buffer.from(random.pick([quote, akPublic, signature]));
    for (let changes = 1 + random.below(4); changes > 0; changes--)
      bytes[random.below(bytes.length)] = random.below(256);
    for (const read of [parseAttest, parsePublic, nameOf]) {
      try {
        read(bytes);
      } catch (thrown) {
        if (!(thrown instanceof MigrateError) || thrown.code !== "attestation") throw thrown;
      }
    }
  }
});

describe("a signature", () => {
  test("holds over what was signed, by that key, and over nothing else", () => {
    expect(verifySignature(akPublic, quote, signature)).toBe(true);
    for (let at = 0; at < quote.length; at++) {
      const changed = Buffer.from(quote);
      changed[at]! ^= 1;
      expect(verifySignature(akPublic, changed, signature)).toBe(false);
    }
    const other = generateKeyPairSync("ec", { namedCurve: "P-256" }).publicKey.export({ format: "jwk" });
    const coordinate = (text = "") => Buffer.from(text, "base64url");
    const otherPublic = encodePublic({ ...attestationTemplate(coordinate(other.x)), y: coordinate(other.y) });
    expect(verifySignature(otherPublic, quote, signature)).toBe(false);
  });

  test("of zeros, and by another hash than the key's, does not hold", () => {
    const zeros = Buffer.concat([u16(0x18), u16(0x0b), sized(Buffer.alloc(32)), sized(Buffer.alloc(32))]);
    expect(verifySignature(akPublic, quote, zeros)).toBe(false);
    const bySha384 = Buffer.from(signature);
    bySha384.writeUInt16BE(0x0c, 2);
    expect(verifySignature(akPublic, quote, bySha384)).toBe(false);
  });
});

describe("a selection of registers", () => {
  const read = (bytes: Buffer) => readSelections(new StructureReader(bytes, peerFault("A selection")));

  test("is told from one with fewer registers, with more, of another bank and of two banks", () => {
    const wanted = read(encodeSelection(selection));
    expect(isSelection(wanted, selection)).toBe(true);
    for (const registers of [[0, 7], [0, 1, 7, 23], [0]] as const)
      expect(isSelection(wanted, { bank: "sha256", registers })).toBe(false);
    expect(isSelection(wanted, { ...selection, bank: "sha384" })).toBe(false);
    expect(isSelection([], selection)).toBe(false);
    expect(isSelection([...wanted, ...wanted], selection)).toBe(false);
    expect(isSelection([{ algorithm: 0x0b, registers: [] }], selection)).toBe(false);
  });

  test("of no register, out of order, twice one or beyond the last cannot be asked for", () => {
    for (const registers of [[], [7, 0], [7, 7], [24], [-1], [1.5]])
      refusalOf(() => encodeSelection({ bank: "sha256", registers }), "bug");
  });

  test("is read as a person writes it, and refused where it is none", () => {
    expect(parseSelection("7")).toEqual({ bank: "sha256", registers: [7] });
    expect(parseSelection("14,0-2,7,0")).toEqual({ bank: "sha256", registers: [0, 1, 2, 7, 14] });
    expect(parseSelection("sha384:23")).toEqual({ bank: "sha384", registers: [23] });
    expect(parseRegisters("14,0-2,7,0")).toEqual([0, 1, 2, 7, 14]);
    for (const text of ["", "24", "7,", "2-0", "0-24", "0-", "7 8", "-1", "100"]) {
      refusalOf(() => parseSelection(text), "usage");
      refusalOf(() => parseRegisters(text), "usage");
    }
    for (const text of ["sha1:7", "sha256:"]) refusalOf(() => parseSelection(text), "usage");
    refusalOf(() => parseRegisters("sha256:7"), "usage");
  });

  test("of a million banks is refused before anything is taken", () => {
    const refused = refusalOf(() => read(u32(1_000_000)), "attestation");
    expect(refused.message).toContain("1000000 elements stand where at most 16 may");
  });
});

test("the digest over registers is that over their values in order, and none where one is missing", () => {
  const values = new Map(
    selection.registers.map((register) => [register, register.toString(16).padStart(64, "0")]),
  );
  const expected = createHash("sha256")
    .update(Buffer.from([...values.values()].join(""), "hex"))
    .digest();
  expect(digestOfRegisters(selection, values)).toEqual(expected);
  values.delete(7);
  expect(digestOfRegisters(selection, values)).toBeNull();
});

test("a key has the template that it was made from, and no other", () => {
  for (const { area } of endorsementTemplates) {
    const same = endorsementTemplates.filter((other) => hasTemplate(area, other.area));
    expect(same.length).toBe(1);
  }
});

test("a point whose coordinates begin with zeros that the TPM has left out is the same point", () => {
  const short = Buffer.from(akPublic);
  const area = parsePublic(short);
  if (area.kind !== "ecc") throw new Error("the attestation key is ECC");
  const cut = encodePublic({ ...area, x: area.x.subarray(1) });
  const read = parsePublic(cut);
  expect(read.kind === "ecc" && read.x).toEqual(Buffer.concat([u8(0), area.x.subarray(1)]));
});

test("the policy of a host's key is PolicyCommandCode(TPM2_Duplicate), as tpm2_policycommandcode has it", () => {
  expect(hostKeyPolicy(null).toString("hex")).toBe(
    "be f5 6b 8c 1c c8 4e 11 ed d7 17 52 8d 2c d9 93 56 bd 2b bf 8f 01 52 09 c3 f8 4a ee ab a8 e8 a2".replaceAll(
      " ",
      "",
    ),
  );
});
