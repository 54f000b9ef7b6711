/** The arithmetic of the benchmark of growing cost; its runs are for `bun run bench growth`. */
import { expect, test } from "bun:test";
import { statSync } from "node:fs";
import { join } from "node:path";
import { eachTestInFolder } from "../../support/system/test-folder.ts";
import { readOptions } from "./options.ts";
import { type GrowthSample, growthTable } from "./report.ts";
import { makeVmFile } from "./vm-file.ts";

const mib = 2 ** 20;
let folder: string;

eachTestInFolder("migrate-growth-test-", (made) => {
  folder = made;
});

function sampleOf(amount: number, seconds: number, more: Partial<GrowthSample> = {}): GrowthSample {
  return {
    round: 1,
    of: "size",
    amount,
    dataBytes: amount * (mib / 16),
    seconds,
    sourceCpuMs: seconds * 500,
    destinationCpuMs: seconds * 1500,
    sourcePeakBytes: 80 * mib,
    destinationPeakBytes: 90 * mib,
    ...more,
  };
}

test("the table has a row a size with medians, and the line that all samples lie on", () => {
  const samples = [512, 1024, 2048].flatMap((size) =>
    [0, 0, 0.3].map((extra) => sampleOf(size, size / 1024 + 0.5 + extra)),
  );
  const lines = growthTable("One VM", samples).split("\n");
  expect(lines.slice(4, 7)).toEqual([
    "| 512 MiB | 32 | 1.00 (1.00–1.30) | 32.0 | 0.50 | 1.50 | 80.0 | 90.0 |",
    "| 1 GiB | 64 | 1.50 (1.50–1.80) | 24.0 | 0.75 | 2.25 | 80.0 | 90.0 |",
    "| 2 GiB | 128 | 2.50 (2.50–2.80) | 20.0 | 1.25 | 3.75 | 80.0 | 90.0 |",
  ]);
  expect(lines.slice(-3)).toEqual([
    "- time: 1.000 s a GiB of size, and 0.600 s besides; r² = 0.951",
    "- CPU of both sides: 2.000 s a GiB of size, and 1.200 s besides; r² = 0.951",
    "- peak memory of a source: 80 to 80 MiB; of the destination: 90 to 90 MiB",
  ]);
});

test("VMs are counted as such, memory over the limit stands out, and one size alone makes no line", () => {
  const text = growthTable("VMs", [sampleOf(4, 2, { of: "vms", destinationPeakBytes: 260 * mib })]);
  expect(text).toContain("| VMs at once |");
  expect(text).toContain("| 4 | 0 | 2.00 (2.00–2.00) |");
  expect(text).toEndWith("| 80.0 | **260 (over 256)** |");
});

test("a sparse VM has its data in even places, a full one has no holes", () => {
  const [sparse, full] = [join(folder, "sparse.raw"), join(folder, "full.raw")];
  makeVmFile(sparse, 34, 16);
  makeVmFile(full, 2, 1);
  expect([statSync(sparse).size, statSync(full).size]).toEqual([34 * mib, 2 * mib]);
  const allocated = (path: string): number => Math.round((statSync(path).blocks * 512) / mib);
  expect([allocated(sparse), allocated(full)]).toEqual([3, 2]);
});

test("the command line is read, and nonsense is refused by name", () => {
  expect(readOptions([])).toMatchObject({ rounds: 3, vms: [1, 2, 4, 8, 16], vmMiB: 256, folder: "/dev/shm" });
  expect(readOptions([]).sizesMiB.at(-1)).toBe(32_768);
  expect(readOptions(["--sizes", "64,16,64", "--vms", "0"])).toMatchObject({ sizesMiB: [16, 64], vms: [] });
  expect(() => readOptions(["--sizes", "256M"])).toThrow(
    "--sizes takes a whole number from 16 to 1048576, not 256M",
  );
  expect(() => readOptions(["--vms", "1,0"])).toThrow("--vms takes a whole number from 1 to 64, not 0");
  expect(() => readOptions(["--link", "gigabit"])).toThrow("--link");
});
