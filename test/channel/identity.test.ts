import { describe, expect, test } from "bun:test";
import { createPrivateKey, generateKeyPairSync, X509Certificate } from "node:crypto";
import { chmodSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { inspect } from "node:util";
import { fingerprintOf, makeCertificate } from "../../src/channel/certificate.ts";
import {
  isSealed,
  keyKeeper,
  loadFingerprint,
  loadIdentity,
  readTpmKey,
  replaceByTpmKey,
  sealIdentity,
  unsealIdentity,
} from "../../src/channel/identity.ts";
import { MigrateError } from "../../src/protocol/errors.ts";
import { eachTestInFolder } from "../support/system/test-folder.ts";

let [home, file] = ["", ""];
eachTestInFolder("migrate-identity-", (made) => {
  home = made;
  file = join(home, "identity.pem");
});

const codeOf = (thrown: unknown) => (thrown instanceof MigrateError ? thrown.code : `no error but ${thrown}`);
/** The least work that is allowed: what is tested here is not how hard a guess is. */
const cheap = { log2N: 14 };
const never = () => Promise.reject(new Error("the passphrase was asked for"));

describe("the identity", () => {
  test("is made on first use in one file closed to others, and is the same ever after", async () => {
    const made = await loadIdentity(home, { passphrase: never });
    expect(readdirSync(home)).toEqual(["identity.pem"]);
    expect(statSync(file).mode & 0o777).toBe(0o600);
    const again = await loadIdentity(home);
    expect(again.fingerprint).toBe(made.fingerprint);
    expect(again.certificatePem).toBe(made.certificatePem);
    expect(again.privateKeyPem).toBe(made.privateKeyPem);
    expect(made.fingerprint).toBe(fingerprintOf(made.certificatePem));
    expect(await loadFingerprint(home)).toBe(made.fingerprint);
    const key = createPrivateKey(made.privateKeyPem);
    expect(new X509Certificate(made.certificatePem).checkPrivateKey(key)).toBe(true);
  });

  test("is one when many make it at once, in one process", async () => {
    const made = await Promise.all(Array.from({ length: 12 }, () => loadIdentity(home)));
    expect(new Set(made.map(({ fingerprint }) => fingerprint)).size).toBe(1);
    expect(readdirSync(home)).toEqual(["identity.pem"]);
  });

  test("is one when several processes make it at once", async () => {
    const module = JSON.stringify(resolve(import.meta.dir, "../../src/channel/identity.ts"));
    const script = `
      import { loadIdentity } from ${module};
      process.stdout.write("ready ");
      await Bun.stdin.text(); // ends when all of them are ready
      process.stdout.write((await loadIdentity(${JSON.stringify(home)})).fingerprint);`;
    const children = [1, 2, 3, 4].map(() => {
      const pipes = { stdin: "pipe", stdout: "pipe", stderr: "inherit" } as const;
      const child = Bun.spawn([process.execPath, "-e", script], pipes);
      return { stdin: child.stdin, reader: child.stdout.pipeThrough(new TextDecoderStream()).getReader() };
    });
    for (const { reader } of children) expect((await reader.read()).value).toBe("ready ");
    for (const { stdin } of children) stdin.end();
    const found = await Promise.all(children.map(async ({ reader }) => (await reader.read()).value));
    expect(new Set(found)).toEqual(new Set([await loadFingerprint(home)]));
  });

  test("shows its key neither in JSON nor when inspected or turned into text", async () => {
    const identity = await loadIdentity(home);
    const shown = [
      JSON.stringify({ identity }),
      inspect({ identity }, { showHidden: true, getters: true, depth: 9 }),
    ];
    shown.push(Bun.inspect(identity), Bun.inspect({ deep: [identity] }), String(identity));
    for (const text of shown) expect(text).not.toContain("PRIVATE");
    expect(shown[0]).toContain(identity.fingerprint);
  });

  for (const mode of [0o640, 0o604, 0o620, 0o602]) {
    test(`is refused when its file has mode ${mode.toString(8)}`, async () => {
      await loadIdentity(home);
      chmodSync(file, mode);
      const refused = await loadIdentity(home).catch((thrown: unknown) => thrown);
      expect(codeOf(refused)).toBe("home-unusable");
      expect((refused as MigrateError).hint).toContain(`chmod 600 ${file}`);
    });
  }

  test("is refused when it is damaged, and is not made anew", async () => {
    const { certificatePem, privateKeyPem } = await loadIdentity(home);
    const other = await makeCertificate();
    const { privateKey } = generateKeyPairSync("ec", { namedCurve: "secp384r1" });
    const p384 = privateKey.export({ type: "pkcs8", format: "pem" }) as string;
    for (const text of [
      "",
      certificatePem,
      privateKeyPem,
      privateKeyPem + certificatePem,
      certificatePem + other.privateKeyPem,
      certificatePem + p384,
      (certificatePem + privateKeyPem).slice(0, -1),
      (certificatePem + privateKeyPem).replace(/\n.{10}/, "\n**********"),
      certificatePem + privateKeyPem.replace(/\nM.{20}/, "\nMAAAAAAAAAAAAAAAAAAAA"),
    ]) {
      writeFileSync(file, text);
      const refused = await loadIdentity(home).catch((thrown: unknown) => thrown);
      expect(codeOf(refused)).toBe("home-unusable");
      expect((refused as MigrateError).message).toContain("is damaged");
      expect(readFileSync(file, "utf8")).toBe(text);
    }
  });
});

describe("an identity whose key the TPM keeps", () => {
  const block = "-----BEGIN MIGRATE TPM KEY-----\nVersion: 1\n-----END MIGRATE TPM KEY-----\n";

  test("replaces the one there was, and is opened by the TPM at each start", async () => {
    const before = await loadIdentity(home);
    expect(keyKeeper(home)).toBe("file");
    const { privateKeyPem } = await makeCertificate();
    writeFileSync(join(home, ".identity.pem.123.abcdef.tmp"), before.privateKeyPem, { mode: 0o600 });
    const made = await replaceByTpmKey(home, block, privateKeyPem);
    expect(made.fingerprint).not.toBe(before.fingerprint);
    expect(keyKeeper(home)).toBe("tpm");
    expect(isSealed(home)).toBe(false);
    expect(readTpmKey(home)).toBe(block);
    expect(readdirSync(home)).toEqual(["identity.pem"]);
    expect(statSync(file).mode & 0o777).toBe(0o600);
    expect(readFileSync(file, "utf8")).not.toContain("BEGIN PRIVATE KEY");
    expect(await loadFingerprint(home)).toBe(made.fingerprint);
    const opened = await loadIdentity(home, {
      openTpmKey: async (text) => (text === block ? privateKeyPem : ""),
    });
    expect(opened.fingerprint).toBe(made.fingerprint);
  });

  test("is not opened where nobody may ask the TPM, nor by another key, nor sealed or unsealed", async () => {
    const { privateKeyPem } = await makeCertificate();
    await replaceByTpmKey(home, block, privateKeyPem);
    const refusalOf = async (act: Promise<unknown>) => codeOf(await act.catch((thrown: unknown) => thrown));
    expect(await refusalOf(loadIdentity(home, { passphrase: async () => "x" }))).toBe("policy");
    const other = (await makeCertificate()).privateKeyPem;
    expect(await refusalOf(loadIdentity(home, { openTpmKey: async () => other }))).toBe("home-unusable");
    expect(await refusalOf(sealIdentity(home, "open sesame", cheap))).toBe("policy");
    expect(await refusalOf(unsealIdentity(home, "open sesame"))).toBe("policy");
    expect(readTpmKey(home)).toBe(block);
  });
});

describe("a sealed identity", () => {
  test("has no open key in its file, opens with the passphrase alone, and can be unsealed", async () => {
    const before = await loadIdentity(home);
    const openFile = readFileSync(file, "utf8");
    // As a crash while it was made would leave it.
    writeFileSync(join(home, ".identity.pem.123.abcdef.tmp"), openFile, { mode: 0o600 });
    expect(isSealed(home)).toBe(false);

    await sealIdentity(home, "open sesame", cheap);
    expect(isSealed(home)).toBe(true);
    expect(readdirSync(home)).toEqual(["identity.pem"]);
    expect(statSync(file).mode & 0o777).toBe(0o600);
    expect(readFileSync(file, "utf8")).not.toContain("BEGIN PRIVATE KEY");

    expect(await loadFingerprint(home)).toBe(before.fingerprint);
    const opened = await loadIdentity(home, { passphrase: async () => "open sesame" });
    expect(opened.privateKeyPem).toBe(before.privateKeyPem);
    expect(codeOf(await loadIdentity(home).catch((thrown: unknown) => thrown))).toBe("passphrase-wrong");
    const wrong = await loadIdentity(home, { passphrase: async () => "open" }).catch(
      (thrown: unknown) => thrown,
    );
    expect(codeOf(wrong)).toBe("passphrase-wrong");
    expect(codeOf(await sealIdentity(home, "again").catch((thrown: unknown) => thrown))).toBe("policy");

    expect(codeOf(await unsealIdentity(home, "open").catch((thrown: unknown) => thrown))).toBe(
      "passphrase-wrong",
    );
    expect(isSealed(home)).toBe(true);
    await unsealIdentity(home, "open sesame");
    expect(readFileSync(file, "utf8")).toBe(openFile);
  });

  test("with another host's certificate before it is refused", async () => {
    await loadIdentity(home);
    await sealIdentity(home, "open sesame", cheap);
    const sealed = readFileSync(file, "utf8");
    const { certificatePem } = await makeCertificate();
    writeFileSync(file, certificatePem + sealed.slice(sealed.indexOf("-----BEGIN MIGRATE")));
    const refused = await loadIdentity(home, { passphrase: async () => "open sesame" }).catch(
      (thrown: unknown) => thrown,
    );
    expect(codeOf(refused)).toBe("home-unusable");
  });

  test("cannot be made with an empty passphrase, nor an open one be unsealed", async () => {
    expect(codeOf(await unsealIdentity(home, "x").catch((thrown: unknown) => thrown))).toBe("policy");
    expect(isSealed(home)).toBe(false);
    expect(codeOf(await sealIdentity(home, "").catch((thrown: unknown) => thrown))).toBe("usage");
    expect(isSealed(home)).toBe(false);
  });
});
