/** Compressed chunks that a peer made up: each is refused, and before anything is allocated for it. */
import { describe, expect, test } from "bun:test";
import { randomBytes } from "node:crypto";
import { MigrateError } from "../../../src/protocol/errors.ts";
import { chunkBodyBytes } from "../../../src/protocol/limits.ts";
import { decompressBody, zstdContentBytes } from "../../../src/transfer/compression/zstd-frame.ts";

const mebibyte = 1024 * 1024;
const magic = [0x28, 0xb5, 0x2f, 0xfd];

/** Bits of Frame_Header_Descriptor. */
const singleSegment = 0x20;
const checksum = 0x04;
const fourByteSize = 0x80;
const eightByteSize = 0xc0;

const u32 = (n: number) => [n & 0xff, (n >>> 8) & 0xff, (n >>> 16) & 0xff, (n >>> 24) & 0xff];
const frameOf = (descriptor: number, ...rest: (number[] | Buffer)[]) =>
  Buffer.concat([Buffer.from([...magic, descriptor]), ...rest.map((part) => Buffer.from(part))]);

/** A block; type 0 is raw, 1 a byte that is repeated, 2 compressed. */
function block(type: number, size: number, isLast: boolean, content: number[] = []): number[] {
  return [...u32((isLast ? 1 : 0) | (type << 1) | (size << 3)).slice(0, 3), ...content];
}

/** `count` blocks that each stand for 128 KiB of zeros. */
const repeated = (count: number) =>
  Array.from({ length: count }, (_, i) => block(1, 128 * 1024, i === count - 1, [0])).flat();

const oneMebibyte = frameOf(singleSegment | fourByteSize, u32(mebibyte), repeated(8));
const withoutSize = frameOf(0, [0x38], repeated(8));

function refused(frame: Buffer, what: string, mostBytes = chunkBodyBytes): void {
  let thrown: unknown;
  try {
    decompressBody(frame, mostBytes);
  } catch (error) {
    thrown = error;
  }
  expect(thrown).toBeInstanceOf(MigrateError);
  expect((thrown as MigrateError).code).toBe("protocol");
  expect((thrown as MigrateError).message).toContain(what);
}

/** Runs `action` and returns by how much the process's peak of memory grew, in bytes. */
function growth(action: () => void): number {
  const before = process.resourceUsage().maxRSS * 1024;
  action();
  return process.resourceUsage().maxRSS * 1024 - before;
}

test("frames built here are as good as any where nothing is wrong with them", () => {
  expect(decompressBody(oneMebibyte, mebibyte).equals(Buffer.alloc(mebibyte))).toBe(true);
  const eight = frameOf(singleSegment | eightByteSize, u32(mebibyte), u32(0), repeated(8));
  expect(decompressBody(eight, mebibyte).length).toBe(mebibyte);
  const raw = frameOf(singleSegment, [3], block(0, 3, true, [1, 2, 3]));
  expect([...decompressBody(raw, 3)]).toEqual([1, 2, 3]);
});

describe("a bomb", () => {
  test("that declares 1 GiB in a few bytes is refused by what it declares, without memory for it", () => {
    const bomb = frameOf(singleSegment | fourByteSize, u32(1024 * mebibyte), repeated(1));
    expect(bomb.length).toBeLessThan(20);
    expect(zstdContentBytes(bomb)).toBe(1024 * mebibyte);
    expect(growth(() => refused(bomb, "declares 1073741824 bytes"))).toBeLessThan(64 * mebibyte);
  });

  test("that declares 1 GiB and holds it is refused without memory for it", () => {
    const bomb = frameOf(singleSegment | fourByteSize, u32(1024 * mebibyte), repeated(8 * 1024));
    expect(growth(() => refused(bomb, "declares 1073741824 bytes"))).toBeLessThan(64 * mebibyte);
  });

  test("that declares one byte too many is refused, and at the limit is not", () => {
    refused(oneMebibyte, "declares", mebibyte - 1);
    expect(decompressBody(oneMebibyte, mebibyte).length).toBe(mebibyte);
  });

  test("that declares more than a number holds is refused", () => {
    const bomb = frameOf(singleSegment | eightByteSize, u32(0xffffffff), u32(0xffffffff), repeated(1));
    refused(bomb, "declares");
  });

  test("that hides behind a good frame is refused without memory for it", () => {
    const gibibyte = frameOf(0, [0x38], repeated(8 * 1024));
    const bomb = Buffer.concat([oneMebibyte, gibibyte]);
    expect(growth(() => refused(bomb, "behind its end"))).toBeLessThan(64 * mebibyte);
  });

  test("that declares nothing is refused without memory for it", () => {
    const bomb = frameOf(0, [0x38], repeated(8 * 1024));
    expect(growth(() => refused(bomb, "does not declare its size"))).toBeLessThan(64 * mebibyte);
  });

  test("of empty blocks, which would keep the decoder busy for nothing, is refused", () => {
    const blocks = Buffer.concat([Buffer.alloc(300_000), Buffer.from(repeated(8))]);
    refused(frameOf(singleSegment | fourByteSize, u32(mebibyte), blocks), "empty block");
  });
});

