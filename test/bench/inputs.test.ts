/** What the benchmark's inputs take, and what happens where a machine cannot make them. */
import { expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { debianNames } from "./inputs/debian.ts";
import { inputNames, makeInputs, roomBytes, roomOfAllBytes } from "./inputs.ts";

const gib = 2 ** 30;

test("room for one input is room for its file and a copy without holes", () => {
  expect(roomBytes("random", 1024)).toBe(2 * gib);
  expect(roomBytes("disk", 1024)).toBe(9 * gib);
  for (const name of inputNames) expect(roomOfAllBytes([name], 1024)).toBe(roomBytes(name, 1024));
});

test("inputs share their files: room for all is far less than the sum, and enough for the files and one copy", () => {
  const sumBytes = debianNames.reduce((sum, name) => sum + roomBytes(name, 1024), 0);
  const allBytes = roomOfAllBytes(debianNames, 1024);
  expect(allBytes).toBeLessThan(sumBytes / 2);
  // Six files with more than 1 GiB of data each, a copy of 4 GiB, and the older disk at the destination.
  expect(allBytes).toBeGreaterThan((6 + 4 + 1) * gib);
  expect(roomOfAllBytes(["debian-raw", "debian-raw-base"], 1024)).toBe(roomBytes("debian-raw-base", 1024));
});

test("what a machine cannot make is left out with a sentence on what is missing", async () => {
  const folder = mkdtempSync(join(tmpdir(), "inputs-"));
  const path = process.env.PATH;
  const said: string[] = [];
  try {
    process.env.PATH = folder;
    const inputs = await makeInputs(["random", "debian-raw", "back-qcow2"], folder, 1, (text) =>
      said.push(text),
    );
    expect(inputs.map(({ name, bytes }) => [name, bytes])).toEqual([["random", 2 ** 20]]);
    expect(said).toHaveLength(1);
    expect(said[0]).toStartWith("left out: debian-raw, back-qcow2; missing: ");
    expect(said[0]).toMatch(/as root: apt-get install .*mmdebstrap/);
  } finally {
    process.env.PATH = path;
    rmSync(folder, { recursive: true, force: true });
  }
});
