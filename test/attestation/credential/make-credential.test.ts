/** A credential is made for a key that can open it, and for no other; whether a TPM opens it test/live/tpm/ shows. */
import { expect, test } from "bun:test";
import { makeCredential } from "../../../src/attestation/credential/make-credential.ts";
import { endorsementTemplates } from "../../../src/attestation/structures/key-templates.ts";
import { encodePublic, parsePublic } from "../../../src/attestation/structures/public-area.ts";

const secret = Buffer.alloc(32, 1);

test("an endorsement key that is no key, or protects nothing, is refused", () => {
  const [ecc] = endorsementTemplates;
  const area = parsePublic(encodePublic(ecc!.area));
  const name = Buffer.alloc(34);
  // The point (0, 0) is not on the curve.
  expect(() => makeCredential(encodePublic(area), name, secret)).toThrow("its point is not on its curve");
  const bare = encodePublic({ ...area, symmetric: null });
  expect(() => makeCredential(bare, name, secret)).toThrow("it protects nothing");
});
