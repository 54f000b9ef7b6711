/** This host's TPM against swtpm, with tpm2-tools as the one who knows better. */
import { describe, expect, test } from "bun:test";
import { X509Certificate } from "node:crypto";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { makeCredential } from "../../../src/attestation/credential/make-credential.ts";
import { checkHostKey } from "../../../src/attestation/credential/shown-keys.ts";
import { parseAttest } from "../../../src/attestation/structures/attest.ts";
import { digestOfRegisters, isSelection } from "../../../src/attestation/structures/pcr-selection.ts";
import type { PcrSelection } from "../../../src/attestation/structures/platform-state.ts";
import { nameOf, parsePublic } from "../../../src/attestation/structures/public-area.ts";
import { verifySignature } from "../../../src/attestation/structures/signature.ts";
import { type HostTpm, openHostTpm, type TpmKeys } from "../../../src/attestation/tpm/host-tpm.ts";
import { loadIdentity, replaceByTpmKey } from "../../../src/channel/identity.ts";
import { rejectionOf } from "../../support/system/refusals.ts";
import { eachTestInFolder } from "../../support/system/test-folder.ts";
import { type Chip, startChip, tpm2 } from "../../support/tpm/chip.ts";
import { countIn, raiseIn } from "../../support/tpm/counter.ts";

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

  test("quotes all registers there are, in either bank", async () => {
    chip = await startChip(folder);
    await tpm2(chip, folder, "pcrextend", `23:sha384=${"12".repeat(48)}`);
    const tpm = await open();
    const all = Array.from({ length: 24 }, (_, register) => register);
    for (const bank of ["sha256", "sha384"] as const) {
      const { quoted, registers: values } = await tpm.quote({ bank, registers: all }, Buffer.alloc(32));
      const attest = parseAttest(quoted);
      expect(attest.kind === "quote" && attest.pcrDigest).toEqual(
        digestOfRegisters({ bank, registers: all }, values)!,
      );
      const read = await tpm2(chip, folder, "pcrread", `${bank}:23`);
      expect(read.toLowerCase()).toContain(values.get(23)!);
    }
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
  const secret = Buffer.alloc(32, 3);

  async function opensItsCredential(): Promise<TpmKeys> {
    const tpm = await open();
    const keys = await tpm.keys();
    const { credentialBlob, encryptedSecret } = makeCredential(keys.ekPublic, keys.akName, secret);
    expect(await tpm.activate(credentialBlob, encryptedSecret)).toEqual(secret);
    return keys;
  }
  const curveOf = ({ ekPublic }: TpmKeys) => {
    const area = parsePublic(ekPublic);
    return area.kind === "ecc" ? area.curve.jwk : `RSA ${area.keyBits}`;
  };

  test("shows the key that the maker has certified, ECC before RSA, made anew or kept in the TPM", async () => {
    chip = await startChip(folder, { certified: true });
    const kept = (await tpm2(chip, folder, "getcap", "handles-persistent")).match(/0x810100\w+/g) ?? [];
    expect(kept.length).toBeGreaterThan(0);
    const ecc = await opensItsCredential();
    expect(curveOf(ecc)).toBe("P-384");
    expect(new X509Certificate(ecc.ekCertificate!).publicKey.asymmetricKeyType).toBe("ec");

    // A TPM whose maker has certified an RSA key alone.
    await tpm2(chip, folder, "nvundefine", "0x1c00016", "-C", "platform");
    const rsa = await opensItsCredential();
    expect(curveOf(rsa)).toBe("RSA 2048");
    expect(new X509Certificate(rsa.ekCertificate!).publicKey.asymmetricKeyType).toBe("rsa");

    for (const at of kept) await tpm2(chip, folder, "evictcontrol", "-C", "owner", "-c", at);
    expect(await opensItsCredential()).toEqual(rsa);
  }, 30_000);

  test("shows the certificate without what its maker has padded it with", async () => {
    chip = await startChip(folder, { certified: true });
    const { ekCertificate } = await opensItsCredential();
    await tpm2(chip, folder, "nvundefine", "0x1c00016", "-C", "platform");
    writeFileSync(join(folder, "padded"), Buffer.concat([ekCertificate!, Buffer.alloc(700, 0xff)]));
    const define = ["nvdefine", "0x1c00016", "-C", "platform", "-s", String(ekCertificate!.length + 700)];
    await tpm2(chip, folder, ...define, "-a", "ppwrite|ppread|ownerread|authread|platformcreate");
    await tpm2(chip, folder, "nvwrite", "0x1c00016", "-C", "platform", "-i", "padded");
    expect((await opensItsCredential()).ekCertificate).toEqual(ekCertificate);
  }, 30_000);

  test("does not show a certificate that is over another key than its own", async () => {
    chip = await startChip(folder, { certified: true });
    await tpm2(chip, folder, "nvread", "0x1c00016", "-o", "other.der");
    await chip.stop();
    const plain = join(folder, "plain");
    mkdirSync(plain);
    chip = await startChip(plain);
    const bytes = readFileSync(join(folder, "other.der")).length;
    const define = ["nvdefine", "0x1c00016", "-C", "platform", "-s", String(bytes)];
    await tpm2(chip, folder, ...define, "-a", "ppwrite|ppread|ownerread|authread|platformcreate");
    await tpm2(chip, folder, "nvwrite", "0x1c00016", "-C", "platform", "-i", "other.der");
    const keys = await opensItsCredential();
    expect(keys.ekCertificate).toBeNull();
    expect(curveOf(keys)).toBe("P-256");
  }, 30_000);
});

