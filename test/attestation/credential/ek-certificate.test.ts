/** Who may have made the certificate of an endorsement key, with makers that are made here; swtpm's are in test/live/tpm/. */
import { beforeAll, expect, test } from "bun:test";
import "reflect-metadata";
import {
  BasicConstraintsExtension,
  ExtendedKeyUsageExtension,
  type Extension,
  X509CertificateGenerator,
} from "@peculiar/x509";
import { checkEkCertificate } from "../../../src/attestation/credential/ek-certificate.ts";
import { plainEndorsement } from "../../../src/attestation/structures/key-templates.ts";
import { encodePublic } from "../../../src/attestation/structures/public-area.ts";
import { refusalOf } from "../../support/system/refusals.ts";

const signingAlgorithm = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };
const endorsementUse = "2.23.133.8.1";
let makerKeys: CryptoKeyPair;
let ekKeys: CryptoKeyPair;
let ekPublic: Buffer;

beforeAll(async () => {
  const generate = async () =>
    (await crypto.subtle.generateKey(signingAlgorithm, true, ["sign", "verify"])) as CryptoKeyPair;
  [makerKeys, ekKeys] = [await generate(), await generate()];
  const { x = "", y = "" } = await crypto.subtle.exportKey("jwk", ekKeys.publicKey);
  const { area } = plainEndorsement;
  if (area.kind !== "ecc") throw new Error("the plain endorsement key is ECC");
  ekPublic = encodePublic({ ...area, x: Buffer.from(x, "base64url"), y: Buffer.from(y, "base64url") });
});

async function maker(extensions: Extension[]): Promise<string> {
  const options = { name: "CN=Maker", keys: makerKeys, signingAlgorithm, extensions };
  return (await X509CertificateGenerator.createSelfSigned(options)).toString("pem");
}

async function certificate(uses: string[] | null, dates = {}): Promise<Buffer> {
  const made = await X509CertificateGenerator.create({
    ...{
      subject: "CN=TPM",
      issuer: "CN=Maker",
      publicKey: ekKeys.publicKey,
      signingKey: makerKeys.privateKey,
    },
    ...{ signingAlgorithm, extensions: uses === null ? [] : [new ExtendedKeyUsageExtension(uses)], ...dates },
  });
  return Buffer.from(made.rawData);
}

test("a certificate of a maker that is a CA is taken, with the use of an endorsement key or without any", async () => {
  const ca = await maker([new BasicConstraintsExtension(true)]);
  for (const uses of [[endorsementUse], null])
    expect(checkEkCertificate(await certificate(uses), ekPublic, [ca])).toMatchObject({
      chain: "checked",
      issuer: "CN=Maker",
    });
});

test("a certificate of one who may not certify, or for another use, is refused", async () => {
  const ca = await maker([new BasicConstraintsExtension(true)]);
  const right = await certificate([endorsementUse]);
  const notCa = await maker([new BasicConstraintsExtension(false)]);
  expect(refusalOf(() => checkEkCertificate(right, ekPublic, [notCa]), "attestation").message).toContain(
    "which is none of the makers given",
  );
  // tcg-kp-AIKCertificate: a maker's CA certifies attestation keys as well.
  const other = await certificate(["2.23.133.8.3"]);
  expect(refusalOf(() => checkEkCertificate(other, ekPublic, [ca]), "attestation").message).toContain(
    "is none of an endorsement key",
  );
});

test("a certificate that has run out is that of the same TPM", async () => {
  const ca = await maker([new BasicConstraintsExtension(true)]);
  const dates = { notBefore: new Date("2001-01-01"), notAfter: new Date("2002-01-01") };
  expect(checkEkCertificate(await certificate([endorsementUse], dates), ekPublic, [ca]).chain).toBe(
    "checked",
  );
});
