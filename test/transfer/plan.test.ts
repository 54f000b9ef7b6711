import { afterEach, describe, expect, test } from "bun:test";
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { chunkCount, chunkLength, limits } from "../../src/protocol/limits.ts";
import { type PlanStep, plan } from "../../src/transfer/plan.ts";
import { SourceTags } from "../../src/transfer/source-tags.ts";
import { TagTable } from "../../src/transfer/tag-table.ts";
import { type SeededRandom, seeded } from "../support/random.ts";
import { Folder } from "./sparse-file.ts";

const { chunkBytes, pageBytes, tagBytes } = limits;
const zeros = Buffer.alloc(chunkBytes);
const folders: Folder[] = [];
const newFolder = () => {
  const folder = new Folder();
  folders.push(folder);
  return folder;
};
afterEach(() => {
  for (const folder of folders.splice(0)) folder.remove();
});

const piece = (at: number, bytes: number, value = 7) => ({ at, data: Buffer.alloc(bytes, value) });
const someTag = Buffer.alloc(tagBytes, 9);

/** The steps for one file: `r` bytes that need nothing, `w` chunks of work. */
function stepsOf(fd: number, tags: SourceTags, theirs: TagTable | null): string[] {
  return [...plan([{ fd, tags, theirs }])].map((step) =>
    step.kind === "work" ? `w${step.first}+${step.count}` : `r${step.bytes}`,
  );
}

describe("a plan for a sparse file", () => {
  test("of which the destination has nothing is its data, in batches, and no hole", () => {
    const folder = newFolder();
    const bytes = 40 * chunkBytes + 1;
    const path = folder.file("disk", bytes, [
      piece(0, 1),
      piece(3 * chunkBytes - 1, 2),
      piece(20 * chunkBytes, 10 * chunkBytes),
      piece(bytes - 1, 1),
    ]);
    expect(stepsOf(folder.open(path), new SourceTags(bytes), null)).toEqual([
      "w0+1",
      `r${chunkBytes}`,
      "w2+2",
      `r${16 * chunkBytes}`,
      "w20+8",
      "w28+2",
      `r${10 * chunkBytes}`,
      "w40+1",
    ]);
  });

  test("that is empty, or all hole, is no work", () => {
    const folder = newFolder();
    expect(stepsOf(folder.open(folder.file("empty", 0)), new SourceTags(0), null)).toEqual([]);
    for (const bytes of [1, pageBytes - 1, chunkBytes, 3 * chunkBytes + 5]) {
      const fd = folder.open(folder.file(`hole-${bytes}`, bytes));
      expect(stepsOf(fd, new SourceTags(bytes), null)).toEqual([`r${bytes}`]);
      expect(stepsOf(fd, new SourceTags(bytes), new TagTable(bytes))).toEqual([`r${bytes}`]);
    }
  });

  test("of many TiB is not looked at chunk by chunk before it is asked for", () => {
    const folder = newFolder();
    const bytes = limits.vmBytes;
    const fd = folder.open(folder.file("huge", bytes, [piece(0, 1)]));
    const steps = plan([{ fd, tags: new SourceTags(bytes), theirs: null }]);
    expect(steps.next().value).toMatchObject({ kind: "work", first: 0, count: 1 });
    // A hole is said in pieces, so that others get a turn.
    expect(steps.next().value).toMatchObject({ kind: "right", bytes: 4096 * chunkBytes });
  });

  test("has what the destination holds where the source has a hole", () => {
    const folder = newFolder();
    const bytes = 4 * chunkBytes + 100;
    const fd = folder.open(folder.file("disk", bytes));
    const theirs = new TagTable(bytes);
    theirs.set(1, someTag);
    theirs.set(4, someTag);
    const steps = [...plan([{ fd, tags: new SourceTags(bytes), theirs }])];
    const work = steps.filter((step) => step.kind === "work");
    expect(work.map(({ first, count }) => [first, count])).toEqual([
      [1, 1],
      [4, 1],
    ]);
    expect(Buffer.from(work[1]!.have!)).toEqual(someTag);
  });

  test("leaves out what both are known to have, and only that", () => {
    const folder = newFolder();
    const bytes = 5 * chunkBytes;
    const fd = folder.open(folder.file("disk", bytes, [piece(0, bytes)]));
    const tags = new SourceTags(bytes);
    const theirs = new TagTable(bytes);
    for (const chunk of [0, 1, 2, 3]) theirs.set(chunk, someTag);
    tags.set(0, someTag);
    tags.set(1, Buffer.alloc(tagBytes, 8));
    // Known to be zeros on both sides, though it is no hole.
    tags.set(4, Buffer.alloc(tagBytes));
    const work = [...plan([{ fd, tags, theirs }])].filter((step) => step.kind === "work");
    expect(work.map(({ first, count }) => [first, count])).toEqual([[1, 3]]);
  });

  test("goes through the files in order and says which one a step is about", () => {
    const folder = newFolder();
    const files = [0, chunkBytes, 2 * chunkBytes].map((bytes, i) => ({
      fd: folder.open(folder.file(`disk-${i}`, bytes, bytes === 0 ? [] : [piece(bytes - 1, 1)])),
      tags: new SourceTags(bytes),
      theirs: null,
    }));
    expect([...plan(files)].map(({ kind, file }) => `${kind} ${file}`)).toEqual([
      "work 1",
      "right 2",
      "work 2",
    ]);
  });
});