describe("a host's own key", () => {
  const qualifyingData = Buffer.alloc(32, 9);

  async function makeIdentity(tpm: HostTpm, selection: PcrSelection | null): Promise<string> {
    const block = await tpm.makeHostKey(selection);
    await replaceByTpmKey(home, block, await tpm.openHostKey(block));
    return block;
  }

  test("is made in the TPM, opened at each start, and certified by the attestation key", async () => {
    chip = await startChip(folder);
    const tpm = await open();
    expect(await tpm.certifyHostKey(qualifyingData)).toBeNull();
    await makeIdentity(tpm, null);
    await chip.reboot();
    const openTpmKey = (block: string) => tpm.openHostKey(block);
    const { certificatePem } = await loadIdentity(home, { openTpmKey });
    const shown = await tpm.certifyHostKey(qualifyingData);
    const { akPublic } = await tpm.keys();
    const terms = { akPublic, qualifyingData, tlsCertificate: new X509Certificate(certificatePem).raw };
    expect(checkHostKey(shown!, terms)).toEqual({ isBoundToRegisters: false });
  });

  test("that is bound to registers is given out only while they are as they were", async () => {
    chip = await startChip(folder);
    const tpm = await open();
    const block = await makeIdentity(tpm, { bank: "sha256", registers: [7, 14] });
    expect(await tpm.openHostKey(block)).toContain("PRIVATE KEY");
    await tpm2(chip, folder, "pcrextend", `14:sha256=${"cd".repeat(32)}`);
    const refused = await rejectionOf(tpm.openHostKey(block));
    expect(refused.code).toBe("tpm-unusable");
    expect(refused.message).toContain("register 14 has another value");
    await chip.reboot();
    expect(await tpm.openHostKey(block)).toContain("PRIVATE KEY");
  });

  test("of a TPM that was cleared is lost, and the sentence says so", async () => {
    chip = await startChip(folder);
    const tpm = await open();
    const block = await makeIdentity(tpm, null);
    const { akName } = await tpm.keys();
    await tpm2(chip, folder, "clear", "-c", "platform");
    const refused = await rejectionOf(tpm.openHostKey(block));
    expect(refused.message).toBe("This host's TPM does not know the key of this host's identity.");
    // The attestation key hangs on the endorsement seed, which a clear leaves alone.
    expect((await tpm.keys()).akName).toEqual(akName);
  });
});

describe("the generation counter", () => {
  test("counts up, over a boot and above what it was before a clear", async () => {
    chip = await startChip(folder);
    const tpm = await open();
    expect(await countIn(tpm)).toBeNull();
    const first = await raiseIn(tpm);
    expect(await raiseIn(tpm)).toBe(first + 1);
    await chip.reboot();
    expect(await countIn(tpm)).toBe(first + 1);
    await tpm2(chip, folder, "clear", "-c", "platform");
    expect(await countIn(tpm)).toBeNull();
    expect(await raiseIn(tpm)).toBeGreaterThan(first + 1);
  });
});
