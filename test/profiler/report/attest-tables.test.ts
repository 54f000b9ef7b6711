/** What is told of the cost of attestation: tables of moves and of proofs, and a sentence that holds both to the aims. */
import { expect, test } from "bun:test";
import { attestTables, attestWords } from "../../../src/profiler/report/attest-tables.ts";
import type { AttestCost, MoveSample, ProofSample } from "../../../src/profiler/statistics/attest-samples.ts";

const proofs = (offer: number, start: number, release: number): ProofSample["proofs"] => [
  { moment: "offer", wallMs: offer },
  { moment: "start", wallMs: start },
  { moment: "release", wallMs: release },
];

const move = (attested: boolean, totalMs: number, releaseMs = 6): MoveSample => ({
  ...{ attested, totalMs, sourceCpuMs: 100, destinationCpuMs: attested ? 90 : 80 },
  tpmCpuMs: attested ? 3 : 0,
  proofs: attested ? proofs(10, 0, releaseMs).filter(({ moment }) => moment !== "start") : [],
});

const sixth = (times: number) => Array.from({ length: 6 }, (_, i) => i * times);

const local: AttestCost = {
  ...{ startedAt: "2026-11-30T00:00:00Z", seed: 1, link: "loopback", ramBytes: 16 * 1024 ** 2 },
  environment: { cpu: "cpu", cores: 2, kernel: "6", bun: "1", migrate: "0" },
  tpm: "swtpm, a TPM in software, at /s",
  moves: sixth(1).flatMap((i) => [move(false, 400 + i), move(true, 420 + i, 6 + i)]),
  proofs: sixth(1).map((i) => ({
    proofs: proofs(9, 7, 5 + i),
    ...{ sourceCpuMs: 12, destinationCpuMs: 15, tpmCpuMs: 4 },
  })),
};

test("moves with and without, what is added, and the TPM's own CPU apart", () => {
  const [moves, alone] = attestTables(local);
  expect(moves!.title).toContain("16 MiB");
  const [all, source, destination, tpm] = moves!.rows;
  expect(all![0]).toBe("in all");
  expect(all![3]).toStartWith("0.020 [");
  expect(source![3]).toStartWith("0.000 [");
  expect(destination![3]).toStartWith("0.010 [");
  expect(tpm![0]).toBe("CPU of the TPM");
  expect(tpm![3]).toStartWith("0.003 [");
  expect(moves!.notes.join(" ")).toContain("swtpm");
  expect(alone!.rows.map(([before, , , slowest, moved]) => [before, slowest, moved])).toEqual([
    ["OFFER", "9.0 ms", "10.0 ± 0.0"],
    ["START", "7.0 ms", "–"],
    ["RELEASE", "10.0 ms", expect.stringMatching(/^8\.5 ± /)],
    ["all of them", "26.0 ms", expect.stringMatching(/^18\.5 ± /)],
  ]);
});

test("a TPM whose CPU time is not known has no row, and no word for it", () => {
  const { tpmCpuMs: _, ...rest } = local.moves[0]!;
  const unknown = {
    ...local,
    moves: [rest, ...local.moves.slice(1)],
    proofs: local.proofs.map(({ tpmCpuMs: __, ...sample }) => sample),
  };
  const text = JSON.stringify(attestTables(unknown));
  expect(text).not.toContain("CPU of the TPM");
  expect(text).not.toContain("of the TPM's");
});

test("the words hold what is added, and the last quote, in a move too, to the aims", () => {
  const words = attestWords(local);
  expect(words).toStartWith("Attestation adds 0.020 [");
  expect(words).toContain("of which its proofs are 18.5 ms (the aim is less than 0.5 s)");
  expect(words).toContain("8.0 ms in the middle (the aim is less than 50 ms), 11.0 ms at most");
  expect(words).toContain("a chip takes longer");
  const slow = {
    ...local,
    proofs: local.proofs.map((one) => ({ ...one, proofs: proofs(9, 7, 60) })),
    moves: local.moves.map((one) => (one.attested ? move(true, 1400, 70) : one)),
  };
  expect(attestWords(slow)).toContain("(more than the aim, which is less than 0.5 s)");
  expect(attestWords(slow)).toContain("65.0 ms in the middle (more than the aim, which is less than 50 ms)");
});

test("a difference that chance explains is not called a cost", () => {
  const noise = sixth(1).flatMap((i) => [move(false, 400 + 100 * i), move(true, 390 + 110 * i)]);
  expect(attestWords({ ...local, moves: noise })).toContain(
    "does not stand out from what two moves differ by chance",
  );
  const faster = [move(false, 500), move(true, 400)];
  expect(attestWords({ ...local, moves: faster })).toContain("does not stand out");
});

test("of another host there are proofs alone, and few runs are hints", () => {
  const there = {
    ...{ ...local, moves: [], link: "hostb:7600", tpm: "that of hostb:7600", ramBytes: 0 },
    proofs: local.proofs.slice(0, 2).map(({ proofs: times }) => ({ proofs: times, sourceCpuMs: 9 })),
  };
  const tables = attestTables(there);
  expect(tables.map(({ id }) => id)).toEqual(["attest-proofs"]);
  expect(tables[0]!.title).toContain("to hostb:7600");
  expect(tables[0]!.notes.join(" ")).not.toContain("destination's");
  expect(attestWords(there)).toContain("All proofs of a move take 21.5 ms");
  expect(attestWords(there)).toContain("these are hints");
});
