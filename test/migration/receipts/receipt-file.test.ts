/** The text of receipts that people carry: what was written is read again, and anything else is refused in words. */
import { describe, expect, test } from "bun:test";
import type { StoredReceipt } from "../../../src/migration/journal/receipt-table.ts";
import {
  parseReceipts,
  receiptFileBytes,
  receiptText,
} from "../../../src/migration/receipts/receipt-file.ts";
import { MigrateError } from "../../../src/protocol/errors.ts";
import { seeded } from "../../support/system/random.ts";

const receipt: StoredReceipt = {
  kind: "release",
  session: "5e".repeat(16),
  mode: "move",
  digest: `sha256:${"ab".repeat(32)}`,
  signer: `sha256:${"01".repeat(32)}`,
  other: `sha256:${"02".repeat(32)}`,
  generation: 7,
  seen: 4,
  certificate: Buffer.alloc(344, 7).toString("base64"),
  signature: "cd".repeat(64),
};
const text = receiptText("web1", [receipt, { ...receipt, kind: "owned", verdict: "ef".repeat(32) }]);

test("is read as it was written, and says to a person what it is", () => {
  expect(parseReceipts(text)).toEqual([receipt, { ...receipt, kind: "owned", verdict: "ef".repeat(32) }]);
  expect(text).toContain("\n# RELEASE of session 5e5e5e5e5e5e, by the source sha256:0101");
});

test("shows no control characters of a VM's name, and is one file whatever that is", () => {
  const odd = receiptText('web1\n{"kind":"owned"}\u202e', [receipt]);
  expect(parseReceipts(odd)).toEqual([receipt]);
  expect(odd).not.toContain("\u202e");
});

describe("is refused", () => {
  for (const [what, bad] of [
    ["if it is something else", "hello"],
    ["if it is of another version", text.replace("receipts v1", "receipts v2")],
    ["without a receipt", "migrate receipts v1\n# nothing\n"],
    ["with a line that is no JSON", `${text}{`],
    ["with a field too many", text.replace('"kind"', '"more":1,"kind"')],
    ["with a field too few", text.replace('"seen":4,', "")],
    ["with another kind", text.replace('"kind":"release"', '"kind":"closed"')],
    ["with a generation below 0", text.replace('"generation":7', '"generation":-7')],
    ["with more than 16 receipts", receiptText("web1", Array(17).fill(receipt))],
    ["if it is longer than any", `${text}${"#".repeat(receiptFileBytes)}`],
  ] as const) {
    test(what, () => {
      expect(() => parseReceipts(bad)).toThrow(expect.objectContaining({ code: "file-unusable" }));
    });
  }

  test("whatever is changed in it, or read as it was", () => {
    const random = seeded("changed receipts");
    for (let i = 0; i < 20_000; i++) {
      const bytes = Buffer.from(text);
      for (let n = 0; n <= random.below(3); n++) bytes[random.below(bytes.length)] = random.below(256);
      const cut = random.chance(0.1) ? random.below(bytes.length) : bytes.length;
      try {
        const read = parseReceipts(bytes.subarray(0, cut).toString());
        expect(read.length).toBeLessThanOrEqual(2);
      } catch (thrown) {
        if (!(thrown instanceof MigrateError)) throw thrown;
      }
    }
  });
});
