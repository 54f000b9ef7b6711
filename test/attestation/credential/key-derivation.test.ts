/** KDFa and KDFe against what OpenSSL derives: `openssl kdf … KBKDF` (HMAC, counter mode) and `openssl kdf … SSKDF`. */
import { expect, test } from "bun:test";
import { kdfA, kdfE } from "../../../src/attestation/credential/key-derivation.ts";
import { bankHash } from "../../../src/attestation/structures/algorithms.ts";

const [sha256, sha384] = [bankHash("sha256"), bankHash("sha384")];
const filled = (byte: number, count: number) => Buffer.alloc(count, byte);

test("KDFa derives what SP 800-108 in counter mode does, over one block and over two", () => {
  const [contextU, contextV] = [filled(1, 16), filled(2, 16)];
  expect(
    kdfA(filled(0x0b, 32), { hash: sha256, label: "ATH", contextU, contextV, bits: 256 }).toString("hex"),
  ).toBe("63591fea5c8a26cee98e509a3cd1ba3b4e3c079f7014fc56e5805175d15e292b");
  expect(
    kdfA(filled(0x0b, 32), {
      ...{ hash: sha256, label: "STORAGE", contextU: filled(1, 34), contextV: filled(0, 0), bits: 128 },
    }).toString("hex"),
  ).toBe("4fd5387b36c933e5e21d3e1aefd2293a");
  expect(
    kdfA(filled(0x0b, 48), { hash: sha384, label: "STORAGE", contextU, contextV, bits: 512 }).toString("hex"),
  ).toBe(
    "4a26f6c97901afd0444abc765b246063b534660b621ab96d19ddd3a30b056bb7f9a55a056a5231ea50de6733ce86d575a56634937a2db37f2df4d7546b8fb134",
  );
});

test("KDFe derives what SP 800-56A's concatenation does, over one block and over two", () => {
  const label = "IDENTITY";
  expect(
    kdfE(filled(0x0c, 32), {
      ...{ hash: sha256, label, contextU: filled(3, 32), contextV: filled(4, 32), bits: 256 },
    }).toString("hex"),
  ).toBe("a2385ab2ac50dc367c5e4ce1ad4c370f52b5266ba9907a7e305af967d7c82a83");
  expect(
    kdfE(filled(0x0c, 48), {
      ...{ hash: sha384, label, contextU: filled(3, 48), contextV: filled(4, 48), bits: 480 },
    }).toString("hex"),
  ).toBe(
    "80150e6423406c707937e0078f167476357dc1672d44dca0e569d77e6c2766ad6f39272088b1999f4d9bb2a79bde73b3bb1edc7a42cb680079ce6c5b",
  );
});
