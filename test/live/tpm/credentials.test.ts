/** A credential that is made in software, against tpm2_makecredential and tpm2_activatecredential on swtpm. */
import { describe, expect, test } from "bun:test";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { makeCredential } from "../../../src/attestation/credential/make-credential.ts";
import { nameOf } from "../../../src/attestation/structures/public-area.ts";
import { openHostTpm } from "../../../src/attestation/tpm/host-tpm.ts";
import { rejectionOf } from "../../support/system/refusals.ts";
import { eachTestInFolder } from "../../support/system/test-folder.ts";
import { type Chip, startChip, tpm2 } from "../../support/tpm/chip.ts";
import { credentialFile, readCredentialFile, readSized, sizedFile } from "../../support/tpm/tss-files.ts";

let folder: string;
let home: string;
let chip: Chip;
eachTestInFolder("credential-", async (made) => {
  folder = made;
  home = join(folder, "home");
  mkdirSync(home, { mode: 0o700 });
  chip = await startChip(folder);
});

const file = (name: string) => readFileSync(join(folder, name));
const secret = Buffer.from("what only that TPM can open, ok?");

describe("an endorsement key of tpm2-tools", () => {
  test.each(["rsa", "ecc"])("%s: tpm2_activatecredential opens the credential", async (kind) => {
    await tpm2(chip, folder, "createek", "-c", "ek.ctx", "-G", kind, "-u", "ek.pub");
    await tpm2(chip, folder, "flushcontext", "-t");
    const ak = [
      "createak",
      "-C",
      "ek.ctx",
      "-c",
      "ak.ctx",
      "-G",
      "ecc",
      "-s",
      "ecdsa",
      "-n",
      "ak.name",
      "-u",
      "ak.pub",
    ];
    await tpm2(chip, folder, ...ak);
    await tpm2(chip, folder, "flushcontext", "-t");
    const ekPublic = readSized(file("ek.pub")).bytes;
    const name = file("ak.name");
    expect(nameOf(readSized(file("ak.pub")).bytes)).toEqual(name);

    const { credentialBlob, encryptedSecret } = makeCredential(ekPublic, name, secret);
    writeFileSync(join(folder, "credential"), credentialFile(credentialBlob, encryptedSecret));
    await tpm2(chip, folder, "startauthsession", "--policy-session", "-S", "session.ctx");
    await tpm2(chip, folder, "policysecret", "-S", "session.ctx", "-c", "e");
    const activate = [
      "activatecredential",
      "-c",
      "ak.ctx",
      "-C",
      "ek.ctx",
      "-i",
      "credential",
      "-o",
      "opened",
    ];
    await tpm2(chip, folder, ...activate, "-P", "session:session.ctx");
    expect(file("opened")).toEqual(secret);
  });
});

describe("the endorsement key of this host", () => {
  test("opens what tpm2_makecredential made for it", async () => {
    const tpm = await openHostTpm({ home, env: { MIGRATE_TPM: chip.place } });
    const { ekPublic, akName } = await tpm.keys();
    writeFileSync(join(folder, "ek.pub"), sizedFile(ekPublic));
    writeFileSync(join(folder, "secret"), secret);
    const made = [
      "makecredential",
      "-u",
      "ek.pub",
      "-s",
      "secret",
      "-n",
      akName.toString("hex"),
      "-o",
      "made",
    ];
    await tpm2(chip, folder, ...made);
    const { credentialBlob, encryptedSecret } = readCredentialFile(file("made"));
    expect(await tpm.activate(credentialBlob, encryptedSecret)).toEqual(secret);
  });

  test("does not open a credential for the attestation key of another, nor one that was changed", async () => {
    const tpm = await openHostTpm({ home, env: { MIGRATE_TPM: chip.place } });
    const { ekPublic, akName } = await tpm.keys();
    const otherName = Buffer.from(akName);
    otherName[10]! ^= 1;
    const other = makeCredential(ekPublic, otherName, secret);
    const refused = await rejectionOf(tpm.activate(other.credentialBlob, other.encryptedSecret));
    expect(refused.message).toBe(
      "This host's TPM does not open the credential: it was made for another TPM or another key.",
    );
    const right = makeCredential(ekPublic, akName, secret);
    right.credentialBlob[40]! ^= 1;
    expect((await rejectionOf(tpm.activate(right.credentialBlob, right.encryptedSecret))).code).toBe(
      "tpm-unusable",
    );
  });
});
