/** What of a chunk need not be sent, since the destination has received it: it is looked at byte for byte. */
import { afterEach, beforeEach, describe, expect, spyOn, test } from "bun:test";
import { truncateSync, writeFileSync } from "node:fs";
import { chunkCount, limits, pagesPerChunk } from "../../../../src/protocol/limits.ts";
import type { Repeat } from "../../../../src/transfer/chunks/shortened-body.ts";
import { randomStream } from "../../../support/files/small-vm.ts";
import { type FinderLane, FinderSource } from "./finder-source.ts";
import { savedStream } from "./saved-stream.ts";

const { chunkBytes, pageBytes } = limits;
const content = randomStream(31);

let source: FinderSource;
/** How long each look at the clock takes: nothing, and nobody is interrupted, be the machine as busy as it may. */
let lookMs: number;
let clock: ReturnType<typeof spyOn<Performance, "now">>;
beforeEach(() => {
  lookMs = 0;
  let nowMs = 0;
  clock = spyOn(performance, "now").mockImplementation(() => (nowMs += lookMs));
  source = new FinderSource();
});
afterEach(() => {
  clock.mockRestore();
  source.close();
});

const laneFor = (...contents: Buffer[]) => source.lanes(contents).all[0]!;
const sum = (repeats: readonly Repeat[]) => repeats.reduce((bytes, repeat) => bytes + repeat.bytes, 0);
const unsent = { sends: false };

describe("in images", () => {
  test("a chunk that comes again is one repeat, of the file in which it came first", () => {
    const chunk = content(chunkBytes);
    const lane = laneFor(content(3 * pageBytes), Buffer.concat([content(chunkBytes), chunk]), chunk);
    expect(lane.repeats(0, 0)).toEqual([]);
    expect(lane.repeats(1, 0)).toEqual([]);
    expect(lane.repeats(1, 1)).toEqual([]);
    expect(lane.repeats(2, 0)).toEqual([{ at: 6, bytes: chunkBytes, file: 1, from: chunkBytes }]);
  });

  test("repeats are joined where they go on in body and file, over the boundary of chunks too, and only there", () => {
    const first = content(2 * chunkBytes);
    const page = (i: number) => first.subarray(i * pageBytes, (i + 1) * pageBytes);
    const second = Buffer.concat([
      // Two that go on over a chunk's boundary, then one that goes back, then one behind another page.
      ...[page(255), page(256), page(3), content(pageBytes), page(4)],
      // Behind a page of zeros, which the body does not have: in the body they touch.
      ...[page(9), Buffer.alloc(pageBytes), page(10), page(12)],
    ]);
    const lane = laneFor(first, second);
    lane.repeats(0, 0);
    lane.repeats(0, 1);
    const pagesAt = 2 + 2 * 4;
    expect(lane.repeats(1, 0)).toEqual([
      { at: pagesAt, bytes: 2 * pageBytes, file: 0, from: 255 * pageBytes },
      { at: pagesAt + 2 * pageBytes, bytes: pageBytes, file: 0, from: 3 * pageBytes },
      { at: pagesAt + 4 * pageBytes, bytes: pageBytes, file: 0, from: 4 * pageBytes },
      { at: pagesAt + 5 * pageBytes, bytes: 2 * pageBytes, file: 0, from: 9 * pageBytes },
      { at: pagesAt + 7 * pageBytes, bytes: pageBytes, file: 0, from: 12 * pageBytes },
    ]);
  });

  test("of pages that are alike, that which goes on is preferred", () => {
    const [often, before] = [content(pageBytes), content(pageBytes)];
    const first = Buffer.concat([often, content(pageBytes), before, often]);
    const { all, memory } = source.lanes([first, Buffer.concat([before, often])]);
    const [lane] = all;
    lane!.repeats(0, 0);
    // Lanes that note a page at the same moment may do it twice: the entry behind the first one is free.
    const entries = new Uint32Array(memory, 0, Math.floor(memory.byteLength / 4));
    const key = Bun.hash.crc32(often) >>> 20;
    const at = entries.findIndex((word, i) => i % 2 === 0 && word === 1 && entries[i + 1]! >>> 20 === key);
    entries.set([1, entries[at + 1]! + 3 * pageBytes], at + 2);
    expect(lane!.repeats(1, 0)).toEqual([{ at: 6, bytes: 2 * pageBytes, file: 0, from: 2 * pageBytes }]);
  });

  test("a page is no repeat of one in the same chunk, of one that is not sent, or of one that is gone", () => {
    const page = content(pageBytes);
    const [lane, other] = source.lanes([Buffer.concat([page, page]), page, page], 2).all;
    expect(lane!.repeats(0, 0, unsent)).toEqual([]);
    expect(lane!.repeats(1, 0, unsent)).toEqual([]);
    lane!.finder.sent(0, 0);
    expect(other!.repeats(1, 0, unsent)).toEqual([]);
    expect(sum(lane!.repeats(1, 0, unsent))).toBe(pageBytes);
    lane!.finder.confirmed({ file: 0, chunk: 0, repeatedBytes: 0 });
    expect(sum(other!.repeats(1, 0, unsent))).toBe(pageBytes);
    lane!.finder.gone({ file: 0, chunk: 0, repeatedBytes: 0 });
    expect([...lane!.repeats(1, 0, unsent), ...other!.repeats(2, 0, unsent)]).toEqual([]);
  });

  test("pages of zeros are never repeats, nor is the short end of a file", () => {
    const end = content(100);
    const pages = Buffer.concat([content(pageBytes), Buffer.alloc(pageBytes), content(pageBytes), end]);
    const lane = laneFor(pages, pages, Buffer.alloc(2 * chunkBytes), end);
    lane.repeats(0, 0);
    const [begin, rest, ...more] = lane.repeats(1, 0);
    expect([begin, rest].map((repeat) => [repeat?.from, repeat?.bytes])).toEqual([
      [0, pageBytes],
      [2 * pageBytes, pageBytes],
    ]);
    expect(more).toEqual([]);
    for (const chunk of [0, 1]) expect(lane.repeats(2, chunk)).toEqual([]);
    expect(lane.repeats(3, 0)).toEqual([]);
  });

  test("nothing is found, and nothing remembered, of a chunk that is not worth it", () => {
    const [chunk, other] = [content(chunkBytes), content(chunkBytes)];
    const lane = laneFor(chunk, chunk, chunk, other, other);
    lane.repeats(0, 0);
    expect(lane.repeats(1, 0, { isWorthIt: false })).toEqual([]);
    expect(sum(lane.repeats(2, 0))).toBe(chunkBytes);
    lane.repeats(3, 0, { isWorthIt: false });
    expect(lane.repeats(4, 0)).toEqual([]);
  });
});

