/** Where a guest's pages lie in a chunk: in an image, in a saved stream, and in what is neither. */
import { describe, expect, test } from "bun:test";
import { limits, pagesPerChunk } from "../../../../src/protocol/limits.ts";
import { findPages } from "../../../../src/transfer/reuse/repeats/page-grid.ts";
import { randomStream } from "../../../support/files/small-vm.ts";
import { type SeededRandom, seeded } from "../../../support/system/random.ts";
import { savedStream } from "./saved-stream.ts";

const { chunkBytes, pageBytes } = limits;
const content = randomStream(21);

/** The places in these bytes, having seen that they are such as there can be. */
function pagesOf(data: Buffer): number[] {
  const places = new Int32Array(pagesPerChunk).fill(-1);
  const count = findPages(data, places);
  expect(count).toBeGreaterThanOrEqual(0);
  expect(count).toBeLessThanOrEqual(pagesPerChunk);
  const found = [...places.subarray(0, count)];
  let free = 0;
  for (const place of found) {
    if (place < free || place + pageBytes > data.length) {
      throw new Error(`place ${place} of ${data.length} bytes, of which ${free} were taken`);
    }
    free = place + pageBytes;
  }
  return found;
}

const multiples = (count: number) => Array.from({ length: count }, (_, i) => i * pageBytes);

describe("in an image", () => {
  test("pages lie at multiples of their size, and a last part of one is none", () => {
    for (const data of [content(chunkBytes), Buffer.alloc(chunkBytes), Buffer.alloc(chunkBytes, 0x28)]) {
      expect(pagesOf(data)).toEqual(multiples(pagesPerChunk));
    }
    for (const [bytes, pages] of [
      [0, 0],
      [1, 0],
      [pageBytes - 1, 0],
      [pageBytes, 1],
      [3 * pageBytes + 4095, 3],
    ] as const) {
      expect(pagesOf(content(bytes))).toEqual(multiples(pages));
    }
  });

  test("what only looks like one record of a stream changes nothing", () => {
    const data = content(chunkBytes);
    savedStream({ pages: [0, content(pageBytes)] }).data.copy(data, 0);
    // The first page of a block names it, and is no record that others follow.
    expect(pagesOf(data)).toEqual(multiples(pagesPerChunk));
    // Two that follow each other, but not as the pages of a guest do.
    const [one, other] = [5, 9].map((page) => {
      const record = Buffer.alloc(8 + pageBytes, content(pageBytes));
      record.writeBigUInt64BE(BigInt(page * pageBytes + 0x28));
      return record;
    });
    Buffer.concat([one!, other!]).copy(data, 100);
    expect(pagesOf(data)).toEqual(multiples(pagesPerChunk));
  });
});

/** Pages of a guest: three of four are of bytes of their own, the others of one byte. */
function guestPages(count: number, random: SeededRandom): (Buffer | number)[] {
  return Array.from({ length: count }, () =>
    random.chance(0.25) ? random.below(2) * 255 : content(pageBytes),
  );
}

/** Of `places`, those of which a chunk has the page and the 8 bytes in front of it. */
const within = (places: readonly number[], from: number, bytes: number) =>
  places
    .filter((place) => place - 8 >= from && place + pageBytes <= from + bytes)
    .map((place) => place - from);

const recordBytes = 8 + pageBytes;
/** True where the page at this place and the one behind it have their heads in front of them and nothing else. */
const goesOn = (places: readonly number[], place: number) =>
  places.includes(place) && places.includes(place + recordBytes);