/** A file of a few chunks, with data and holes anywhere, and what the destination may have of it. */
function someFile(folder: Folder, random: SeededRandom, round: number) {
  const bytes = random.chance(0.2)
    ? random.pick([0, 1, pageBytes, chunkBytes - 1, chunkBytes, chunkBytes + 1])
    : random.below(6 * chunkBytes);
  const pieces = Array.from({ length: bytes === 0 ? 0 : random.below(5) }, () => {
    const at = random.below(bytes);
    return piece(
      at,
      Math.min(bytes - at, 1 + random.below(random.pick<number>([1, pageBytes, chunkBytes]))),
      random.below(3),
    );
  });
  const path = folder.file(`disk-${round}`, bytes, pieces);
  const content = readFileSync(path);
  const truth = Array.from({ length: chunkCount(bytes) }, (_, chunk) => {
    const at = chunk * chunkBytes;
    // Any function of the content will do for a tag here.
    const data = content.subarray(at, at + chunkLength(bytes, chunk));
    const isZero = data.equals(zeros.subarray(0, data.length));
    return isZero ? Buffer.alloc(tagBytes) : createHash("sha256").update(data).digest().subarray(0, tagBytes);
  });
  const tags = new SourceTags(bytes);
  const theirs = random.chance(0.3) ? null : new TagTable(bytes);
  truth.forEach((tag, chunk) => {
    if (random.chance(0.4)) tags.set(chunk, tag);
    if (random.chance(0.7)) theirs?.set(chunk, random.chance(0.7) ? tag : someTag);
  });
  return { bytes, truth, tags, theirs, fd: folder.open(path) };
}

// [INV-2]
test("every plan has each chunk once, leaves out no chunk that differs, and says what is there", () => {
  const random = seeded("plans");
  const folder = newFolder();
  for (let round = 0; round < 60; round++) {
    const { bytes, truth, tags, theirs, fd } = someFile(folder, random, round);
    const theirTag = (chunk: number) => theirs?.get(chunk) ?? Buffer.alloc(tagBytes);
    const steps: PlanStep[] = [...plan([{ fd, tags, theirs }])];
    const worked = new Set<number>();
    let rightBytes = 0;
    for (const step of steps) {
      if (step.kind === "right") {
        rightBytes += step.bytes;
        continue;
      }
      expect(step.count).toBeGreaterThan(0);
      expect(step.count).toBeLessThanOrEqual(8);
      for (let i = 0; i < step.count; i++) {
        const chunk = step.first + i;
        expect(worked.has(chunk)).toBe(false);
        worked.add(chunk);
        if (step.have !== null) {
          const said = step.have.subarray(i * tagBytes, (i + 1) * tagBytes);
          expect(theirTag(chunk).equals(said)).toBe(true);
        }
      }
      expect(step.have === null).toBe(theirs === null);
    }
    let workBytes = 0;
    truth.forEach((tag, chunk) => {
      if (worked.has(chunk)) workBytes += chunkLength(bytes, chunk);
      else expect(theirTag(chunk).equals(tag)).toBe(true);
    });
    expect(workBytes + rightBytes).toBe(bytes);
    expect([...worked].every((chunk) => chunk >= 0 && chunk < truth.length)).toBe(true);
  }
});
