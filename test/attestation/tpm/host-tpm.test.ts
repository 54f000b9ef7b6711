/** This host's TPM against swtpm, with tpm2-tools as the one who knows better. */
import { describe, expect, test } from "bun:test";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { makeCredential } from "../../../src/attestation/credential/make-credential.ts";
import { parseAttest } from "../../../src/attestation/structures/attest.ts";
import { digestOfRegisters, isSelection } from "../../../src/attestation/structures/pcr-selection.ts";
import { nameOf } from "../../../src/attestation/structures/public-area.ts";
import { verifySignature } from "../../../src/attestation/structures/signature.ts";
import { openHostTpm } from "../../../src/attestation/tpm/host-tpm.ts";
import { eachTestInFolder } from "../../support/system/test-folder.ts";
import { type Chip, startChip, tpm2 } from "../../support/tpm/chip.ts";

let folder: string;
let home: string;
let chip: Chip;
eachTestInFolder("host-tpm-", async (made) => {
  folder = made;
  home = join(folder, "home");
  mkdirSync(home, { mode: 0o700 });
});

const open = () => openHostTpm({ home, env: { MIGRATE_TPM: chip.place } });
const registers = { bank: "sha256", registers: [0, 1, 2, 3, 4, 5, 6, 7, 10, 14] } as const;

describe("a TPM without certificates", () => {
  test("quotes registers over qualifying data, and tpm2_checkquote takes it", async () => {
    chip = await startChip(folder);
    await tpm2(chip, folder, "pcrextend", `7:sha256=${"ab".repeat(32)}`);
    const tpm = await open();
    const data = Buffer.alloc(32, 7);
    const { quoted, signature, registers: values } = await tpm.quote(registers, data);
    const { akPublic } = await tpm.keys();

    expect(verifySignature(akPublic, quoted, signature)).toBe(true);
    const attest = parseAttest(quoted);
    expect(attest.kind).toBe("quote");
    if (attest.kind !== "quote") return;
    expect(attest.extraData).toEqual(data);
    expect(isSelection(attest.selections, registers)).toBe(true);
    expect(digestOfRegisters(registers, values)).toEqual(attest.pcrDigest);
    expect([...values.keys()]).toEqual([...registers.registers]);

    writeFileSync(join(folder, "quoted"), quoted);
    writeFileSync(join(folder, "signature"), signature);
    // TPM2B_PUBLIC
    const size = Buffer.alloc(2);
    size.writeUInt16BE(akPublic.length);
    writeFileSync(join(folder, "ak.pub"), Buffer.concat([size, akPublic]));
    const check = ["checkquote", "-u", "ak.pub", "-m", "quoted", "-s", "signature", "-g", "sha256"];
    await tpm2(chip, folder, ...check, "-q", data.toString("hex"));
    const other = tpm2(chip, folder, ...check, "-q", "00".repeat(32)).catch(() => "refused");
    expect(await other).toBe("refused");
  });

  test("opens a credential that was made for its keys", async () => {
    chip = await startChip(folder);
    const tpm = await open();
    const { ekPublic, ekCertificate, akPublic, akName } = await tpm.keys();
    expect(ekCertificate).toBeNull();
    expect(nameOf(akPublic)).toEqual(akName);
    const secret = Buffer.alloc(32, 3);
    const { credentialBlob, encryptedSecret } = makeCredential(ekPublic, akName, secret);
    expect(await tpm.activate(credentialBlob, encryptedSecret)).toEqual(secret);
  });
});

describe("a TPM with certificates", () => {
  test("opens a credential that was made for its keys", async () => {
    chip = await startChip(folder, { certified: true });
    const tpm = await open();
    const { ekPublic, ekCertificate, akName } = await tpm.keys();
    expect(ekCertificate).not.toBeNull();
    const secret = Buffer.alloc(32, 3);
    const { credentialBlob, encryptedSecret } = makeCredential(ekPublic, akName, secret);
    expect(await tpm.activate(credentialBlob, encryptedSecret)).toEqual(secret);
  });
});
