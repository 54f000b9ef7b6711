import { describe, expect, test } from "bun:test";
import { chunkBodyBytes, limits } from "../../../src/protocol/limits.ts";
import {
  lengthenBody,
  type ReadReceived,
  type Repeat,
  shortenInPlace,
} from "../../../src/transfer/chunks/shortened-body.ts";
import { type SeededRandom, seeded } from "../../support/system/random.ts";
import { slowBody } from "../slow-chunk.ts";

const { chunkBytes, pageBytes, vmBytes } = limits;
/** Sizes of the session's files: beyond 32 bits, no multiple of a page, and nothing. */
const fileBytes = [vmBytes - 9 * chunkBytes, 3 * chunkBytes + 77, 0];

/** Where nothing was written. */
const untouched = Buffer.alloc(chunkBodyBytes + pageBytes, 0xee);
const isUntouched = (bytes: Buffer) => bytes.equals(untouched.subarray(0, bytes.length));

/** The slow twin of shortenInPlace. */
function slowShortened(body: Buffer, repeats: readonly Repeat[]): Buffer {
  const head = Buffer.alloc(2 + repeats.length * 20);
  head.writeUInt16BE(repeats.length, 0);
  const rest: Buffer[] = [];
  let done = 0;
  for (const [i, { at, bytes, file, from }] of repeats.entries()) {
    head.writeUInt32BE(at, 2 + i * 20);
    head.writeUInt32BE(bytes, 6 + i * 20);
    head.writeUInt32BE(file, 10 + i * 20);
    head.writeBigUInt64BE(BigInt(from), 14 + i * 20);
    rest.push(body.subarray(done, at));
    done = at + bytes;
  }
  return Buffer.concat([head, ...rest, body.subarray(done)]);
}

/** A body whose pages differ, with zeros between them. */
function someBody(random: SeededRandom): Buffer {
  const pages = 1 + random.below(random.chance(0.1) ? 256 : 24);
  const data = Buffer.alloc(
    (pages - 1) * pageBytes + (random.chance(0.5) ? pageBytes : 1 + random.below(4096)),
  );
  for (let at = 0; at < data.length; at += pageBytes) {
    if (random.chance(0.7)) data.fill(random.bytes(5), at, Math.min(at + pageBytes, data.length));
  }
  return slowBody(data);
}

const pagesAt = (body: Buffer) => 2 + body.readUInt16BE(0) * 4;

/** At least one repeat, touching each other or not, from anywhere in the files. */
function someRepeats(random: SeededRandom, body: Buffer): Repeat[] {
  const repeats: Repeat[] = [];
  let at = pagesAt(body);
  for (; at + pageBytes <= body.length && !(repeats.length > 0 && random.chance(0.1)); ) {
    if (repeats.length > 0 && random.chance(0.5)) at += random.below(2 * pageBytes);
    const most = body.length - at;
    if (most < pageBytes) break;
    const bytes = Math.min(most, random.chance(0.5) ? pageBytes : pageBytes + random.below(3 * pageBytes));
    const file = random.below(2);
    const room = fileBytes[file]! - bytes;
    repeats.push({
      at,
      bytes,
      file,
      from: random.pick([0, room, Math.floor(random.below(2 ** 30) * (room / 2 ** 30))]),
    });
    at += bytes;
  }
  return repeats;
}

/** Answers what is asked with the bytes that belong there, and keeps what was asked. */
function reader(
  body: Buffer,
  repeats: readonly Repeat[],
): { read: ReadReceived; asked: Omit<Repeat, "at">[] } {
  const asked: Omit<Repeat, "at">[] = [];
  const read: ReadReceived = (file, from, into) => {
    const { at, bytes } = repeats[asked.length]!;
    asked.push({ file, from, bytes: into.length });
    body.copy(into, 0, at, at + bytes);
    return true;
  };
  return { read, asked };
}