describe("a frame that lies about its size", () => {
  for (const [name, size] of [
    ["less", mebibyte - 1],
    ["more", mebibyte + 1],
    ["much less", 1000],
    ["nothing", 0],
  ] as const) {
    test(`and declares ${name} than it holds is refused`, () => {
      refused(frameOf(singleSegment | fourByteSize, u32(size), repeated(8)), "cannot be decompressed");
    });
  }
});

describe("what is not one whole frame", () => {
  const good = Bun.zstdCompressSync(randomBytes(5000).toString("hex"));
  const skippable = Buffer.from([0x50, 0x2a, 0x4d, 0x18, ...u32(4), 1, 2, 3, 4]);

  test("is refused where it is cut short, at every length", () => {
    for (let length = 0; length < good.length; length++) {
      expect(() => decompressBody(good.subarray(0, length), chunkBodyBytes)).toThrow(MigrateError);
    }
  });

  test("is refused with something behind it", () => {
    refused(Buffer.concat([good, good]), "behind its end");
    refused(Buffer.concat([good, Buffer.from([0])]), "behind its end");
    refused(Buffer.concat([good, skippable]), "behind its end");
  });

  test("is refused where it is another thing", () => {
    refused(skippable, "is no zstd frame");
    refused(Buffer.concat([skippable, good]), "is no zstd frame");
    refused(Buffer.alloc(64), "is no zstd frame");
    refused(Buffer.alloc(0), "is cut short");
  });
});

describe("a header", () => {
  const body = [u32(mebibyte), repeated(8)] as const;

  test("without a size is refused", () => refused(withoutSize, "does not declare its size"));

  test("with a dictionary is refused", () => {
    refused(frameOf(singleSegment | fourByteSize | 1, [7], ...body), "needs a dictionary");
    refused(frameOf(singleSegment | fourByteSize | 3, u32(7), ...body), "needs a dictionary");
  });

  test("with a reserved or unused bit is refused", () => {
    refused(frameOf(singleSegment | fourByteSize | 0x08, ...body), "a bit that is reserved");
    refused(frameOf(singleSegment | fourByteSize | 0x10, ...body), "a bit that is reserved");
  });

  test("with a window above 8 MiB is refused, and with one of 8 MiB is not", () => {
    const windowOf = (descriptor: number) => frameOf(fourByteSize, [descriptor], ...body);
    expect(decompressBody(windowOf(13 << 3), mebibyte).length).toBe(mebibyte);
    refused(windowOf((13 << 3) | 1), "too large a window");
    refused(windowOf(0xff), "too large a window");
  });
});

describe("blocks", () => {
  test("of a reserved kind are refused", () => {
    refused(frameOf(singleSegment, [1], block(3, 0, true)), "a kind that is reserved");
  });

  test("with a wrong or a missing checksum are refused", () => {
    const summed = frameOf(singleSegment | fourByteSize | checksum, u32(mebibyte), repeated(8));
    refused(summed, "is cut short");
    refused(Buffer.concat([summed, Buffer.from(u32(1))]), "cannot be decompressed");
  });

  test("that are altered anywhere give the declared length or an error, and never anything else", () => {
    const content = Buffer.from(randomBytes(20_000).toString("base64"));
    const frame = Bun.zstdCompressSync(content, { level: 3 });
    for (let i = 0; i < 2000; i++) {
      const altered = Buffer.from(frame);
      altered[(i * 7919) % altered.length]! ^= 1 << (i % 8);
      try {
        expect(decompressBody(altered, content.length).length).toBe(zstdContentBytes(altered));
      } catch (thrown) {
        expect((thrown as MigrateError).code).toBe("protocol");
      }
    }
  });
});
