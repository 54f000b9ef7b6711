/** What the lanes of a source know of the pages that the destination has. */
import { describe, expect, test } from "bun:test";
import { chunkCount, limits } from "../../../../src/protocol/limits.ts";
import { KnownPages } from "../../../../src/transfer/reuse/repeats/known-pages.ts";
import { seeded } from "../../../support/system/random.ts";
import type { PagesFound, PagesWork } from "./known-pages-worker.ts";

const mebibyte = 1024 ** 2;
const { chunkBytes, pageBytes } = limits;
/** Of each size: empty, a part of a page, whole chunks, and a short last one. */
const fileBytes = [0, 100, 3 * chunkBytes, 0, 2 * chunkBytes + 2 * pageBytes + 7, 0];
/** A hash, as CRC-32 gives it: up to 2^32 - 1. */
const hash = 0xfedc_ba98;

/** Lanes that share one memory. */
function lanes(count: number, sizes: readonly number[] = fileBytes): KnownPages[] {
  const memory = KnownPages.memory(sizes);
  return Array.from({ length: count }, (_, lane) => new KnownPages(memory, lane, sizes));
}
/** Where a page lies: its file, and its first byte there. */
type Page = [file: number, from: number];
/** What a lane finds. */
const found = (known: KnownPages, asked: number): Page[] =>
  Array.from({ length: known.find(asked) }, (_, i) => [known.files[i]!, known.places[i]!]);

describe("a page that was noted", () => {
  test("is found by no one before its chunk was sent, then by the lane that sent it, then by all", () => {
    const [first, second] = lanes(2);
    first!.add(hash, 2, 1, 5 * pageBytes + 3);
    expect([found(first!, hash), found(second!, hash)]).toEqual([[], []]);
    first!.sent(2, 1);
    const there: Page[] = [[2, chunkBytes + 5 * pageBytes + 3]];
    expect([found(first!, hash), found(second!, hash)]).toEqual([there, []]);
    first!.confirmed(2, 1);
    expect([found(first!, hash), found(second!, hash)]).toEqual([there, there]);
    second!.gone(2, 1);
    expect([found(first!, hash), found(second!, hash)]).toEqual([[], []]);
    second!.sent(2, 1);
    expect([found(first!, hash), found(second!, hash)]).toEqual([[], there]);
  });

  test("is found where another lane noted it, once the destination has it", () => {
    const [first, second] = lanes(limits.lanes);
    const last = lanes(limits.lanes).at(-1)!;
    first!.add(hash, 4, 2, pageBytes);
    second!.confirmed(4, 2);
    expect(found(first!, hash)).toEqual([[4, 2 * chunkBytes + pageBytes]]);
    // The sixteenth lane is no other than itself either.
    last.add(hash, 4, 0, 0);
    last.sent(4, 0);
    expect(found(last, hash)).toEqual([[4, 0]]);
  });

  test("lies in its file, be there empty ones before, between and behind", () => {
    const [known] = lanes(1);
    let next = 1;
    const expected = new Map<number, Page>();
    fileBytes.forEach((bytes, file) => {
      for (let chunk = 0; chunk < chunkCount(bytes); chunk++) {
        expected.set(next, [file, chunk * chunkBytes]);
        if (bytes >= pageBytes) known!.add(next++, file, chunk, 0);
        known!.sent(file, chunk);
      }
    });
    for (let each = 1; each < next; each++) expect(found(known!, each)).toEqual([expected.get(each)!]);
    expect(next).toBe(7);
  });

  test("stays where it was first seen, and others of its hash are not kept", () => {
    const [known] = lanes(1);
    known!.add(hash, 2, 0, 0);
    known!.add(hash, 2, 1, pageBytes);
    known!.sent(2, 0);
    known!.sent(2, 1);
    expect(found(known!, hash)).toEqual([[2, 0]]);
  });

  test("is told from one whose hash is another, and is not there before it is noted", () => {
    const [known] = lanes(1);
    for (const other of [0, 1, hash, 0xffff_ffff]) expect(found(known!, other)).toEqual([]);
    known!.sent(2, 0);
    // All of them come to the same place of the memory.
    const others = [1, 2, 3].map((i) => (hash & 0x0fff_ffff) + i * 2 ** 28);
    for (const [i, other] of others.entries()) known!.add(other, 2, 0, i * pageBytes);
    expect(found(known!, hash)).toEqual([]);
    expect(others.map((other) => found(known!, other))).toEqual([0, 1, 2].map((i) => [[2, i * pageBytes]]));
  });

  test("does not lie outside of its file, whatever stands in an entry that two lanes wrote at once", () => {
    const [known] = lanes(1);
    // The number of a short last chunk from one lane, the place of a page from the other.
    known!.add(hash, 4, 2, 2 * pageBytes);
    known!.sent(4, 2);
    expect(found(known!, hash)).toEqual([]);
  });
});

