import { expect, test } from "bun:test";
import { readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { requireRoom, writeGuestFile } from "../../../src/profiler/runs/generated-vm.ts";
import { makeInput, roomFor } from "../../../src/profiler/runs/profile-input.ts";
import type { Plan } from "../../../src/profiler/statistics/samples.ts";
import { MigrateError } from "../../../src/protocol/errors.ts";
import { eachTestInFolder } from "../../support/system/test-folder.ts";

let folder = "";
eachTestInFolder("migrate-generated-", (made) => {
  folder = made;
});

const MiB = 1024 ** 2;
const { signal } = new AbortController();
const write = async (name: string, bytes: number, seed: number) =>
  readFileSync(await writeGuestFile({ folder, name, bytes, seed, signal }));

test("a made-up guest has the size asked for, zero pages, text and noise, the same for the same seed", async () => {
  const bytes = 2 * MiB + 12_345;
  const first = await write("a", bytes, 5);
  expect(first.length).toBe(bytes);
  const zero = Buffer.alloc(4096);
  let zeros = 0;
  for (let at = 0; at + 4096 <= bytes; at += 4096) if (first.subarray(at, at + 4096).equals(zero)) zeros++;
  expect(zeros / Math.floor(bytes / 4096)).toBeCloseTo(0.4, 1);
  // Noise does not compress, text does, zeros vanish.
  expect(gzipSync(first).length / bytes).toBeWithin(0.3, 0.55);
  rmSync(join(folder, "a"));
  expect((await write("a", bytes, 5)).equals(first)).toBe(true);
  rmSync(join(folder, "a"));
  expect((await write("a", bytes, 6)).equals(first)).toBe(false);
});

test("writing ends when it is interrupted", async () => {
  const controller = new AbortController();
  controller.abort(new MigrateError("interrupted", "enough"));
  await expect(
    writeGuestFile({ folder, name: "a", bytes: 10 * MiB, seed: 1, signal: controller.signal }),
  ).rejects.toThrow("enough");
});

const plan: Plan = {
  suites: ["insecure"],
  engine: "thesis",
  ramBytes: [MiB, 3 * MiB],
  diskBytes: [0, 2 * MiB],
  runs: 1,
};

test("more than the file system has is refused with a sentence", async () => {
  expect(() => requireRoom(folder, 2 ** 50)).toThrow(
    /takes 1048576.1 GiB of room, and .* has only [\d.]+ (G|M)iB free/,
  );
  const huge = { ...plan, ramBytes: [2 ** 50] };
  const input = makeInput(huge, { folder, seed: 1, destinationHere: true, signal });
  await expect(input).rejects.toMatchObject({ code: "no-room", exitCode: 6 });
});

test("room is counted for what is made and what is received here", () => {
  expect(roomFor(plan, true)).toBe(10 * MiB);
  expect(roomFor(plan, false)).toBe(5 * MiB);
  expect(roomFor({ ...plan, engine: "full" }, true)).toBe(11 * MiB);
  expect(roomFor({ ...plan, vm: "/srv/vm" }, false)).toBe(0);
});

test("a run takes as much of the files as it needs; the disk only where it has one", async () => {
  const input = await makeInput(plan, { folder, seed: 1, destinationHere: true, signal });
  const sizes = (ramBytes: number, diskBytes: number) =>
    input.filesOf({ ramBytes, diskBytes }).map(({ kind, bytes }) => [kind, bytes]);
  expect(sizes(MiB, 0)).toEqual([["ram", MiB]]);
  expect(sizes(3 * MiB, 2 * MiB)).toEqual([
    ["ram", 3 * MiB],
    ["disk", 2 * MiB],
  ]);
  expect(input.warmUp).toEqual({ ramBytes: MiB, diskBytes: 0 });
});
