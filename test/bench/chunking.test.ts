/** The comparison of cuttings, on images that are small enough to know the answer. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { SeededRandom } from "../support/system/random.ts";
import { aligned, type Cutting, contentDefined } from "./chunking/cutting.ts";
import { Image } from "./chunking/image.ts";
import { measureOverlap, type Overlap } from "./chunking/overlap.ts";
import { chunkingTable } from "./chunking/report.ts";
import { benchChunking, pairsOf } from "./chunking/run.ts";
import type { Input } from "./inputs.ts";

const kib = 1024;
const mib = 2 ** 20;
const random = new SeededRandom(1);
const data = random.bytes(2 * mib);
let folder = "";

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "chunking-"));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function overlapOf(cutting: Cutting, before: Buffer, after: Buffer): Overlap & { dataBytes: number } {
  const open = (name: string, bytes: Buffer): Image => {
    writeFileSync(join(folder, name), bytes);
    return new Image(join(folder, name));
  };
  const [old, young] = [open("old", before), open("young", after)];
  try {
    return { ...measureOverlap(old, young, cutting), dataBytes: young.dataBytes };
  } finally {
    old.close();
    young.close();
  }
}

test("of aligned blocks all are found but the one with a byte that changed", () => {
  const changed = Buffer.from(data);
  changed[300 * kib]! ^= 1;
  const overlap = overlapOf(aligned(64 * kib), data, changed);
  expect(overlap.entries).toBe(32);
  expect(overlap.foundBytes).toBe(2 * mib - 64 * kib);
  expect(overlap.inPlaceBytes).toBe(overlap.foundBytes);
});

test("data that has moved by a page is found in pages and in chunks cut by content, not in larger aligned blocks", () => {
  const moved = Buffer.concat([random.bytes(4 * kib), data]);
  expect(overlapOf(aligned(64 * kib), data, moved).foundBytes).toBe(0);
  const pages = overlapOf(aligned(4 * kib), data, moved);
  expect(pages.foundBytes).toBe(2 * mib);
  expect(pages.inPlaceBytes).toBe(0);
  const chunks = overlapOf(contentDefined(16 * kib), data, moved);
  expect(chunks.foundBytes).toBeGreaterThan(1.8 * mib);
  expect(chunks.foundBytes).toBeLessThan(2 * mib);
});

test("zeros count as nothing: no data, no entry, nothing found", () => {
  const sparse = Buffer.concat([Buffer.alloc(mib), data, Buffer.alloc(mib)]);
  for (const cutting of [aligned(64 * kib), contentDefined(16 * kib)]) {
    const overlap = overlapOf(cutting, sparse, Buffer.alloc(mib));
    expect(overlap).toMatchObject({ dataBytes: 0, foundBytes: 0 });
    const both = overlapOf(cutting, sparse, sparse);
    expect(both).toMatchObject({ dataBytes: 2 * mib, foundBytes: 2 * mib, inPlaceBytes: 2 * mib });
    expect(both.entries).toBe(overlapOf(cutting, data, data).entries);
  }
});

test("a block that is half zeros counts with its half", () => {
  const half = Buffer.concat([data.subarray(0, 32 * kib), Buffer.alloc(32 * kib)]);
  expect(overlapOf(aligned(64 * kib), half, half)).toMatchObject({
    dataBytes: 32 * kib,
    foundBytes: 32 * kib,
    entries: 1,
  });
});

test("chunks cut by content are a quarter to four times the average, and the average in the mean", () => {
  const cutting = contentDefined(16 * kib);
  const lengths: number[] = [];
  for (let start = 0; start < data.length; ) {
    const end = cutting.end(data, start);
    lengths.push(end - start);
    start = end;
  }
  const whole = lengths.slice(0, -1);
  expect(Math.min(...whole)).toBeGreaterThanOrEqual(4 * kib);
  expect(Math.max(...whole)).toBeLessThanOrEqual(64 * kib);
  expect(data.length / lengths.length).toBeGreaterThan(12 * kib);
  expect(data.length / lengths.length).toBeLessThan(24 * kib);
  // Where nothing tells one place from another the upper limit cuts.
  expect(cutting.end(Buffer.alloc(mib, 1), 0)).toBe(64 * kib);
});

test("the table has what was found, what is left, and the entries of an index", () => {
  const overlap: Overlap = {
    foundBytes: 768 * mib,
    inPlaceBytes: 512 * mib,
    entries: 16_384,
    cutSeconds: 1,
    hashSeconds: 0.5,
  };
  const row = { title: "aligned 64 KiB", overlap, oldBytes: 2048 * mib, newBytes: 1024 * mib };
  expect(chunkingTable("A disk", [row]).split("\n")[4]).toBe(
    "| aligned 64 KiB | 768 | 75.0 | 50.0 | 256 | 8192 | 0.33 | 0.17 |",
  );
});

test("each disk is looked for in what was before it, and the qcow2 one in the raw base too", () => {
  const input = (name: string, path: string, before?: Input["before"]): Input => ({
    ...{ name, path, kind: "disk", sparse: true, bytes: 1, allocatedBytes: 1, title: name },
    ...(before === undefined ? {} : { before }),
  });
  const base = (path: string) => ({ path, kind: "base", title: "its base" }) as const;
  const pairs = pairsOf([
    input("debian-raw", "lived.raw"),
    input("debian-raw-base", "lived.raw", base("base.raw")),
    input("debian-qcow2-base", "lived.qcow2", base("base.qcow2")),
  ]);
  expect(pairs.map(({ oldPath, newPath }) => [oldPath, newPath])).toEqual([
    ["base.raw", "lived.raw"],
    ["base.qcow2", "lived.qcow2"],
    ["base.raw", "lived.qcow2"],
  ]);
});

test("a size that is no size is named", async () => {
  await expect(benchChunking(["--size", "8"], () => {})).rejects.toThrow(
    "a whole number from 16 to 65536, not 8",
  );
  await expect(benchChunking(["--fast"], () => {})).rejects.toThrow("--fast");
});
