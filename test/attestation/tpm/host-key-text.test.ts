/** The block of identity.pem that holds a key which a TPM made: one way to write it, and nothing else is read. */
import { expect, test } from "bun:test";
import { formatHostKey, type HostKeyText, parseHostKey } from "../../../src/attestation/tpm/host-key-text.ts";
import { seeded } from "../../support/system/random.ts";
import { refusalOf } from "../../support/system/refusals.ts";

const values = new Map([
  [0, "ab".repeat(32)],
  [7, "cd".repeat(32)],
]);
const bound: HostKeyText = {
  registers: { selection: { bank: "sha256", registers: [0, 7] }, values },
  publicBytes: Buffer.alloc(86, 1),
  privateBytes: Buffer.alloc(158, 2),
  creationHash: Buffer.alloc(32, 3),
  ticket: Buffer.alloc(40, 4),
};
const text = formatHostKey(bound);

test("what is written is read again, with registers and without", () => {
  for (const key of [bound, { ...bound, registers: null }])
    expect(parseHostKey(formatHostKey(key))).toEqual(key);
});

test.each([
  ["another version", "Version: 1", "Version: 2"],
  ["a line more", "Public:", "Other: x\nPublic:"],
  ["a register twice", " 7=", " 0="],
  ["a register out of order", " 0=", " 9="],
  ["a register that no platform has", " 7=", " 24="],
  ["another bank", "sha256 ", "sha1 "],
  ["a value that is too short", "abab ", "ab "],
  ["base64 that is not canonical", "AQEB", "AQEC=AQEB"],
  ["another line end", "\nPublic", "\r\nPublic"],
])("%s is refused", (_, from, to) => {
  const changed = text.replace(from, to);
  expect(changed).not.toBe(text);
  refusalOf(() => parseHostKey(changed), "home-unusable");
});

test("a text that was changed anywhere is refused, or is another key's own", () => {
  const random = seeded("changed host keys");
  for (let round = 0; round < 2000; round++) {
    const at = random.below(text.length);
    const changed = text.slice(0, at) + String.fromCharCode(random.below(128)) + text.slice(at + 1);
    try {
      expect(formatHostKey(parseHostKey(changed))).toBe(changed);
    } catch (thrown) {
      expect((thrown as { code?: string }).code).toBe("home-unusable");
    }
  }
});
