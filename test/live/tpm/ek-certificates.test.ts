/** The certificate of a TPM's maker, as swtpm_setup makes them, and others that are made here. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { X509Certificate } from "node:crypto";
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { checkEkCertificate } from "../../../src/attestation/credential/ek-certificate.ts";
import { plainEndorsement } from "../../../src/attestation/structures/key-templates.ts";
import { encodePublic } from "../../../src/attestation/structures/public-area.ts";
import { openHostTpm, type TpmKeys } from "../../../src/attestation/tpm/host-tpm.ts";
import { makeCertificate } from "../../../src/channel/certificate.ts";
import { killChildren } from "../../support/system/child.ts";
import { refusalOf } from "../../support/system/refusals.ts";
import { makersPems, startChip } from "../../support/tpm/chip.ts";

/** Two certified chips, of two makers. */
let folder: string;
let keys: TpmKeys;
let others: TpmKeys;
let makers: string[];
let otherMakers: string[];

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "ek-"));
  const certified = async (name: string) => {
    const place = join(folder, name);
    const home = join(place, "home");
    mkdirSync(home, { recursive: true, mode: 0o700 });
    const chip = await startChip(place, { certified: true });
    const shown = await (await openHostTpm({ home, env: { MIGRATE_TPM: chip.place } })).keys();
    return { shown, pems: makersPems(place).map((path) => readFileSync(path, "utf8")) };
  };
  const [one, two] = [await certified("a"), await certified("b")];
  [keys, makers, others, otherMakers] = [one.shown, one.pems, two.shown, two.pems];
}, 30_000);
afterAll(async () => {
  await killChildren();
  rmSync(folder, { recursive: true, force: true });
});

test("of a maker that is given is checked, of none that is given is not", () => {
  const certificate = keys.ekCertificate!;
  const checked = checkEkCertificate(certificate, keys.ekPublic, makers);
  expect(checked).toMatchObject({ chain: "checked", issuer: "CN=swtpm-localca" });
  expect(checkEkCertificate(certificate, keys.ekPublic, []).chain).toBe("not-checked");
  // All of a bundle in one text, the right one among others.
  const bundle = [[...otherMakers, ...makers].join("\n")];
  expect(checkEkCertificate(certificate, keys.ekPublic, bundle).chain).toBe("checked");
});

test("of another maker of the same name is refused", () => {
  const refused = refusalOf(
    () => checkEkCertificate(keys.ekCertificate!, keys.ekPublic, otherMakers),
    "attestation",
  );
  expect(refused.message).toContain("CN=swtpm-localca, which is none of the makers given");
});

test("over another key is refused, with its chain checked or not", () => {
  for (const given of [[], otherMakers]) {
    const refused = refusalOf(
      () => checkEkCertificate(others.ekCertificate!, keys.ekPublic, given),
      "attestation",
    );
    expect(refused.message).toContain("is over another key");
  }
});

test("that is cut, changed or too long is refused", () => {
  const certificate = keys.ekCertificate!;
  const refuse = (bytes: Buffer) =>
    refusalOf(() => checkEkCertificate(bytes, keys.ekPublic, makers), "attestation");
  expect(refuse(certificate.subarray(0, 100)).message).toContain("cannot be read");
  expect(refuse(Buffer.alloc(5000)).message).toContain("cannot be read");
  const changed = Buffer.from(certificate);
  changed[changed.length - 5]! ^= 1;
  refuse(changed);
});

test("that certifies no endorsement key is refused, whoever made it", async () => {
  const { certificatePem } = await makeCertificate();
  const { publicKey, raw } = new X509Certificate(certificatePem);
  const jwk = publicKey.export({ format: "jwk" });
  const coordinate = (text: string | undefined) => Buffer.from(text ?? "", "base64url");
  const area = plainEndorsement.area;
  if (area.kind !== "ecc") throw new Error("the plain endorsement key is ECC");
  const ekPublic = encodePublic({ ...area, x: coordinate(jwk.x), y: coordinate(jwk.y) });
  const refused = refusalOf(() => checkEkCertificate(raw, ekPublic, []), "attestation");
  expect(refused.message).toContain("is none of an endorsement key");
});

test("makers' texts without a certificate are the person's mistake", () => {
  const refuse = (text: string) =>
    refusalOf(() => checkEkCertificate(keys.ekCertificate!, keys.ekPublic, [text]), "usage");
  refuse("nothing");
  refuse("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
});