describe("in a stream that QEMU saved", () => {
  test("pages lie behind their heads, those of one byte have none, and the first of a block is not seen", () => {
    const pages = [content(pageBytes), content(pageBytes), 0, 7, content(pageBytes), content(pageBytes), 0];
    const { data, places, named } = savedStream({ pages });
    expect(places).toHaveLength(3);
    expect(named).toHaveLength(1);
    expect(pagesOf(data)).toEqual(places);
    for (const [i, place] of [pages[1], pages[4], pages[5]].entries()) {
      expect(data.subarray(places[i]!, places[i]! + pageBytes).equals(place as Buffer)).toBe(true);
    }
  });

  test("pages of a guest of many TiB are found as well, and no address beyond 16 TiB is taken for one", () => {
    const pages = [content(pageBytes), content(pageBytes), content(pageBytes), content(pageBytes)];
    const { data, places } = savedStream({ pages, firstPage: 2 ** 32 - 10 });
    expect(pagesOf(data)).toEqual(places);
    const beyond = savedStream({ pages, firstPage: 2 ** 32 });
    expect(pagesOf(beyond.data)).toEqual(multiples(Math.floor(beyond.data.length / pageBytes)));
  });

  test("a chunk may begin and end anywhere in a record", () => {
    const random = seeded("chunks of a stream");
    const { data, places } = savedStream({ pages: guestPages(900, random), sectionPages: 10_000 });
    const froms = [0, ...Array.from({ length: 40 }, () => random.below(data.length - chunkBytes))];
    // Each place in a record's head, in the first and the last bytes of its page.
    for (let i = -12; i < 12; i++) froms.push(places[300]! + i, places[301]! + pageBytes + i);
    for (const from of froms) {
      const expected = within(places, from, chunkBytes);
      const found = pagesOf(data.subarray(from, from + chunkBytes));
      // What names its block does so in the first record alone.
      expect({ from, found }).toEqual({ from, found: expected });
    }
  });

  test("sections, and blocks that are named anew, interrupt the pages and do not end them", () => {
    const random = seeded("sections of a stream");
    for (let round = 0; round < 20; round++) {
      // Not both at once: what takes more than two pages to go on is not looked for.
      const often = 3 + random.below(60);
      const options = round % 2 === 0 ? { sectionPages: often } : { sectionPages: 1000, blockPages: often };
      const pages = Array.from({ length: 700 }, () => content(pageBytes));
      const { data, places } = savedStream({ pages, ...options });
      const begins = places.filter((place) => place < data.length - chunkBytes && goesOn(places, place));
      const from = random.pick(begins) - 8;
      const expected = within(places, from, chunkBytes);
      const found = pagesOf(data.subarray(from, from + chunkBytes));
      expect(found.filter((place) => !expected.includes(place))).toEqual([]);
      // A record that stands alone between two interruptions is passed over.
      const lone = expected.filter(
        (place) => !goesOn(expected, place) && !goesOn(expected, place - recordBytes),
      );
      expect(expected.filter((place) => !found.includes(place) && !lone.includes(place))).toEqual([]);
    }
  });

  test("what lies between pages is passed over once there were more than eight of them", () => {
    const pages = Array.from({ length: 12 }, () => content(pageBytes));
    const [one, other] = [savedStream({ pages }), savedStream({ pages, firstPage: 5000 })];
    const between = content(300_000);
    const behind = one.data.length + between.length;
    const chunk = Buffer.concat([one.data, between, other.data]);
    expect(pagesOf(chunk)).toEqual([...one.places, ...other.places.map((place) => behind + place)]);
  });

  test("as few as eight pages of a stream in a chunk of something else are left to chance", () => {
    const few = savedStream({ pages: Array.from({ length: 9 }, () => content(pageBytes)) });
    expect(few.places).toHaveLength(8);
    const chunk = Buffer.concat([few.data, content(chunkBytes - few.data.length)]);
    expect(pagesOf(chunk)).toEqual(multiples(pagesPerChunk));
  });

  test("where all pages are of one byte, none is found in it", () => {
    const { data } = savedStream({ pages: Array.from({ length: 3000 }, () => 0) });
    expect(pagesOf(data)).toEqual(multiples(Math.floor(data.length / pageBytes)));
  });
});

test("whatever the bytes are, the places lie in them and do not overlap", () => {
  const random = seeded("any bytes");
  for (let round = 0; round < 400; round++) {
    let data = content(random.pick([0, 1, 7, 8, 9, 17, 4104, 8208, 8209, 20_000, 70_000]));
    if (random.chance(0.7)) {
      const stream = savedStream({
        pages: guestPages(1 + random.below(20), random),
        sectionPages: 1 + random.below(8),
        blockPages: 1 + random.below(8),
      }).data;
      data = Buffer.concat([
        data.subarray(0, random.below(5000)),
        stream.subarray(random.below(stream.length)),
      ]);
    }
    // What a head consists of, at places where it does harm.
    for (let i = random.below(30); i > 0 && data.length >= 8; i--) {
      const at = random.below(data.length - 7);
      data.writeBigUInt64BE(
        BigInt(random.below(2 ** 20) * pageBytes + random.pick([0x22, 0x28, 0x08, 0x10])),
        at,
      );
    }
    pagesOf(data.subarray(0, random.chance(0.5) ? data.length : random.below(data.length + 1)));
  }
});