describe("chunks that were sent before anybody knew whether looking is worth it", () => {
  const unlooked = (lane: FinderLane, file: number, chunk = 0) => {
    expect(lane.repeats(file, chunk, { isWorthIt: false })).toEqual([]);
    lane.finder.rememberLater(file, chunk);
  };

  test("are looked at once it is, one for each chunk that is sent then", () => {
    const contents = Array.from({ length: 3 }, () => content(chunkBytes));
    const lane = laneFor(...contents, ...contents);
    for (let file = 0; file < 3; file++) unlooked(lane, file);
    for (let file = 3; file < 6; file++) expect(sum(lane.repeats(file, 0))).toBe(chunkBytes);
  });

  test("are no more than 64, and may end short or be gone by then", () => {
    const [kept, short, lost] = [
      content(chunkBytes),
      content(chunkBytes + 2 * pageBytes + 7),
      content(pageBytes),
    ];
    const lane = laneFor(kept, short, lost, kept, short, lost, Buffer.alloc(chunkBytes));
    unlooked(lane, 2);
    truncateSync(source.path(2), 0);
    unlooked(lane, 1, 1);
    for (let i = 0; i < 62; i++) lane.finder.rememberLater(6, 0);
    unlooked(lane, 0);
    expect(lane.repeats(5, 0)).toEqual([]);
    expect(sum(lane.repeats(4, 1))).toBe(2 * pageBytes);
    for (let i = 0; i < 70; i++) expect(lane.repeats(6, 0)).toEqual([]);
    expect(lane.repeats(3, 0)).toEqual([]);
  });
});

describe("looking ends", () => {
  const chunk = content(chunkBytes);

  test("for one chunk where it takes long, and after eight of them in a row for the next 128", () => {
    const lane = laneFor(chunk, chunk);
    lane.repeats(0, 0);
    const next = () => sum(lane.repeats(1, 0, unsent)) / pageBytes;
    const slowly = (times: number) => {
      lookMs = 6;
      for (let i = 0; i < times; i++) expect(next()).toBe(8);
      lookMs = 0;
    };
    slowly(7);
    expect(next()).toBe(pagesPerChunk);
    slowly(8);
    for (let i = 0; i < 128; i++) expect(next()).toBe(0);
    expect(next()).toBe(pagesPerChunk);
  });

  test("for good where eight chunks in a row could not be put together at the destination", () => {
    const lane = laneFor(chunk, chunk);
    lane.repeats(0, 0);
    const [file, copied] = [1, { file: 1, chunk: 0, repeatedBytes: 1 }];
    const sevenInVain = () => {
      for (let i = 0; i < 7; i++) {
        lane.finder.gone(copied);
        // One that was described and not found says nothing, nor one that came as it is.
        lane.finder.gone({ ...copied, repeatedBytes: 0 });
        lane.finder.confirmed({ ...copied, repeatedBytes: 0 });
      }
      expect(sum(lane.repeats(file, 0))).toBe(chunkBytes);
    };
    sevenInVain();
    lane.finder.confirmed(copied);
    sevenInVain();
    lane.finder.gone(copied);
    expect(lane.repeats(file, 0)).toEqual([]);
  });
});

