/** What another host shows as its TPM's keys: what a key has to be, and what is taken for none. */
import { expect, test } from "bun:test";
import { createHash, generateKeyPairSync, type KeyObject, sign, X509Certificate } from "node:crypto";
import {
  checkHostKey,
  requireAttestationKey,
  requireEndorsementKey,
} from "../../../src/attestation/credential/shown-keys.ts";
import {
  attestationTemplate,
  endorsementTemplates,
  hostKeyPolicy,
  hostKeyTemplate,
} from "../../../src/attestation/structures/key-templates.ts";
import { sized, u8, u16, u32 } from "../../../src/attestation/structures/marshal.ts";
import {
  attribute,
  type EccArea,
  encodePublic,
  nameOf,
} from "../../../src/attestation/structures/public-area.ts";
import { makeCertificate } from "../../../src/channel/certificate.ts";
import { refusalOf } from "../../support/system/refusals.ts";

function over(template: EccArea, key: KeyObject): Buffer {
  const { x = "", y = "" } = key.export({ format: "jwk" });
  return encodePublic({ ...template, x: Buffer.from(x, "base64url"), y: Buffer.from(y, "base64url") });
}

const ak = generateKeyPairSync("ec", { namedCurve: "P-256" });
const template = attestationTemplate(Buffer.alloc(32));
const akPublic = over(template, ak.publicKey);
const without = (bit: number) => over({ ...template, attributes: template.attributes & ~bit }, ak.publicKey);

test("an attestation key with every attribute is taken", () => {
  expect(() => requireAttestationKey(akPublic)).not.toThrow();
});

test.each([
  ["restricted", attribute.restricted, "signs whatever it is given"],
  ["fixedTPM", attribute.fixedTpm, "can be taken out of its TPM"],
  ["fixedParent", attribute.fixedParent, "can be taken out of its TPM"],
  ["sensitiveDataOrigin", attribute.sensitiveDataOrigin, "was not made by a TPM"],
  ["sign", attribute.sign, "is of another kind"],
])("an attestation key without %s is refused", (_, bit, words) => {
  expect(refusalOf(() => requireAttestationKey(without(bit)), "attestation").message).toContain(words);
});

test("an attestation key that also decrypts, or has a policy, is refused", () => {
  const { attributes } = template;
  const decrypting = over({ ...template, attributes: attributes | attribute.decrypt }, ak.publicKey);
  refusalOf(() => requireAttestationKey(decrypting), "attestation");
  const withPolicy = over({ ...template, authPolicy: Buffer.alloc(32) }, ak.publicKey);
  refusalOf(() => requireAttestationKey(withPolicy), "attestation");
});

test("an endorsement key is of one of the maker's templates, or refused", () => {
  for (const { area } of endorsementTemplates) {
    requireEndorsementKey(encodePublic(area));
    for (const bit of [attribute.restricted, attribute.fixedTpm, attribute.decrypt]) {
      const other = encodePublic({ ...area, attributes: area.attributes & ~bit });
      refusalOf(() => requireEndorsementKey(other), "attestation");
    }
  }
  // A key that signs, or that decrypts whatever it is given, opens a credential's seed for anybody.
  refusalOf(() => requireEndorsementKey(akPublic), "attestation");
});

/** TPMS_ATTEST and TPMT_SIGNATURE as a TPM makes them, by a key that lies here: what only a TPM can make in truth. */
function certification(name: Buffer, extraData: Buffer, type = 0x801a, signer = ak.privateKey) {
  const clock = Buffer.concat([Buffer.alloc(8), u32(1), u32(1), u8(1)]);
  const certified = Buffer.concat([
    ...[u32(0xff54_4347), u16(type), sized(Buffer.alloc(34)), sized(extraData), clock, Buffer.alloc(8)],
    ...[sized(name), sized(createHash("sha256").digest())],
  ]);
  const raw = sign("sha256", certified, { key: signer, dsaEncoding: "ieee-p1363" });
  const signature = Buffer.concat([
    u16(0x18),
    u16(0x0b),
    sized(raw.subarray(0, 32)),
    sized(raw.subarray(32)),
  ]);
  return { certified, signature };
}

const made = await makeCertificate();
const certificate = new X509Certificate(made.certificatePem);
const keyPublic = over(hostKeyTemplate(hostKeyPolicy(null)), certificate.publicKey);
const qualifyingData = Buffer.alloc(32, 5);
const terms = { akPublic, qualifyingData, tlsCertificate: certificate.raw };

test("a host's key that the TPM says it made, and that TLS is spoken with, is taken", () => {
  const shown = { ...certification(nameOf(keyPublic), qualifyingData), keyPublic };
  expect(checkHostKey(shown, terms)).toEqual({ isBoundToRegisters: false });
});

test("a host's key under a policy of registers is said to be bound to them", () => {
  const policy = hostKeyPolicy({
    selection: { bank: "sha256", registers: [7] },
    digest: Buffer.alloc(32, 1),
  });
  const bound = over(hostKeyTemplate(policy), certificate.publicKey);
  const shown = { ...certification(nameOf(bound), qualifyingData), keyPublic: bound };
  expect(checkHostKey(shown, terms)).toEqual({ isBoundToRegisters: true });
});

const refused = (shown: Parameters<typeof checkHostKey>[0], changed = {}) =>
  refusalOf(() => checkHostKey(shown, { ...terms, ...changed }), "attestation").message;

test("a host's key that was loaded into the TPM, not made by it, is refused", () => {
  const shown = { ...certification(nameOf(keyPublic), qualifyingData, 0x8017), keyPublic };
  expect(refused(shown)).toContain("does not say that the TPM has made the key");
});

test("a host's key that opens by a password too, or was not made by a TPM, is refused", () => {
  const template = hostKeyTemplate(hostKeyPolicy(null));
  for (const attributes of [
    template.attributes | attribute.userWithAuth,
    template.attributes & ~attribute.sensitiveDataOrigin,
    template.attributes | attribute.decrypt,
  ]) {
    const other = over({ ...template, attributes }, certificate.publicKey);
    const shown = { ...certification(nameOf(other), qualifyingData), keyPublic: other };
    expect(refused(shown)).toContain("the key is of another kind");
  }
});

test("a certification by another key, for another occasion, over another key, or of another certificate is refused", async () => {
  const right = { ...certification(nameOf(keyPublic), qualifyingData), keyPublic };
  const software = generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey;
  expect(
    refused({ ...right, ...certification(nameOf(keyPublic), qualifyingData, 0x801a, software) }),
  ).toContain("its attestation key has not signed it");
  expect(refused(right, { qualifyingData: Buffer.alloc(32, 6) })).toContain("another occasion");
  expect(refused({ ...right, ...certification(nameOf(akPublic), qualifyingData) })).toContain(
    "it is over another key",
  );
  const other = new X509Certificate((await makeCertificate()).certificatePem).raw;
  expect(refused(right, { tlsCertificate: other })).toContain("TLS is spoken with another key");
});
