/** Evidence of a platform on which IMA measures on between two proofs: its list is kept once, and what came behind it. */
import { expect, test } from "bun:test";
import { createHash } from "node:crypto";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { gunzipSync, gzipSync } from "node:zlib";
import { type Binding, quoteBinding } from "../../../src/attestation/evidence/binding.ts";
import {
  checkEvidence,
  type Evidence,
  evidenceText,
  keptProofOf,
} from "../../../src/attestation/evidence/evidence-file.ts";
import { policyDigest, policyText } from "../../../src/attestation/policy/policy-file.ts";
import { recordPolicy } from "../../../src/attestation/policy/record.ts";
import type { PlatformState } from "../../../src/attestation/structures/platform-state.ts";
import { openHostTpm } from "../../../src/attestation/tpm/host-tpm.ts";
import { eachTestInFolder } from "../../support/system/test-folder.ts";
import { startChip, tpm2 } from "../../support/tpm/chip.ts";

let folder: string;
eachTestInFolder("kept-lists-", (made) => {
  folder = made;
  mkdirSync(join(folder, "home"), { mode: 0o700 });
});

const host = `sha256:${"aa".repeat(32)}`;
const binding: Binding = {
  ...{ role: "destination", prover: host, verifier: `sha256:${"bb".repeat(32)}` },
  ...{ exporter: Buffer.alloc(32, 7), session: "cd".repeat(16), attempt: 1 },
};

/** u32, little endian, as IMA writes on this machine. */
function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}

/** An entry of IMA's binary list in the template ima-ng, and what it extends register 10 with (SHA-256). */
function imaEntry(path: string): { bytes: Buffer; extends: string } {
  const digest = createHash("sha256").update(path).digest();
  const fields = [Buffer.concat([Buffer.from("sha256:\0"), digest]), Buffer.from(`${path}\0`)];
  const data = Buffer.concat(fields.flatMap((field) => [u32(field.length), field]));
  const head = [u32(10), createHash("sha1").update(data).digest(), u32(6), Buffer.from("ima-ng")];
  return {
    bytes: Buffer.concat([...head, u32(data.length), data]),
    extends: createHash("sha256").update(data).digest("hex"),
  };
}

/** Evidence of three proofs, of which the second and the third are of a list that has grown since the first. */
async function grownEvidence(): Promise<Evidence> {
  const chip = await startChip(folder);
  const tpm = await openHostTpm({ home: join(folder, "home"), env: { MIGRATE_TPM: chip.place } });
  let list = Buffer.alloc(0);
  const run = async (path: string) => {
    const entry = imaEntry(path);
    await tpm2(chip, folder, "pcrextend", `10:sha256=${entry.extends}`);
    list = Buffer.concat([list, entry.bytes]);
  };
  const quoted = async (qualifyingData: Buffer) => {
    const quote = await tpm.quote({ bank: "sha256", registers: [10] }, qualifyingData);
    const clock = { clockMs: 1, resetCount: 1, restartCount: 0, safe: true };
    const facts = { bank: "sha256", clock, firmwareVersion: "00".repeat(8) } as const;
    const state: PlatformState = { ...facts, registers: quote.registers, eventLog: null, imaLog: list };
    return { ...quote, state };
  };
  for (const path of ["/usr/bin/migrate", "/usr/bin/swtpm"]) await run(path);
  const { state } = await quoted(Buffer.alloc(32));
  const { akPublic } = await tpm.keys();
  const head = { host, name: "hostb", version: 1, writtenBy: "a@b", writtenAt: "2026-11-30T00:00:00Z" };
  const keys = { endorsementKey: { digest: "ab".repeat(32), certificate: null }, tlsKeyInTpm: false };
  const recorded = recordPolicy(
    state,
    { ...head, ...keys, attestationKey: akPublic },
    { registers: [10], byEvents: [] },
  );
  const policy = policyText(recorded);
  const proofs: Evidence["proofs"] = [];
  let first: PlatformState | undefined;
  for (const moment of ["offer", "start", "release"] as const) {
    const nonce = createHash("sha256").update(moment).digest("hex");
    const shown = await quoted(quoteBinding(binding, nonce, policyDigest(policy)));
    proofs.push(keptProofOf(moment, 1, { nonce, ...shown }, first));
    first ??= shown.state;
    await run(`/usr/bin/after-${moment}`);
  }
  tpm.close();
  const { exporter, ...bound } = binding;
  return {
    ...{ evidence: "migrate attest v1", ...bound, exporter: Buffer.from(exporter).toString("hex") },
    ...{ policy, proofs },
  };
}

const check = (evidence: Evidence) => checkEvidence(evidenceText(evidence), "evidence.json");
const unpacked = (packed: string | undefined) => gunzipSync(Buffer.from(packed ?? "", "base64")).toString();

test("a list that goes on is kept once, with what came behind it, and all proofs are checked by the whole", async () => {
  const evidence = await grownEvidence();
  const [offer, start, release] = evidence.proofs;
  expect(unpacked(offer!.imaLog)).toContain("/usr/bin/migrate");
  for (const later of [start!, release!]) {
    expect(later.imaLog).toBeUndefined();
    expect(unpacked(later.imaMore)).toContain("after-offer");
    expect(unpacked(later.imaMore)).not.toContain("/usr/bin/migrate");
  }
  const { judgements } = check(evidence);
  expect(judgements.map(({ allowed }) => allowed)).toEqual([true, true, true]);
  expect(judgements[2]!.findings.map(({ words }) => words).join(" ")).toContain("after 4 entries");
}, 30_000);

test("what came behind is nothing without the beginning, and does not hold if it is cut or another's", async () => {
  const evidence = await grownEvidence();
  const [offer, start, release] = evidence.proofs;
  expect(() => check({ ...evidence, proofs: [start!, release!] })).toThrow("has no beginning");

  const { imaMore: _, ...cut } = release!;
  expect(check({ ...evidence, proofs: [offer!, start!, cut] }).judgements[2]!.allowed).toBe(false);
  const other = gzipSync(imaEntry("/usr/bin/other").bytes).toString("base64");
  const swapped = { ...release!, imaMore: other };
  expect(check({ ...evidence, proofs: [offer!, start!, swapped] }).judgements[2]!.allowed).toBe(false);
  const damaged = { ...release!, imaMore: "AAAA" };
  expect(() => check({ ...evidence, proofs: [offer!, start!, damaged] })).toThrow("damaged, or too long");
}, 30_000);
