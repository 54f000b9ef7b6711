/** `migrate profile --attest` measuring for real: here, by a chip of the test's, and of another host. */
import { expect, test } from "bun:test";
import { mkdirSync, readdirSync } from "node:fs";
import { join } from "node:path";
import type { AttestCost } from "../../../src/profiler/statistics/attest-samples.ts";
import { startProvenHost } from "../../support/attestation/proven-host.ts";
import { runMigrate } from "../../support/system/process.ts";
import { eachTestInFolder } from "../../support/system/test-folder.ts";
import { startChip, tpm2 } from "../../support/tpm/chip.ts";

let folder: string;
let temporary: string;
eachTestInFolder("attest-cost-", (made) => {
  folder = made;
  temporary = join(folder, "tmp");
  mkdirSync(temporary);
});
const limitMs = 60_000;

const profile = (place: string, ...words: string[]) =>
  runMigrate(["profile", "--attest", ...words, "--json"], {
    home: join(folder, "source"),
    env: { TMPDIR: temporary, MIGRATE_TPM: place },
    cwd: folder,
  });

test(
  "here: moves with proofs and without by turns, the proofs alone, CPU of both sides and of swtpm, and nothing stays",
  async () => {
    const chip = await startChip(folder);
    const run = profile(chip.place, "--runs", "2", "--ram", "2M", "--seed", "3");
    const cost = (await run.waitFor("attest-cost", { deadlineMs: limitMs })) as unknown as AttestCost;
    expect((await run.exit).code).toBe(0);
    expect(cost).toMatchObject({ link: "loopback", seed: 3, ramBytes: 2 * 1024 ** 2 });
    expect(cost.tpm).toContain("swtpm");
    expect(cost.moves.map(({ attested }) => attested).sort()).toEqual([false, false, true, true]);
    for (const { attested, totalMs, sourceCpuMs, destinationCpuMs, tpmCpuMs, proofs } of cost.moves) {
      expect(Math.min(totalMs, sourceCpuMs, destinationCpuMs)).toBeGreaterThan(0);
      expect(proofs.map(({ moment }) => moment)).toEqual(attested ? ["offer", "release"] : []);
      // A destination that attests counts every handover in its TPM, with proofs and without.
      expect(tpmCpuMs).toBeGreaterThan(0);
    }
    expect(cost.proofs.length).toBe(2);
    for (const { proofs, tpmCpuMs } of cost.proofs) {
      expect(proofs.map(({ moment }) => moment)).toEqual(["offer", "start", "release"]);
      expect(tpmCpuMs).toBeGreaterThan(0);
      for (const { wallMs } of proofs) expect(wallMs).toBeGreaterThan(0);
    }
    expect(readdirSync(temporary)).toEqual([]);
  },
  limitMs,
);

test(
  "of another host: the proofs alone, only while it is as it was recorded, and nothing is left there",
  async () => {
    const host = await startProvenHost(folder);
    const run = profile("none", "--to", host.address, "--runs", "1");
    const cost = (await run.waitFor("attest-cost", { deadlineMs: limitMs })) as unknown as AttestCost;
    expect(cost).toMatchObject({ link: host.address, moves: [], ramBytes: 0 });
    expect(cost.proofs[0]!.proofs.length).toBe(3);
    expect(readdirSync(host.store).filter((name) => !name.startsWith("."))).toEqual([]);
    await run.exit;

    await tpm2(host.chip, folder, "pcrextend", `7:sha256=${"ab".repeat(32)}`);
    const changed = profile("none", "--to", host.address, "--runs", "1");
    expect((await changed.exit).code).toBe(3);
    expect(changed.events.at(-1)).toMatchObject({ event: "error", code: "attestation" });
  },
  limitMs,
);

test(
  "a host without a TPM is told how to measure all the same, and what belongs to other measurements is refused",
  async () => {
    const none = profile("none");
    expect((await none.exit).code).toBe(6);
    expect(none.events.at(-1)).toMatchObject({ code: "tpm-unusable", hint: expect.stringContaining("--to") });
    for (const words of [
      ["--thesis"],
      ["--suites", "tls"],
      ["--out", "x"],
      ["--ram", "1M,2M"],
      ["--ticket", "x"],
      ["web1"],
    ]) {
      const refused = profile("none", ...words);
      expect((await refused.exit).code, words.join(" ")).toBe(2);
    }
    expect(readdirSync(temporary)).toEqual([]);
  },
  limitMs,
);