describe("the memory", () => {
  test("is of 32 MiB at most for the largest VM, and of little for a small one", () => {
    expect(KnownPages.memory([limits.vmBytes]).byteLength).toBeLessThanOrEqual(32 * mebibyte);
    const many = Array.from({ length: limits.files }, () => Math.floor(limits.vmBytes / limits.files) - 1);
    expect(KnownPages.memory(many).byteLength).toBeLessThanOrEqual(32 * mebibyte);
    expect(KnownPages.memory([]).byteLength).toBeLessThanOrEqual(16 * 1024);
    expect(KnownPages.memory([0, 1]).byteLength).toBeLessThanOrEqual(16 * 1024);
    const [known] = lanes(1, [limits.vmBytes]);
    const last = limits.vmBytes / chunkBytes - 1;
    known!.add(hash, 0, last, chunkBytes - pageBytes);
    known!.sent(0, last);
    expect(found(known!, hash)).toEqual([[0, limits.vmBytes - pageBytes]]);
  });

  test("has room for every page of a VM of 64 MiB, but for the few that share a place with too many", () => {
    const random = seeded("pages of 64 MiB");
    const sizes = [64 * mebibyte];
    const [known] = lanes(1, sizes);
    const pages = Array.from({ length: sizes[0]! / pageBytes }, () => random.below(2 ** 32));
    for (const [i, each] of pages.entries()) known!.add(each, 0, Math.floor(i / 256), (i % 256) * pageBytes);
    for (let chunk = 0; chunk < 64; chunk++) known!.confirmed(0, chunk);
    const there = pages.filter((each, i) => found(known!, each).some(([, from]) => from === i * pageBytes));
    expect(there.length).toBeGreaterThan(0.9 * pages.length);
  });

  test("that is full forgets something for what is new, and does not grow", () => {
    const random = seeded("a full memory");
    const sizes = [mebibyte];
    const memory = KnownPages.memory(sizes);
    const known = new KnownPages(memory, 0, sizes);
    known.sent(0, 0);
    const before = memory.byteLength;
    // No two of them are alike in the upper bits, which are kept.
    const hashes = Array.from({ length: 4096 }, (_, i) => i * 2 ** 20 + random.below(2 ** 20));
    for (const [i, each] of hashes.entries()) {
      known.add(each, 0, 0, (i % 256) * pageBytes);
      expect(found(known, each)).toEqual([[0, (i % 256) * pageBytes]]);
    }
    expect(memory.byteLength).toBe(before);
    const kept = hashes.filter((each) => known.find(each) > 0).length;
    expect(kept).toBeGreaterThan(500);
    expect(kept).toBeLessThan(before / 8);
  });

  test("may be written to by several threads at once: what they find lies in the VM", async () => {
    const random = seeded("several threads");
    const sizes = [3 * chunkBytes, 5 * pageBytes + 9, 2 * chunkBytes + pageBytes];
    const [memory, gate] = [KnownPages.memory(sizes), new SharedArrayBuffer(4)];
    const workers = 3;
    const seeds = Array.from({ length: workers }, () => random.below(2 ** 32));
    const said = await Promise.all(
      seeds.map((seed, lane) =>
        startWorker({ memory, gate, workers, lane, fileBytes: sizes, seed, rounds: 300_000 }),
      ),
    );
    for (const { found, outside, thrown } of said) {
      expect([thrown, outside]).toEqual([undefined, 0]);
      expect(found).toBeGreaterThan(10_000);
    }
  });
});

/** A Worker at work on the memory; resolves with what it saw once it is through. */
async function startWorker(work: PagesWork): Promise<PagesFound> {
  const worker = new Worker(new URL("./known-pages-worker.ts", import.meta.url).href);
  try {
    return await new Promise<PagesFound>((resolve, reject) => {
      worker.onmessage = ({ data }: MessageEvent<PagesFound>) => resolve(data);
      worker.onerror = ({ message }) => reject(new Error(message));
      worker.postMessage(work);
    });
  } finally {
    worker.terminate();
  }
}