/** Shortens as a ChunkBuffer does: in a room where the body's pages begin at a page, with room for runs before it. */
function shortened(body: Buffer, repeats: readonly Repeat[]): Buffer {
  const begin = pageBytes - pagesAt(body);
  const room = Buffer.alloc(2 * pageBytes + chunkBytes, 0xee);
  body.copy(room, begin);
  const from = shortenInPlace(room, begin, begin + body.length, repeats);
  expect(from).toBeGreaterThanOrEqual(begin);
  // Neither what is before it nor what is behind it is touched.
  expect(isUntouched(room.subarray(0, begin))).toBe(true);
  expect(isUntouched(room.subarray(begin + body.length))).toBe(true);
  return room.subarray(from, begin + body.length);
}

function refused(bytes: Buffer, files = fileBytes): void {
  let reads = 0;
  const count = () => ++reads > 0;
  let thrown: unknown;
  try {
    lengthenBody(bytes, files, count);
  } catch (error) {
    thrown = error;
  }
  expect([thrown, reads]).toEqual([expect.objectContaining({ code: "protocol" }), 0]);
}

// [COPY-1]
test("what a body is shortened to is what the slow twin says, and becomes the same body again", () => {
  const random = seeded("shortened bodies");
  const around = Buffer.alloc(chunkBodyBytes + 2 * pageBytes);
  const room = around.subarray(pageBytes, pageBytes + chunkBodyBytes);
  let copied = 0;
  for (let round = 0; round < 300; round++) {
    const body = someBody(random);
    const repeats = someRepeats(random, body);
    if (repeats.length === 0) continue;
    const bytes = shortened(body, repeats);
    expect(bytes.equals(slowShortened(body, repeats))).toBe(true);
    const { read, asked } = reader(body, repeats);
    around.fill(0xee);
    const whole = lengthenBody(bytes, fileBytes, read, ...(random.chance(0.5) ? [room] : []));
    expect(whole.body.equals(body)).toBe(true);
    expect(whole.repeats).toBe(repeats.length);
    // Each of them once, in their order, and nothing else.
    expect(asked).toEqual(repeats.map(({ file, from, bytes }) => ({ file, from, bytes })));
    for (const end of [around.subarray(0, pageBytes), around.subarray(pageBytes + chunkBodyBytes)]) {
      expect(isUntouched(end)).toBe(true);
    }
    copied += repeats.length;
  }
  expect(copied).toBeGreaterThan(500);
});

test("a chunk of as many pages as there can be, each a repeat of its own, is shortened to their names", () => {
  const body = slowBody(Buffer.alloc(chunkBytes, 0x5a));
  const repeats = Array.from({ length: 256 }, (_, i) => ({
    at: 6 + i * pageBytes,
    bytes: pageBytes,
    file: 0,
    from: i,
  }));
  const bytes = shortened(body, repeats);
  expect(bytes.length).toBe(2 + 256 * 20 + 6);
  expect(lengthenBody(bytes, fileBytes, reader(body, repeats).read).body.equals(body)).toBe(true);
});

// [COPY-2]
test("a repeat that cannot be read is zeros, and nothing of what stood in the room before", () => {
  const body = slowBody(Buffer.alloc(3 * pageBytes, 7));
  const at = 6 + pageBytes;
  const bytes = shortened(body, [{ at, bytes: pageBytes, file: 1, from: 5 }]);
  const cut: ReadReceived = (_file, _from, into) => into.fill(1, 0, 9).length === 0;
  const whole = lengthenBody(bytes, fileBytes, cut, Buffer.alloc(chunkBodyBytes, 7));
  expect(whole.body.equals(Buffer.from(body).fill(0, at, at + pageBytes))).toBe(true);
  expect(whole.repeats).toBe(1);
});

