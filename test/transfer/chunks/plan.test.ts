import { afterEach, describe, expect, test } from "bun:test";
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { chunkCount, chunkLength, limits } from "../../../src/protocol/limits.ts";
import { type PlanStep, plan } from "../../../src/transfer/chunks/plan.ts";
import { SourceTags } from "../../../src/transfer/chunks/source-tags.ts";
import { TagTable } from "../../../src/transfer/chunks/tag-table.ts";
import { type SeededRandom, seeded } from "../../support/system/random.ts";
import { Folder } from "../sparse-file.ts";

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
    expect(steps.next().value).toMatchObject({ kind: "equal", bytes: 4096 * chunkBytes });
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
      "equal 2",
      "work 2",
    ]);
  });
});

test("files of a lower rank come first, those of one rank in their order, and keep their numbers", () => {
  const folder = newFolder();
  const files = [1, 0, 1, undefined, 0].map((rank, i) => ({
    fd: folder.open(folder.file(`disk-${i}`, 10, [piece(0, 1)])),
    ...(rank === undefined ? {} : { rank }),
    tags: new SourceTags(10),
    theirs: null,
  }));
  expect([...plan(files)].map(({ file }) => file)).toEqual([1, 3, 4, 0, 2]);
});

describe("a plan for a large file", () => {
  const first = (chunk: number) => piece(chunk * chunkBytes, 1);
  /** The chunks of each step of work, in their order. */
  const workOf = (bytes: number, chunks: readonly number[]) => {
    const folder = newFolder();
    const fd = folder.open(folder.file("disk", bytes, chunks.map(first)));
    return stepsOf(fd, new SourceTags(bytes), null).filter((step) => step.startsWith("w"));
  };
  const all = (count: number) => Array.from({ length: count }, (_, chunk) => chunk);

  test("goes through four places of it by turns", () => {
    const work = workOf(400 * chunkBytes, all(400));
    expect(work.slice(0, 9)).toEqual([
      ...["w0+8", "w100+8", "w200+8", "w300+8"],
      ...["w8+8", "w108+8", "w208+8", "w308+8", "w16+8"],
    ]);
    expect(work.slice(-4)).toEqual(["w96+4", "w196+4", "w296+4", "w396+4"]);
    expect(work).toHaveLength(4 * 13);
  });

  test("has as many places as there are 64 chunks for each of them", () => {
    for (const [chunks, begins] of [
      [127, ["w0+8", "w8+8"]],
      [128, ["w0+8", "w64+8", "w8+8"]],
      [191, ["w0+8", "w95+8", "w8+8"]],
      [193, ["w0+8", "w64+8", "w128+8", "w8+8"]],
      [256, ["w0+8", "w64+8", "w128+8", "w192+8", "w8+8"]],
    ] as const) {
      const work = workOf(chunks * chunkBytes - 1, all(chunks));
      expect(work.slice(0, begins.length)).toEqual([...begins]);
    }
  });

  test("that has data at its beginning alone, or at its end, is that data and one hole for each place", () => {
    const bytes = 400 * chunkBytes + 5;
    const folder = newFolder();
    const fd = folder.open(folder.file("disk", bytes, [0, 1, 2].map(first)));
    expect(stepsOf(fd, new SourceTags(bytes), null)).toEqual([
      ...["w0+3", `r${100 * chunkBytes}`, `r${100 * chunkBytes}`],
      ...[`r${100 * chunkBytes + 5}`, `r${97 * chunkBytes}`],
    ]);
    expect(workOf(bytes, [399, 400])).toEqual(["w399+2"]);
    expect(workOf(bytes, [])).toEqual([]);
    // Data that goes on from one place into the next one is in both, each chunk in its own.
    const across = folder.file("across", bytes, [piece(99 * chunkBytes, 3 * chunkBytes)]);
    const work = stepsOf(folder.open(across), new SourceTags(bytes), null).filter((step) => step[0] === "w");
    expect(work.sort()).toEqual(["w100+2", "w99+1"]);
  });

  test("leaves out at every place what both are known to have", () => {
    const folder = newFolder();
    const bytes = 400 * chunkBytes;
    const fd = folder.open(folder.file("disk", bytes, all(400).map(first)));
    const [tags, theirs] = [new SourceTags(bytes), new TagTable(bytes)];
    const missing = [99, 100, 250, 399];
    for (const chunk of all(400).filter((each) => !missing.includes(each))) {
      tags.set(chunk, someTag);
      theirs.set(chunk, someTag);
    }
    // Of what they have, one chunk is not known to be the same.
    theirs.set(320, Buffer.alloc(tagBytes, 8));
    const work = stepsOf(fd, tags, theirs).filter((step) => step.startsWith("w"));
    expect(work.sort()).toEqual(["w100+1", "w250+1", "w320+1", "w399+1", "w99+1"]);
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

/** As `someFile`, of hundreds of chunks: each has its data in its first bytes. */
function someLargeFile(folder: Folder, random: SeededRandom, round: number) {
  const chunks = 120 + random.below(500);
  const bytes = (chunks - 1) * chunkBytes + 1 + random.below(chunkBytes);
  const dataPart = random.pick([0.02, 0.5, 1]);
  const values = Array.from({ length: chunks }, () => (random.chance(dataPart) ? random.below(5) : null));
  const pieces = values.flatMap((value, chunk) =>
    value === null ? [] : [piece(chunk * chunkBytes, 1, value)],
  );
  const truth = values.map((value) => Buffer.alloc(tagBytes, value ?? 0));
  const tags = new SourceTags(bytes);
  const theirs = random.chance(0.3) ? null : new TagTable(bytes);
  const knownPart = random.pick([0, 0.5, 0.95]);
  truth.forEach((tag, chunk) => {
    if (random.chance(knownPart)) tags.set(chunk, tag);
    if (random.chance(0.9)) theirs?.set(chunk, random.chance(0.9) ? tag : someTag);
  });
  return { bytes, truth, tags, theirs, fd: folder.open(folder.file(`large-${round}`, bytes, pieces)) };
}

// [INV-2]
test("every plan has each chunk once, leaves out no chunk that differs, and says what is there", () => {
  const random = seeded("plans");
  const folder = newFolder();
  for (let round = 0; round < 80; round++) {
    const make = round < 60 ? someFile : someLargeFile;
    const { bytes, truth, tags, theirs, fd } = make(folder, random, round);
    const theirTag = (chunk: number) => theirs?.get(chunk) ?? Buffer.alloc(tagBytes);
    const steps: PlanStep[] = [...plan([{ fd, tags, theirs }])];
    const worked = new Set<number>();
    let rightBytes = 0;
    for (const step of steps) {
      if (step.kind === "equal") {
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
      const isRight = tags.isKnown(chunk) && tags.get(chunk).equals(theirTag(chunk));
      if (isRight) expect(worked.has(chunk)).toBe(false);
      if (worked.has(chunk)) workBytes += chunkLength(bytes, chunk);
      else expect(theirTag(chunk).equals(tag)).toBe(true);
    });
    expect(workBytes + rightBytes).toBe(bytes);
    expect([...worked].every((chunk) => chunk >= 0 && chunk < truth.length)).toBe(true);
  }
});
