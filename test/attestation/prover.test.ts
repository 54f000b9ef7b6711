/** A prover answers what is asked in its order, and not for ever [ATT-9]. */
import { expect, test } from "bun:test";
import { type Asked, Prover } from "../../src/attestation/prover.ts";
import { eachTestInFolder } from "../support/system/test-folder.ts";

let home: string;
eachTestInFolder("prover", (folder) => {
  home = folder;
});

const binding = {
  ...{ exporter: Buffer.alloc(32), prover: "sha256:aa", verifier: "sha256:bb", session: "", attempt: 0 },
  role: "destination" as const,
};
/** No TPM is there: what asks for one is told so. */
const proverHere = () =>
  new Prover({ home, env: { MIGRATE_TPM: `swtpm:${home}/none` }, binding, certificatePem: "" });
const failure = (prover: Prover, asked: Asked) => prover.answer(asked).catch((thrown) => thrown);
const challenge: Asked = {
  name: "challenge",
  body: { nonce: "aa".repeat(32), policy: "bb".repeat(32), bank: "sha256", registers: [0], events: false },
};

test("a credential that was not asked for, and a log of which nothing was said, are refused without a TPM", async () => {
  const prover = proverHere();
  const odd: Asked[] = [
    { name: "activate", body: { credentialBlob: "AAAA", encryptedSecret: "AAAA" } },
    { name: "fetch", body: { log: "events", from: 0 } },
    { name: "fetch", body: { log: "ima", from: 1 } },
  ];
  for (const asked of odd) expect(await failure(prover, asked)).toMatchObject({ code: "protocol" });
});

test("on one connection its TPM is asked so often and no more", async () => {
  const prover = proverHere();
  const codes: string[] = [];
  for (let i = 0; i < 40; i++) codes.push((await failure(prover, challenge)).code);
  expect(codes.filter((code) => code === "tpm-unusable").length).toBe(32);
  expect(codes.slice(32)).toEqual(Array.from({ length: 8 }, () => "protocol"));
});