describe("a shortened body of a peer is refused before anything is read", () => {
  const body = slowBody(
    Buffer.concat([Buffer.alloc(pageBytes, 1), Buffer.alloc(pageBytes), Buffer.alloc(5 * pageBytes, 2)]),
  );
  const first = pagesAt(body);
  const good: Repeat[] = [0, 2, 4].map((page) => ({
    at: first + page * pageBytes,
    bytes: pageBytes,
    file: 1,
    from: page * pageBytes,
  }));
  const last = good[2]!;
  const whole = slowShortened(body, good);

  test("and not where it is right", () => {
    const { read, asked } = reader(body, good);
    expect(lengthenBody(whole, fileBytes, read).body.equals(body)).toBe(true);
    expect(asked.length).toBe(3);
  });

  // [COPY-1] The one at fault is the last one: those before it are not read either.
  test.each<[string, Partial<Repeat>]>([
    ["one byte shorter than a page", { bytes: pageBytes - 1 }],
    ["of no byte", { bytes: 0 }],
    ["that overlaps the one before by a byte", { at: good[1]!.at + pageBytes - 1 }],
    ["in the place of the one before", { at: good[1]!.at }],
    ["before all others", { at: first }],
    ["one byte behind the end", { at: body.length - pageBytes + 1 }],
    ["as far behind as can be said", { at: 0xffff_ffff }],
    ["longer than there can be", { bytes: 0xffff_ffff, file: 0 }],
    [
      "one byte longer than the largest body",
      { bytes: pageBytes + chunkBodyBytes + 1 - body.length, file: 0 },
    ],
    ["of a file that there is not", { file: 3 }],
    ["of a file far off", { file: 0xffff_ffff }],
    ["of an empty file", { file: 2, from: 0 }],
    ["from one byte behind its file", { from: fileBytes[1]! - pageBytes + 1 }],
    ["from the end of its file", { from: fileBytes[1]! }],
    ["from its end in a large file", { file: 0, from: fileBytes[0]! - pageBytes + 1 }],
    ["from beyond 2^32", { from: 2 ** 32 }],
    ["from 2^53", { from: 2 ** 53 }],
    ["from 2^63", { file: 0, from: 2 ** 63 }],
  ])("by a repeat %s", (_what, change) => {
    // The rest stays what it was, as if that repeat were right.
    const bytes = Buffer.concat([
      slowShortened(body, [good[0]!, good[1]!, { ...last, ...change }]).subarray(0, 62),
      whole.subarray(62),
    ]);
    refused(bytes);
  });

  // [COPY-1]
  test("by a place of 64 bits that are all set, or that comes to nothing with a page added", () => {
    for (const from of [2n ** 64n - 1n, 2n ** 64n - BigInt(pageBytes), 2n ** 53n + 1n]) {
      const bytes = Buffer.from(whole);
      bytes.writeBigUInt64BE(from, 54);
      refused(bytes);
    }
  });

  // [COPY-1]
  test("where it is cut anywhere in its head or its runs, has a copy in them, or has none", () => {
    for (let length = 0; length < 62 + first; length++) refused(whole.subarray(0, length));
    refused(Buffer.concat([Buffer.alloc(2), body]));
    const [more, inRuns] = [Buffer.from(whole), Buffer.from(whole)];
    more.writeUInt16BE(0xffff, 0);
    refused(more);
    inRuns.writeUInt32BE(first - 1, 2);
    refused(inRuns);
  });

  // [COPY-1]
  test("or reads what lies in the session's files, whatever bit of its head is another", () => {
    for (let bit = 0; bit < 62 * 8; bit++) {
      const bytes = Buffer.from(whole);
      bytes[bit >> 3] = bytes[bit >> 3]! ^ (1 << (bit & 7));
      const read: ReadReceived = (file, from, into) => {
        expect(from + into.length).toBeLessThanOrEqual(fileBytes[file]!);
        return true;
      };
      try {
        expect(lengthenBody(bytes, fileBytes, read).body.length).toBeLessThanOrEqual(chunkBodyBytes);
      } catch (thrown) {
        expect(thrown).toMatchObject({ code: "protocol" });
      }
    }
  });
});