// The bytes of its generator, x^32 + x^26 + ... + 1, lowest bit first: what they are added to keeps its CRC-32.
const nothingToCrc32 = Buffer.of(0x41, 0x06, 0x71, 0xdb, 0x01);

describe("what is not the same is not a repeat", () => {
  test("two pages of equal CRC-32 and other bytes", () => {
    const page = content(pageBytes);
    for (const at of [0, 1000, pageBytes - nothingToCrc32.length]) {
      const other = Buffer.from(page);
      for (const [i, byte] of nothingToCrc32.entries()) other[at + i]! ^= byte;
      expect(Bun.hash.crc32(other)).toBe(Bun.hash.crc32(page));
      const lane = laneFor(page, other, page);
      lane.repeats(0, 0);
      expect(lane.repeats(1, 0)).toEqual([]);
      expect(lane.repeats(2, 0)).toEqual([{ at: 6, bytes: pageBytes, file: 0, from: 0 }]);
    }
  });

  test("a page that has the CRC-32 of a page of zeros", () => {
    const page = Buffer.alloc(pageBytes);
    nothingToCrc32.copy(page, 77);
    expect(Bun.hash.crc32(page)).toBe(Bun.hash.crc32(Buffer.alloc(pageBytes)));
    const lane = laneFor(page, Buffer.concat([content(pageBytes), page]));
    lane.repeats(0, 0);
    expect(lane.repeats(1, 0)).toEqual([]);
  });

  test("a page whose file was written to, or cut short, since it was sent", () => {
    const chunk = content(chunkBytes);
    const lane = laneFor(chunk, chunk, chunk);
    lane.repeats(0, 0);
    const path = source.path(0);
    writeFileSync(path, Buffer.concat([Buffer.of(chunk[0]! ^ 1), chunk.subarray(1)]));
    expect(sum(lane.repeats(1, 0, unsent))).toBe(chunkBytes - pageBytes);
    truncateSync(path, 5 * pageBytes + 1);
    expect(sum(lane.repeats(1, 0, unsent))).toBe(4 * pageBytes);
    truncateSync(path, 0);
    expect(lane.repeats(1, 0, unsent)).toEqual([]);
  });
});

describe("in a stream that QEMU saved", () => {
  test("pages that lie anywhere are repeats of a disk's, and those of a disk repeats of theirs", () => {
    const pages = Array.from({ length: 400 }, () => content(pageBytes));
    const { data, places } = savedStream({ pages, sectionPages: 100 });
    const disk = Buffer.concat([...pages].reverse());
    for (const [first, second] of [
      [disk, data],
      [data, disk],
    ] as const) {
      const lane = laneFor(first, second);
      for (let chunk = 0; chunk < chunkCount(first.length); chunk++) lane.repeats(0, chunk);
      let bytes = 0;
      for (let chunk = 0; chunk < chunkCount(second.length); chunk++) bytes += sum(lane.repeats(1, chunk));
      // All but the first one, which names its block, and what lies across a chunk's boundary.
      expect(bytes).toBeGreaterThanOrEqual((places.length - 2) * pageBytes);
      expect(bytes).toBeLessThanOrEqual(places.length * pageBytes);
    }
  });

  test("a page that lies in part in a page of zeros of the chunk is sent as it is", () => {
    // All of it is zeros but its first three bytes; with the head behind it, a page of the chunk is zeros.
    const hollow = Buffer.alloc(pageBytes);
    content(3).copy(hollow);
    const pages = [content(pageBytes), content(pageBytes), hollow, content(pageBytes), content(pageBytes)];
    const { data, places } = savedStream({ pages });
    const [one, straddling, ...others] = places;
    // Shifted so that the page begins three bytes before one of the chunk's pages.
    const before = (4 * pageBytes - 3 - straddling!) % pageBytes;
    const shifted = Buffer.concat([content(before), data]);
    // It may be the last of all as well.
    const short = shifted.subarray(0, before + straddling! + pageBytes);
    const lane = laneFor(shifted, Buffer.concat(pages), shifted, short);
    lane.repeats(0, 0);
    lane.repeats(1, 0);
    const froms = (file: number) => lane.repeats(file, 0).map(({ from }) => from - before);
    expect(froms(2)).toEqual([one!, ...others]);
    expect(froms(3)).toEqual([one!]);
  });

  test("a page that is saved although it is all zeros is no repeat", () => {
    const { data } = savedStream({ pages: [content(pageBytes), ...Array(4).fill(Buffer.alloc(pageBytes))] });
    const lane = laneFor(data, data);
    lane.repeats(0, 0);
    expect(lane.repeats(1, 0)).toEqual([]);
  });
});
